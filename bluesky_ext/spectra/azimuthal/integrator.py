"""Azimuthal integration: images in, diffractograms out, equal to those of pyFAI.

pyFAI knows the geometry and says which share of each pixel goes to which bin. The sums over pixels are made here, in
one pass over an image; the weights of the pixels are summed once for each mask, and not again with every image.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
from xxhash import xxh3_128_digest

from bluesky_ext.images import Gaps, check_mask, measured
from bluesky_ext.spectra.azimuthal.bins import bins_of, sectors_of, weights_of
from bluesky_ext.spectra.azimuthal.poni import read_poni
from bluesky_ext.spectra.azimuthal.settings import AzimuthalSettings

#: So many sums of weights are kept in an integrator, and so many integrators that nobody holds in each process.
KEPT_SUMS, KEPT_INTEGRATORS = 8, 4
#: A detector of so many pixels takes some 10 GB to prepare.
MOST_PIXELS = 2**27


class Diffractogram(NamedTuple):
    """What an image gives.

    The arrays are (n_bins,) float32, or (n_sectors, n_bins) with sectors; NaN in bins without a pixel.
    """

    intensity: np.ndarray
    #: The standard errors of the intensities, if there is an error model.
    sigma: np.ndarray | None
    #: How many pixels that are used were no measurement, in all frames.
    n_gaps: int


class _Used(NamedTuple):
    """The pixels that are used, and the sums of their weights in each bin."""

    pixels: np.ndarray
    weights: np.ndarray


class Integrator:
    r"""The azimuthal integrator of a detector, from the bytes of its .poni.

    The bins are the same whatever the mask is. What the detector masks by itself, as pyFAI knows it, is never used.

    Parameters
    ----------
    poni : bytes
        The content of the .poni file.
    settings : AzimuthalSettings
        The bins, corrections and errors.
    shape : (int, int), optional
        Rows and columns of the images, for a .poni that does not say it.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns of its images.
    radial, radial_edges : (n_bins,) and (n_bins + 1,) float64
        Centres and edges of the bins, in the unit of the settings.
    sectors : (n_sectors, 2) float64 or None
        The first and the last azimuth of each sector, in degrees.
    wavelength : float or None
        In m.

    Examples
    --------
    >>> from bluesky_ext.spectra.azimuthal import AzimuthalSettings, Integrator
    >>> poni = b"PixelSize1: 1e-4\nPixelSize2: 1e-4\nDistance: 0.1\nPoni1: 0\nPoni2: 0\nWavelength: 1e-10"
    >>> integrator = Integrator(poni, AzimuthalSettings(4, solid_angle=False), shape=(64, 64))
    >>> integrator.integrate(np.full((64, 64), 7)).intensity
    array([7., 7., 7., 7.], dtype=float32)
    """

    def __init__(self, poni: bytes, settings: AzimuthalSettings, shape: tuple[int, int] | None = None) -> None:
        ai: Any = read_poni(poni)
        if settings.unit.startswith("q") and ai.wavelength is None:
            raise ValueError(f"the .poni has no line 'Wavelength', which unit={settings.unit!r} needs: give '2th_deg'")
        own_shape = ai.detector.shape
        if own_shape and shape and tuple(own_shape) != tuple(shape):
            raise ValueError(
                f"shape={shape}, and the .poni is of a detector of {own_shape[0]} x {own_shape[1]} pixels: leave it out"
            )
        shape = own_shape or shape
        if shape is None:
            raise ValueError("the .poni doesn't say how many pixels its detector has: give shape=(rows, columns)")
        if not 0 < math.prod(shape) <= MOST_PIXELS:
            raise ValueError(f"the detector of the .poni has {shape} pixels: give one of {MOST_PIXELS} at most")
        self.settings = settings
        self.shape = int(shape[0]), int(shape[1])
        self.wavelength: float | None = ai.wavelength
        self._detector = ai.detector
        bins = bins_of(ai, settings, self.shape)
        self.radial, self.radial_edges = bins.centres, bins.edges
        self.sectors = sectors_of(settings)
        self._matrix = bins.matrix
        self._weights = weights_of(ai, settings, self.shape)
        pixels = (self._weights > 0) & np.isfinite(self._weights)
        self._weights[~pixels] = 0
        own = self._detector.mask
        if own is not None and own.shape == self.shape:
            pixels &= np.asarray(own).reshape(-1) == 0
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, _Used] = OrderedDict()
        self._all = self._weigh(pixels)
        self._check_bins(ai)

    def norm(self, mask: np.ndarray | None = None) -> np.ndarray:
        """The sums of the weights of the pixels in each bin, shaped as an intensity, float64; 0 where there is none."""
        return self._shaped(self._use(mask).weights)

    def integrate(
        self,
        frames: np.ndarray | Iterator[np.ndarray],
        mask: np.ndarray | None = None,
        *,
        monitor: float = 1.0,
        gaps: Gaps = "auto",
    ) -> Diffractogram:
        """The diffractogram of an image, or the mean one of several frames.

        Parameters
        ----------
        frames : (..., *shape) array of real numbers, or an iterator of these
            One frame or several. Those of an iterator are in memory one after the other, unless the error model is
            "azimuthal", which looks at each a second time.
        mask : bool array of the shape of a frame, optional
            False where a pixel is not used. It may be another one each time.
        monitor : float
            What the intensities are divided by.
        gaps : "auto" or bool
            Which pixels are no measurement, see `bluesky_ext.images.Gaps`, beside those that have the value by which
            pyFAI knows such pixels of this detector, and those below 0 in images of signed integers, as counts are
            not. They are not used in the frame that they are in. With False none is.

        Raises
        ------
        ValueError
            If the frames, the mask or the monitor are not as described.
        """
        if not 0 < monitor < np.inf:
            raise ValueError(f"the monitor is {monitor!r}: intensities can't be divided by it")
        known = self._use(mask)
        signal, weights, variance = np.zeros((3, self._matrix.n_bins))
        used: list[tuple[np.ndarray, np.ndarray]] = []
        n_gaps = 0
        for frame in self._frames(frames):
            values, pixels, its_weights = frame.reshape(-1), known.pixels, known.weights
            found = self._measured(frame, gaps)
            if found is not None and (n := np.count_nonzero(pixels & ~found)):
                n_gaps += n
                pixels, its_weights = self._weigh(pixels & found)
            signal += self._matrix.sums(values, pixels)
            weights += its_weights
            if self.settings.error_model == "poisson":
                variance += self._matrix.variances(values, pixels)
            elif self.settings.error_model == "azimuthal":
                used.append((values, pixels))
        weights[weights == 0] = np.nan
        means = signal / weights
        for values, pixels in used:
            none = (0.0, 0.0)  # of what is in no bin
            variance += self._matrix.deviations(values, pixels, self._weights, np.append(means, none))
        sigma = None
        if self.settings.error_model is not None:
            sigma = self._shaped((np.sqrt(variance) / weights / monitor).astype(np.float32))
        return Diffractogram(self._shaped((means / monitor).astype(np.float32)), sigma, int(n_gaps))

    def _frames(self, frames: np.ndarray | Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        for block in frames if isinstance(frames, Iterator) else [np.asarray(frames)]:
            if block.dtype.kind not in "biuf":
                raise ValueError(f"an image of dtype {block.dtype} can't be integrated: give real numbers")
            if block.shape[-2:] != self.shape or not block.size:
                raise ValueError(
                    f"the image has shape {block.shape}, and the .poni is of a detector of {self.shape[0]} x "
                    f"{self.shape[1]} pixels: give the .poni of this detector"
                )
            yield from block.reshape(-1, *self.shape)

    def _check_bins(self, ai: Any) -> None:
        """Refuse bins, and sectors that were named, without any pixel."""
        settings, sums = self.settings, self._all.weights.reshape(-1, self.settings.n_bins).sum(axis=1)
        if not sums.any():
            radii = ai.center_array(self.shape, unit=settings.unit, scale=True)
            raise ValueError(
                f"radial_range={settings.radial_range}, sectors={settings.sectors}: no pixel is there; the detector "
                f"has pixels from {radii.min():.4g} to {radii.max():.4g} {settings.unit}"
            )
        for (first, last), its_sum in zip(() if self.sectors is None else self.sectors, sums, strict=False):
            if not its_sum and not isinstance(settings.sectors, int):
                raise ValueError(
                    f"the sector from {first:g} to {last:g} degrees has no pixel of the detector: leave it out"
                )

    def _shaped(self, sums: np.ndarray) -> np.ndarray:
        return sums if self.sectors is None else sums.reshape(len(self.sectors), -1)

    def _use(self, mask: np.ndarray | None) -> _Used:
        """The pixels of the detector that are used with a mask."""
        if mask is None:
            return self._all
        check_mask(np.asarray(mask), self.shape)
        return self._weigh(self._all.pixels & np.asarray(mask).reshape(-1))

    def _weigh(self, pixels: np.ndarray) -> _Used:
        """The sums of the weights of pixels, which are often those of an image before."""
        key = xxh3_128_digest(pixels.data)
        with self._lock:
            used = self._known.pop(key, None)
        if used is None:
            used = _Used(pixels, self._matrix.sums(self._weights, pixels))
        with self._lock:
            self._known[key] = used
            if len(self._known) > KEPT_SUMS:
                self._known.popitem(last=False)
        return used

    def _measured(self, frame: np.ndarray, gaps: Gaps) -> np.ndarray | None:
        """Where a frame was measured, (n_pixels,) bool; None if that is everywhere."""
        found = measured(frame, gaps)
        marks = [frame < 0] if gaps and frame.dtype.kind == "i" else []
        dummy, span = self._detector.dummy, self._detector.delta_dummy or 0.0
        if gaps and dummy is not None:
            if frame.dtype.kind == "u":  # where -1 is the largest number
                dummy = int(dummy) % 2 ** (8 * frame.dtype.itemsize)
            low, high = dummy - span, dummy + span
            if frame.dtype.kind in "iu":
                low, high = math.ceil(low), math.floor(high)
            marks.append((frame >= low) & (frame <= high))
        for marked in marks:
            if marked.any():
                found = ~marked if found is None else found & ~marked
        return None if found is None else found.reshape(-1)


_building = threading.Lock()
_alive: WeakValueDictionary[tuple, Integrator] = WeakValueDictionary()
_latest: deque[Integrator] = deque(maxlen=KEPT_INTEGRATORS)


def integrator(poni: bytes, settings: AzimuthalSettings, shape: tuple[int, int] | None = None) -> Integrator:
    """An `Integrator` that is made once in each process, as long as it is held, or one of those made last."""
    key = (poni, settings, shape)
    with _building:  # it takes a second: threads wait for the one that makes it
        one = _alive.get(key)
        if one is None:
            one = _alive[key] = Integrator(poni, settings, shape)
            _latest.append(one)
    return one
