"""What PyMca says of a configuration: the shapes of lines, and what an area is as a mass fraction."""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from bluesky_ext.spectra.fluorescence.configuration import parsed

#: PyMca keeps materials in a table of the process, and prints.
_lock = threading.Lock()
#: So many theories are kept by the bytes of their configurations.
THEORIES = 8


class Theory(NamedTuple):
    """A linear model of spectra.

    Attributes
    ----------
    names : list of str
        Those of the parameters: of a continuum, if there is one, and the lines, such as ``Fe K``.
    n_continuum : int
        How many belong to a continuum.
    shapes : (n_parameters, n_channels) float64
        The counts in the channels that are fitted, for one count of each parameter.
    first : int
        The first of these channels.
    configuration : dict
        The sections, completed by PyMca.
    rates : list or None
        How much of each line PyMca expects, which its concentrations are made of.
    """

    names: list[str]
    n_continuum: int
    shapes: np.ndarray
    first: int
    configuration: dict[str, Any]
    rates: Any


class Fractions(NamedTuple):
    """What areas are as mass fractions.

    Attributes
    ----------
    values : (n_lines,) float64
        The mass fraction that is meant by an area of 1, or by an area as large as that of the reference line; NaN for
        scattered light.
    reference : int
        Which line the others are compared with, if the matrix has to tell the flux; -1 if the flux is known.
    """

    values: np.ndarray
    reference: int


@functools.lru_cache(maxsize=THEORIES)
def theory_of(cfg: bytes) -> Theory:
    """The linear model of a configuration of PyMca; the fit is linear and its background SNIP, whatever it says there.

    Raises
    ------
    ValueError
        If PyMca can't make one; the message is one line.
    """
    from PyMca5.PyMcaPhysics.xrf.ClassMcaTheory import McaTheory

    sections = linear(parsed(cfg))
    given = sections["concentrations"]
    # What fluorescence excites counts in mass fractions alone, and takes half of the time.
    sections["concentrations"] = {**given, "usemultilayersecondary": 0}
    with _asking_pymca():
        theory = McaTheory()
        theory.setConfiguration(sections)
        theory.enableOptimizedLinearFit()
        first, last = sections["fit"]["xmin"], sections["fit"]["xmax"]
        theory.setData(x=None, y=np.ones(int(last) + 1), xmin=first, xmax=last)
        theory.estimate()
        at = [index for index, code in enumerate(theory.codes[0]) if code != _FIXED]
        n_continuum = sum(index < theory.NGLOBAL for index in at)
        if theory.linearMatrix is None or len(at) == n_continuum:
            raise ValueError("no peak of it lies in the channels that are fitted")
        columns = [np.ravel(theory.linearMcaTheoryDerivative(theory.parameters, index, theory.xdata)) for index in at]
        names = [str(theory.PARAMETERS[index]) for index in at]
        configuration = {**theory.getConfiguration(), "concentrations": given}
    first = int(np.ravel(theory.xdata)[0])
    rates = theory._fluoRates  # noqa: SLF001 - as PyMca's own batches hand them on
    return Theory(names, n_continuum, np.array(columns, float), first, configuration, rates)


@functools.lru_cache(maxsize=THEORIES)
def fractions_of(cfg: bytes) -> Fractions:
    """Mass fractions for areas of 1: an area that happens to be 0 in some spectrum plays no part in them.

    Raises
    ------
    ValueError
        If PyMca knows none; the message is one line.
    """
    from PyMca5.PyMcaPhysics.xrf.ConcentrationsTool import ConcentrationsTool

    theory = theory_of(cfg)
    configuration, lines = copy.deepcopy(theory.configuration), theory.names[theory.n_continuum :]
    areas = {line: {"fitarea": 1.0, "sigmaarea": 1.0} for line in lines}
    said = configuration["concentrations"]
    reference, flux = str(said.get("reference", "Auto")), said.get("flux")
    if said.get("usematrix") and reference.upper() == "AUTO":  # PyMca's choice depends on the areas of each spectrum
        raise ValueError(
            f"[concentrations] of the .cfg has usematrix = 1 and reference = {reference}: name an element, or give "
            "concentrations=False"
        )
    if not said.get("usematrix") and not (isinstance(flux, int | float) and 0 < flux < np.inf):
        raise ValueError(f"[concentrations] of the .cfg has flux = {flux}: give one above 0, or concentrations=False")
    n_energies = np.count_nonzero(np.ravel(configuration["fit"].get("energyflag", 1)))
    with _asking_pymca(), _without_caches() if n_energies == 1 else contextlib.nullcontext():
        tool = ConcentrationsTool()
        found, about = tool.processFitResult(
            config={**tool.configure(), **configuration["concentrations"]},
            fitresult={"result": {"config": configuration, "groups": [*lines], **areas}},
            elementsfrommatrix=False,
            fluorates=theory.rates,
            addinfo=True,
        )
    values = np.array([found["mass fraction"].get(line, np.nan) for line in lines], float)
    element = about.get("ReferenceElement")
    if element in ("", None, "None"):
        return Fractions(values, -1)
    return Fractions(values, lines.index(f"{element} {about['ReferenceTransitions'].split()[0]}"))


@contextlib.contextmanager
def _asking_pymca() -> Iterator[None]:
    """Have what PyMca raises be a ValueError of one line, and what it prints be lost.

    An energy of a transition is looked up once meanwhile: PyMca asks for the same few a hundred thousand times.
    """
    from PyMca5.PyMcaPhysics.xrf import Elements

    energy_of = functools.cache(Elements.getxrayenergy)
    with _lock, contextlib.redirect_stdout(io.StringIO()), _replaced(Elements, "getxrayenergy", energy_of):
        try:
            yield
        except Exception as error:  # of any kind: PyMca checks little
            said = " ".join(str(error).split())
            if isinstance(error, KeyError):
                raise ValueError(f"PyMca makes no model of the .cfg: it has no {said}") from error
            raise ValueError(f"PyMca makes no model of the .cfg: {type(error).__name__}: {said}") from error


def _without_caches() -> contextlib.AbstractContextManager[None]:
    """Have PyMca not fill the caches of fisx: for one energy that takes ten times as long as to do without them."""
    from PyMca5.PyMcaPhysics.xrf import FisxHelper

    without = functools.partial(FisxHelper.getMultilayerFluorescence, cache=0)
    return _replaced(FisxHelper, "getMultilayerFluorescence", without)


@contextlib.contextmanager
def _replaced(module: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """Have another function of PyMca do what one does, for a while."""
    whole = getattr(module, name)
    setattr(module, name, function)
    try:
        yield
    finally:
        setattr(module, name, whole)


#: What the codes of PyMca's parameters say of one that is not fitted (``Gefit.CFIXED``).
_FIXED = 3


def linear(sections: dict[str, Any]) -> dict[str, Any]:
    """The sections of a configuration with what makes the fit linear, without weights, and its background SNIP."""
    fit = {"linearfitflag": 1, "strategyflag": 0, "stripalgorithm": 1, "fitweight": 0}
    return {
        **sections,
        "fit": {**sections["fit"], **fit},
        "concentrations": {**sections["concentrations"], "useautotime": 0},
    }
