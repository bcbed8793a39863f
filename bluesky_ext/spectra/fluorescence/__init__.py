"""X-ray fluorescence: the areas of lines in spectra, and mass fractions, by the linear model of a .cfg of PyMca.

Arrays in, arrays out. PyMca (the extra ``xrf``) makes the model, which is all that it is needed for.
"""

from bluesky_ext.spectra.fluorescence.batch import Fits, fit_spectra
from bluesky_ext.spectra.fluorescence.configuration import parsed, unused
from bluesky_ext.spectra.fluorescence.elements import Combined, combine
from bluesky_ext.spectra.fluorescence.model import Curve, Fit, FluorescenceModel, fluorescence_model
from bluesky_ext.spectra.fluorescence.spectrum_sum import SpectrumSum

__all__ = [
    "Combined",
    "Curve",
    "Fit",
    "Fits",
    "FluorescenceModel",
    "SpectrumSum",
    "combine",
    "fit_spectra",
    "fluorescence_model",
    "parsed",
    "unused",
]
