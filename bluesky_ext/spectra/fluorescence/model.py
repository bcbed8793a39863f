"""The linear model of a configuration, which fits each spectrum by itself."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from bluesky_ext.spectra.fluorescence.background import background
from bluesky_ext.spectra.fluorescence.kernels import fit_lines, warm_up
from bluesky_ext.spectra.fluorescence.theory import THEORIES, Fractions, fractions_of, theory_of

#: Of the squared norm of a shape: a line of which less than that is measured has no area.
MEASURED = 0.5
#: What the kernel takes of shapes: see `kernels.fit_lines`.
Matrices: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class Fit(NamedTuple):
    """What was found in a spectrum.

    Attributes
    ----------
    areas : (n_lines,) float64
        The counts of each line; NaN, and so is the uncertainty, where most of its peak is no measurement.
    uncertainties : (n_lines,) float64
        Their standard deviations, by counting statistics alone: those of the fit in which areas may be negative, so
        that a line that is not there has one too. They are never less than those of the areas that are given.
    chi2 : float
        The mean of the squared residuals, each over the variance of its channel, which is at least that of a count,
        for a degree of freedom.
    """

    areas: np.ndarray
    uncertainties: np.ndarray
    chi2: float


class Curve(NamedTuple):
    """A spectrum and its fit, in the channels that are fitted: (n_channels,) float64 each, the energy in keV."""

    energy: np.ndarray
    spectrum: np.ndarray
    background: np.ndarray
    fit: np.ndarray


@dataclass(frozen=True, eq=False)
class FluorescenceModel:
    """The linear model of a configuration of PyMca; `fluorescence_model` makes one.

    Attributes
    ----------
    lines : tuple of str
        The names of the lines, such as ``Fe K``.
    n_continuum : int
        How many parameters before them are of a continuum; those may be negative.
    shapes : (n_continuum + n_lines, n_channels) float64
        The counts in the channels that are fitted for one count of each.
    first : int
        The first of these channels.
    zero, gain : float
        The energy of channel 0, and of a channel, in keV.
    strips : bool
        Whether a background is taken away, by SNIP with this ``width``, after smoothing over ``n_smooth`` channels, of
        each part between the ``anchors``, which are counted from the first channel that is fitted.
    fractions : (n_lines,) float64
        The mass fraction for an area of 1, as PyMca's concentrations; NaN where there is none.
    reference : int
        The line whose area is 1 in those; -1 if they are for areas as they are.
    time : float
        For how long a point is measured, as the concentrations have it, in s.
    is_nonnegative : bool
        Whether no area may be negative.
    """

    lines: tuple[str, ...]
    n_continuum: int
    shapes: np.ndarray
    first: int
    zero: float
    gain: float
    strips: bool
    width: int
    n_smooth: int
    anchors: np.ndarray
    fractions: np.ndarray
    reference: int
    time: float
    is_nonnegative: bool
    _scale: np.ndarray = field(init=False, repr=False)
    _matrices: Matrices = field(init=False, repr=False)

    def __post_init__(self) -> None:
        norms = np.linalg.norm(self.shapes, axis=1)
        scale = np.where(norms > 0, norms, 1.0)
        scaled = np.ascontiguousarray(self.shapes / scale[:, np.newaxis])
        object.__setattr__(self, "_scale", scale)
        object.__setattr__(self, "_matrices", _matrices(scaled, self.n_continuum))
        warm_up()

    @property
    def n_channels(self) -> int:
        """How many channels a spectrum has at least."""
        return self.first + self.shapes.shape[1]

    def energy(self, n_channels: int) -> np.ndarray:
        """The energy of so many channels from channel 0 on, (n_channels,) float64, in keV."""
        return self.zero + self.gain * np.arange(n_channels)

    def fit(self, spectrum: np.ndarray, variance: np.ndarray | None = None, bad: np.ndarray | None = None) -> Fit:
        """The areas of the lines in a spectrum.

        Parameters
        ----------
        spectrum : (n,) float64
            Counts by channel, from channel 0 on.
        variance : (n,) float64, optional
            Those of the counts; the counts themselves unless given.
        bad : (n,) bool, optional
            Channels that are no measurement; they play no part. There must be others.
        """
        values, n_used, without = self._region(spectrum, bad)
        counts = values if variance is None or variance is spectrum else self._region(variance, bad)[0]
        matrices, scale = self._matrices, self._scale[self.n_continuum :]
        if without is not None:
            shapes = np.where(without, 0.0, matrices[0])
            matrices = _matrices(shapes, self.n_continuum)
            counts = np.where(without, np.inf, counts)
            left, whole = ((one[self.n_continuum :] ** 2).sum(axis=1) for one in (shapes, self._matrices[0]))
            scale = np.where(left < MEASURED * whole, np.nan, scale)
        net = values - self._under(values) if self.strips else values
        found, deviations, misfit = fit_lines(net, values, counts, *matrices, self.n_continuum, self.is_nonnegative)
        areas = found[self.n_continuum :] / scale
        return Fit(areas, deviations / scale, misfit / max(n_used - len(found), 1))

    def curve(self, spectrum: np.ndarray) -> Curve:
        """A spectrum beside its fit; channels that are NaN in it play no part, nor do lines that they cover."""
        bad = ~np.isfinite(spectrum)
        values, _, without = self._region(spectrum, bad)
        areas = np.zeros(len(self._scale))
        areas[self.n_continuum :] = np.nan_to_num(self.fit(spectrum, bad=bad).areas)
        under = self._under(values) if self.strips else np.zeros(len(values))
        if self.n_continuum:
            rest = values - under - areas @ self.shapes
            areas[: self.n_continuum] = np.linalg.lstsq(self.shapes[: self.n_continuum].T, rest)[0]
            under = under + areas[: self.n_continuum] @ self.shapes[: self.n_continuum]
        energy = self.energy(self.n_channels)[self.first :]
        values = values if without is None else np.where(without, np.nan, values)
        return Curve(energy, values, under, under + areas[self.n_continuum :] @ self.shapes[self.n_continuum :])

    def components(self, spectrum: np.ndarray) -> dict[str, np.ndarray]:
        """What each line has of the fit of a spectrum, in the channels that are fitted: (n_channels,) float64 each."""
        areas = np.nan_to_num(self.fit(spectrum, bad=~np.isfinite(spectrum)).areas)
        return dict(zip(self.lines, areas[:, np.newaxis] * self.shapes[self.n_continuum :], strict=True))

    def mass_fractions(self, areas: np.ndarray) -> np.ndarray:
        """The mass fraction of the element of each line, (..., n_lines) float64; NaN where it can't be known."""
        if self.reference < 0:
            return areas * self.fractions
        with np.errstate(divide="ignore", invalid="ignore"):
            share = areas / areas[..., self.reference, np.newaxis]
        return np.where(np.isfinite(share), share, np.nan) * self.fractions

    def _under(self, values: np.ndarray) -> np.ndarray:
        return background(values, self.n_smooth, self.width, self.anchors)

    def _region(self, spectrum: np.ndarray, bad: np.ndarray | None) -> tuple[np.ndarray, int, np.ndarray | None]:
        """The channels that are fitted, how many can be used, and which can't; they are as between others."""
        if len(spectrum) < self.n_channels:
            raise ValueError(
                f"{len(spectrum)} channels are no spectrum for a .cfg that fits channels {self.first} to "
                f"{self.n_channels - 1}: give another xmax"
            )
        region = slice(self.first, self.n_channels)
        values = np.array(spectrum[region], float)  # writeable, since to a kernel arrays that are not are others
        if bad is None or not (without := bad[region]).any():
            return values, len(values), None
        good = np.flatnonzero(~without)
        if len(good) < len(self.shapes):
            raise ValueError(
                f"of the {len(values)} channels that are fitted {len(values) - len(good)} are no measurement"
            )
        return np.interp(np.arange(len(values)), good, values[good]), len(good), without


