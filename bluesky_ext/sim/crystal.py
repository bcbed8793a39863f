"""The physics of the simulated beamline: a polycrystalline sample, and the frames a detector behind it takes.

numpy only: a `Crystal` can be used in a notebook, or as the ground truth of a test, without any device.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bluesky_ext.sim.arguments import check_number, check_position, check_whole, checked_extents, checked_shape
from bluesky_ext.sim.geometry import Geometry
from bluesky_ext.sim.grain import Grain, grow_grains
from bluesky_ext.sim.light import Stamp, background, stamp

__all__ = ["Crystal"]

# One child of the seed for each part, so that changing one leaves the others as they were:
# the same seed has the same grains in the sample whatever the shape of the detector.
SAMPLE, SPOTS, PATTERN = range(3)

SATURATION = np.iinfo(np.uint16).max


@dataclass(frozen=True)
class Crystal:
    """A sample of crystal grains in an X-ray beam: frames by seed, and the truth they were made from.

    A frame is the sum of a dark image (offset, fixed pattern of the pixels, read noise), air scatter (a smooth
    hill around the beam), powder rings, and the Bragg spots of the grains that the beam hits, with counting
    noise, rounded and clipped to uint16. Counts are proportional to the time of the exposure; the dark image
    does not depend on it.

    The counting noise is normal with the variance of the Poisson distribution: at ten counts and more the two are
    hard to tell apart, and it is drawn seven times faster.

    With the defaults, and exposures of 0.1 s, ``trackpy.locate(frame - dark, 11, minmass=700)`` finds every spot
    of the grains that have at least three tenths of their brightness, within 0.2 px, and nothing that is not a spot.

    Parameters
    ----------
    seed : int
        The same seed gives the same crystal and the same frames, bit for bit.
    shape : tuple of int
        Rows and columns of the detector, at least 32 each.
    n_grains : int
        Number of grains; 0 is an empty sample holder.
    extents : tuple
        The sample, ((y0, y1), (x0, x1)), in mm. Grains have their centres inside.
    spots_per_grain : int
        Number of Bragg spots of each grain.
    spot_separation : float, optional
        Least distance of any two spots, in px, whatever grains they are of; half of it is kept from the borders.
        By default a twentieth of the shorter side: 25 px at 512, 102 px at 2048.
    spot_sigma : float
        Standard deviation of the gaussian spots, in px.
    spot_rate : float
        Mean height of the spots, in counts per second. Each grain and each spot has its own, from 0.49 to 1.69
        times as much.
    scatter_rate : float
        Height of the air scatter at the beam, in the middle of the detector, in counts per second.
    ring_rate : float
        Height of the powder rings, in counts per second.
    rings : tuple of float
        Radii of the powder rings, as fractions of half the shorter side.
    offset : float
        Mean of the dark image, in counts.
    pattern : float
        Standard deviation of the fixed pattern in the dark image, in counts.
    read_noise : float
        Standard deviation of the read noise, in counts.
    d_spacings : tuple of float, optional
        Of the crystal, in m: the spots of each grain are of one after the other. Without, they are anywhere on the
        detector, and what their d-spacings are follows from that.
    pixel, distance, wavelength : float
        Of the detector, which stands upright in the beam, the beam in its middle, as for a `Powder`: see `geometry`.

    Examples
    --------
    >>> crystal = Crystal(seed=1, shape=(128, 128), n_grains=2)
    >>> grain = crystal.grains[0]
    >>> crystal.frame(*grain.centre).shape
    (128, 128)
    >>> float(crystal.intensity(grain, *grain.centre))
    1.0
    """

    seed: int = 0
    shape: tuple[int, int] = (512, 512)
    n_grains: int = 8
    extents: tuple[tuple[float, float], tuple[float, float]] = ((-1.0, 1.0), (-1.0, 1.0))
    spots_per_grain: int = 6
    spot_separation: float | None = None
    spot_sigma: float = 1.8
    spot_rate: float = 5_000.0
    scatter_rate: float = 4_000.0
    ring_rate: float = 400.0
    rings: tuple[float, ...] = (0.35, 0.6, 0.85)
    offset: float = 100.0
    pattern: float = 2.0
    read_noise: float = 3.0
    d_spacings: tuple[float, ...] | None = None
    pixel: float | None = None
    distance: float = 0.08
    wavelength: float = 0.8e-10

    def __post_init__(self) -> None:
        for name, least in (("seed", 0), ("n_grains", 0), ("spots_per_grain", 1)):
            check_whole(name, getattr(self, name), least)
        for name in ("spot_rate", "scatter_rate", "ring_rate", "offset", "pattern", "read_noise"):
            check_number(name, getattr(self, name))
        check_number("spot_sigma", self.spot_sigma, above=True)
        if self.spot_separation is not None:
            check_number("spot_separation", self.spot_separation)
        # A list is as good as a tuple for the one who types it, but only a tuple can be hashed.
        object.__setattr__(self, "shape", checked_shape(self.shape))
        object.__setattr__(self, "extents", checked_extents(self.extents))
        object.__setattr__(self, "rings", tuple(np.atleast_1d(self.rings).tolist()))
        for radius in self.rings:
            check_number("a radius in rings", radius, above=True)
        for spacing in self.d_spacings or ():
            check_number("one of d_spacings", spacing, above=True)
            if not self.geometry.radius(spacing) < min(self.shape) / 2:
                raise ValueError(f"d_spacings has {spacing!r}, whose ring is beyond the detector: give a larger one")
        # Made now, so that the first frame is as quick as the others and spots that do not fit are said here.
        _ = self.grains, self.dark_mean, self._background, self._stamps

    @cached_property
    def geometry(self) -> Geometry:
        """Where the detector stands: its ``poni``, and the angles and scattering vectors of its pixels."""
        return Geometry(self.shape, self.pixel, self.distance, self.wavelength)

    @cached_property
    def grains(self) -> tuple[Grain, ...]:
        """The grains, in the order of their numbers."""
        return grow_grains(
            self._rng(SAMPLE),
            self._rng(SPOTS),
            self.n_grains,
            self.extents,
            self.shape,
            self.spots_per_grain,
            min(self.shape) / 20 if self.spot_separation is None else self.spot_separation,
            self.spot_rate,
            [self.geometry.radius(spacing) for spacing in self.d_spacings or ()],
        )

    @cached_property
    def dark_mean(self) -> NDArray[np.float32]:
        """The dark image without its noise, in counts, shape ``shape``, float32."""
        dark = self._rng(PATTERN).standard_normal(self.shape, dtype=np.float32)
        dark *= np.float32(self.pattern)
        dark += np.float32(self.offset)
        dark.flags.writeable = False
        return dark

    def intensity(self, grain: Grain | int, y: ArrayLike, x: ArrayLike) -> NDArray[np.float64]:
        """Map of a grain at sample positions: the fraction of its full brightness, between 0 and 1.

        Parameters
        ----------
        grain : Grain or int
            The grain, or its number.
        y, x : array_like
            Sample positions in mm; they are broadcast against each other.

        Returns
        -------
        ndarray
            Shape of ``y`` and ``x`` broadcast, float64.
        """
        return (grain if isinstance(grain, Grain) else self.grains[grain]).intensity(y, x)

    def spots_at(self, y: float, x: float, min_intensity: float = 0.0) -> NDArray[np.void]:
        """Spots on the detector when the beam is at a sample position: what a peak finder ought to find.

        Parameters
        ----------
        y, x : float
            Sample position in mm.
        min_intensity : float
            Leave out the grains whose intensity here is not above this, from 0 to 1.

        Returns
        -------
        ndarray
            One row a spot, with the fields ``grain`` (its number), ``y`` and ``x`` (px) and ``amplitude``
            (counts per second). A pandas DataFrame can be made from it as it is.
        """
        rows = [
            (grain.number, *spot, amplitude * intensity)
            for grain, intensity in self._hit(y, x)
            if intensity > min_intensity
            for spot, amplitude in zip(grain.spots, grain.amplitudes, strict=True)
        ]
        fields = [("grain", np.int64), ("y", np.float64), ("x", np.float64), ("amplitude", np.float64)]
        return np.array(rows, np.dtype(fields))

    def expected(self, y: float, x: float, acquire_time: float = 0.1, shutter_open: bool = True) -> NDArray[np.float32]:
        """Mean of all the frames that could be taken at a sample position, before rounding and saturation.

        Parameters
        ----------
        y, x : float
            Sample position in mm.
        acquire_time : float
            Time of the exposure in s.
        shutter_open : bool
            Without the beam only the dark image is left.

        Returns
        -------
        ndarray
            Shape ``shape``, float32, in counts.
        """
        counts = self._counts(y, x, acquire_time)
        return counts + self.dark_mean if shutter_open else self.dark_mean.copy()

    def frame(
        self, y: float, x: float, exposure: int = 0, *, acquire_time: float = 0.1, shutter_open: bool = True
    ) -> NDArray[np.uint16]:
        """One frame at a sample position, with its noise.

        The frame depends on the arguments alone, not on what was asked for before: the noise of a frame is
        seeded by the seed of the crystal and by all of the arguments.

        Parameters
        ----------
        y, x : float
            Sample position in mm.
        exposure : int
            Index of the exposure, from 0: another index is another draw of the noise.
        acquire_time : float
            Time of the exposure in s.
        shutter_open : bool
            Without the beam only the dark image and the read noise are left.

        Returns
        -------
        ndarray
            Shape ``shape``, uint16, a new array each time.
        """
        check_whole("exposure", exposure, 0)
        check_number("acquire_time", acquire_time, above=True)
        check_position(y, x)
        # Whole numbers only, as a SeedSequence wants them; adding 0.0 makes -0.0 the same position as 0.0.
        bits = np.array([y + 0.0, x + 0.0, acquire_time], np.float64).view(np.uint64)
        seeds = np.random.SeedSequence([self.seed, exposure, int(shutter_open), *bits.tolist()])
        frame = np.random.Generator(np.random.SFC64(seeds)).standard_normal(self.shape, dtype=np.float32)
        if shutter_open:
            counts = self._counts(y, x, acquire_time)
            spread = counts + np.float32(self.read_noise**2)
            frame *= np.sqrt(spread, out=spread)
            frame += counts
        else:
            frame *= np.float32(self.read_noise)
        frame += self.dark_mean
        np.rint(frame, out=frame)
        np.clip(frame, 0, SATURATION, out=frame)
        return frame.astype(np.uint16)

    def _counts(self, y: float, x: float, acquire_time: float) -> NDArray[np.float32]:
        """Mean counts of an exposure in the beam, without the dark image: a new array."""
        check_number("acquire_time", acquire_time, above=True)
        counts = self._background * np.float32(acquire_time)
        for grain, intensity in self._hit(y, x):
            for window, spot in self._stamps[grain.number]:
                counts[window] += spot * np.float32(intensity * acquire_time)
        return counts

    def _hit(self, y: float, x: float) -> Iterable[tuple[Grain, float]]:
        """Grains that the beam hits, with their intensity there."""
        check_position(y, x)
        hits = ((grain, float(grain.intensity(y, x))) for grain in self.grains)
        return [(grain, intensity) for grain, intensity in hits if intensity > 0]

    @cached_property
    def _background(self) -> NDArray[np.float32]:
        """Air scatter and powder rings, in counts per second."""
        return background(self.shape, self.scatter_rate, self.ring_rate, self.rings)

    @cached_property
    def _stamps(self) -> tuple[list[Stamp], ...]:
        """For each grain its spots at full intensity, in counts per second."""
        return tuple(
            [
                stamp(self.shape, y, x, self.spot_sigma, height)
                for (y, x), height in zip(grain.spots, grain.amplitudes, strict=True)
            ]
            for grain in self.grains
        )

    def _rng(self, part: int) -> np.random.Generator:
        """Random numbers of one part of the crystal."""
        return np.random.Generator(np.random.SFC64(np.random.SeedSequence(self.seed, spawn_key=(part,))))
