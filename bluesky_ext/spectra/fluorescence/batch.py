"""Many spectra at once, for notebooks: fitted one by one, or as PyMca fits a batch."""

from __future__ import annotations

import contextlib
import io
from typing import Literal, NamedTuple

import numpy as np

from bluesky_ext.spectra.fluorescence.configuration import parsed
from bluesky_ext.spectra.fluorescence.elements import combine
from bluesky_ext.spectra.fluorescence.model import fluorescence_model
from bluesky_ext.spectra.fluorescence.theory import linear


class Fits(NamedTuple):
    """What was found in some spectra: the names of the lines, and (n_spectra, n_lines) float64 each."""

    lines: tuple[str, ...]
    areas: np.ndarray
    uncertainties: np.ndarray
    mass_fractions: np.ndarray


def fit_spectra(spectra: np.ndarray, cfg: bytes, *, refit: bool | Literal["pymca"] = True) -> Fits:
    """The areas and mass fractions of the lines in spectra, (n_spectra, n_channels) of numbers.

    Parameters
    ----------
    spectra : (n_spectra, n_channels) array
        Counts.
    cfg : bytes
        The content of a .cfg of PyMca.
    refit : bool or "pymca"
        With True each spectrum has the exact solution without negative areas, with False that of PyMca's ``refit=0``.
        With ``"pymca"`` PyMca's `FastXRFLinearFit` does it: what it says of a spectrum depends on the others.
    """
    spectra = np.atleast_2d(spectra)
    if spectra.ndim != 2:
        raise ValueError(f"spectra have shape {spectra.shape}: give (n_spectra, n_channels)")
    if refit == "pymca":
        return _by_pymca(spectra, cfg)
    model = fluorescence_model(cfg, refit=refit)
    fits = [model.fit(*combine(spectrum[np.newaxis])) for spectrum in spectra]
    areas = np.array([one.areas for one in fits]).reshape(len(spectra), -1)
    uncertainties = np.array([one.uncertainties for one in fits]).reshape(areas.shape)
    return Fits(model.lines, areas, uncertainties, model.mass_fractions(areas))


def _by_pymca(spectra: np.ndarray, cfg: bytes) -> Fits:
    from PyMca5.PyMcaPhysics.xrf.FastXRFLinearFit import FastXRFLinearFit

    fitter = FastXRFLinearFit()
    with contextlib.redirect_stdout(io.StringIO()):  # it prints
        fitter.setFitConfiguration(linear(parsed(cfg)))
        found = fitter.fitMultipleSpectra(
            y=np.asarray(spectra, float), weight=0, refit=True, concentrations=True, save=False
        )
    names = [str(name) for name in found.labels("parameters")]
    lines = fluorescence_model(cfg, concentrations=False).lines
    at = [names.index(line) for line in lines]
    fractions = np.full((len(spectra), len(lines)), np.nan)
    for name, values in zip(found.labels("massfractions"), found["massfractions"], strict=True):
        if name in lines:
            fractions[:, lines.index(name)] = values
    return Fits(lines, found["parameters"][at].T, found["uncertainties"][at].T, fractions)