def _matrices(shapes: np.ndarray, n_continuum: int) -> Matrices:
    """What `fit_lines` takes of shapes: these, and what is made of them."""
    inverse = np.linalg.pinv(shapes.T)
    # Half as many bytes are read in half of the time, and an uncertainty needs no more than seven digits.
    spread = (inverse[n_continuum:] ** 2).astype(np.float32)
    spans = np.array([_span(shape) for shape in shapes], np.int64)
    return shapes, spans, shapes @ shapes.T, inverse, inverse @ inverse.T, spread


def _span(shape: np.ndarray) -> tuple[int, int]:
    """The first channel in which a shape is not 0, and the one after the last."""
    at = np.flatnonzero(shape)
    return (int(at[0]), int(at[-1]) + 1) if len(at) else (0, 0)


@functools.lru_cache(maxsize=2 * THEORIES)
def fluorescence_model(cfg: bytes, *, refit: bool = True, concentrations: bool = True) -> FluorescenceModel:
    """The model of a configuration, made once in a process: PyMca takes a second or two for it.

    Parameters
    ----------
    cfg : bytes
        The content of a .cfg of PyMca.
    refit : bool
        Whether no area may be negative: the exact solution. Without it, areas are those of PyMca with ``refit=0``.
    concentrations : bool
        Whether mass fractions are wanted, for which the .cfg must have a matrix and an energy.

    Raises
    ------
    ValueError
        If there is something wrong with the configuration; the message is one line.
    """
    theory = theory_of(cfg)
    lines = tuple(theory.names[theory.n_continuum :])
    fractions = fractions_of(cfg) if concentrations else Fractions(np.full(len(lines), np.nan), -1)
    configuration = theory.configuration
    fit, detector = configuration["fit"], configuration["detector"]
    return FluorescenceModel(
        lines=lines,
        n_continuum=theory.n_continuum,
        shapes=theory.shapes,
        first=theory.first,
        zero=float(detector["zero"]),
        gain=float(detector["gain"]),
        strips=bool(fit["stripflag"]),
        width=int(fit["snipwidth"]),
        n_smooth=int(fit.get("stripfilterwidth", 1)),
        anchors=_anchors(fit, theory.first, theory.shapes.shape[1]),
        fractions=fractions.values,
        reference=fractions.reference,
        time=float(configuration["concentrations"].get("time", 1.0)),
        is_nonnegative=bool(refit),
    )


def _anchors(fit: Mapping[str, Any], first: int, n_channels: int) -> np.ndarray:
    """The channels at which the background is cut, counted from the first that is fitted."""
    given = fit.get("stripanchorslist") if fit.get("stripanchorsflag") else None
    inside = {
        int(np.ceil(channel)) - first for channel in np.ravel(given or ()) if first < channel < first + n_channels
    }
    return np.array(sorted(inside) or [0, n_channels - 1], np.int64)
