"""A thin sample with elements in it, and the fluorescence spectra of its points, with the truth about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from bluesky_ext.sim.check import check_number
from bluesky_ext.spectra.fluorescence import FluorescenceModel, fluorescence_model

__all__ = ["FluorescenceSample"]

#: A film of silica in air, a silicon drift detector, and a beam of 12 keV, as PyMca writes it down.
_CFG = """\
[attenuators]
atmosphere = 1, Air, 0.0012048, 1.0, 1.0
window = 1, Be1, 1.848, 0.0025, 1.0
Detector = 1, Si1, 2.33, 0.045, 1.0
Matrix = 1, Si1O2, 2.2, 0.002, 45.0, 45.0, 0, 90.0

[peaks]
{peaks}

[fit]
energy = 12.0,
energyweight = 1.0,
energyflag = 1,
energyscatter = 1,
xmin = 150
xmax = {xmax}
use_limit = 1
continuum = 0
stripflag = 1
stripalgorithm = 1
snipwidth = 40
stripfilterwidth = 1
stripanchorsflag = 0
stripanchorslist = 0, 0, 0, 0
stripwidth = 1
stripconstant = 1.0
stripiterations = 20000
linearfitflag = 1
fitfunction = 0
fitweight = 0
strategyflag = 0
strategy = SingleLayerStrategy
hypermetflag = 1
escapeflag = 1
sumflag = 0
scatterflag = 0
linpolorder = 5
exppolorder = 6
maxiter = 10
deltachi = 0.001
deltaonepeak = 0.01

[detector]
detele = Si
nthreshold = 4
zero = 0.0
deltazero = 0.1
fixedzero = 0
gain = 0.01
deltagain = 0.001
fixedgain = 0
noise = 0.08
deltanoise = 0.05
fixednoise = 0
fano = 0.12
deltafano = 0.1
fixedfano = 0
sum = 0.0
deltasum = 1e-08
fixedsum = 1
ignoreinputcalibration = 0
ethreshold = 0.02
ithreshold = 1e-07

[peakshape]
st_arearatio = 0.02
deltast_arearatio = 0.03
fixedst_arearatio = 0
st_sloperatio = 0.5
deltast_sloperatio = 0.49
fixedst_sloperatio = 0
lt_arearatio = 0.0
deltalt_arearatio = 0.015
fixedlt_arearatio = 0
lt_sloperatio = 10.0
deltalt_sloperatio = 7.0
fixedlt_sloperatio = 0
step_heightratio = 0.0001
deltastep_heightratio = 5e-05
fixedstep_heightratio = 0
eta_factor = 0.02
deltaeta_factor = 0.02
fixedeta_factor = 0

[concentrations]
usematrix = 0
useattenuators = 1
usemultilayersecondary = 0
usexrfmc = 0
mmolarflag = 0
flux = 1e9
time = 1.0
area = 0.5
distance = 3.0
reference = Auto
useautotime = 0

[materials]

[materials.Air]
Comment = Dry air
CompoundList = C1, N1, O1, Ar1
CompoundFraction = 0.000124, 0.75527, 0.23178, 0.012826
Density = 0.0012048
Thickness = 1.0
"""


@dataclass(frozen=True)
class FluorescenceSample:
    """A film with elements in it, each of them everywhere a little, and more around a place of its own.

    Parameters
    ----------
    seed : int
        Of the places, and of all noise.
    elements : mapping of str to float
        The largest mass fraction of each.
    extents : ((low, high), (low, high))
        The borders along y and x, in mm.
    n_channels : int
        Channels of a spectrum, of 10 eV each.
    continuum : float
        Counts of a smooth background in a channel at 4 keV, in a second.

    Examples
    --------
    >>> sample = FluorescenceSample(seed=1)
    >>> there = sample.mass_fractions(*sample.places["Fe"])
    >>> float(there["Fe"]), 0 < there["Ca"] < 0.02
    (0.01, True)
    """

    seed: int = 0
    elements: Mapping[str, float] = field(default_factory=lambda: {"Ca": 0.02, "Fe": 0.01, "Cu": 0.004, "Zn": 0.004})
    extents: tuple[tuple[float, float], tuple[float, float]] = ((-0.1, 0.1), (-0.1, 0.1))
    n_channels: int = 2048
    continuum: float = 4.0

    def __post_init__(self) -> None:
        if not self.elements:
            raise ValueError("elements is empty: give mass fractions by element, as in {'Fe': 0.01}")
        for name, fraction in self.elements.items():
            check_number(f"the mass fraction of {name}", fraction, above=True, below=1.0)
        check_number("continuum", self.continuum)
        if self.n_channels < 400:
            raise ValueError(f"n_channels={self.n_channels!r}: give at least 400, which are up to 4 keV")

    @cached_property
    def cfg(self) -> bytes:
        """The content of the .cfg of PyMca by which these spectra are made, and can be fitted."""
        peaks = "\n".join(f"{element} = K" for element in self.elements)
        return _CFG.format(peaks=peaks, xmax=min(self.n_channels - 1, 1150)).encode()

    @cached_property
    def model(self) -> FluorescenceModel:
        """The model of the configuration."""
        return fluorescence_model(self.cfg)

    @cached_property
    def places(self) -> dict[str, tuple[float, float]]:
        """Where there is most of each element: y and x in mm."""
        rng = np.random.default_rng(self.seed)
        return {name: tuple(float(rng.uniform(*one)) for one in self.extents) for name in self.elements}  # pyright: ignore[reportReturnType]

    def mass_fractions(self, y: float, x: float) -> dict[str, float]:
        """The mass fraction of each element at a place, in mm."""
        (low, high), _ = self.extents
        width = 0.2 * (high - low)
        found = {}
        for name, most in self.elements.items():
            y0, x0 = self.places[name]
            found[name] = float(most * (0.1 + 0.9 * np.exp(-((y - y0) ** 2 + (x - x0) ** 2) / (2 * width**2))))
        return found

    def areas(self, y: float, x: float) -> np.ndarray:
        """The counts of each line of `model` in a second, (n_lines,) float64, as its concentrations have it."""
        found = self.mass_fractions(y, x)
        return np.array([found[line.split()[0]] for line in self.model.lines]) / self.model.fractions

    def expected(self, y: float, x: float) -> np.ndarray:
        """The mean spectrum at a place in a second, (n_channels,) float64."""
        energy = self.model.energy(self.n_channels)
        spectrum = self.continuum * np.exp(-((energy - 4) ** 2) / 50)
        spectrum[self.model.first : self.model.n_channels] += self.areas(y, x) @ self.model.shapes
        return spectrum
