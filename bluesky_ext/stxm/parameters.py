"""The parameters that many plans have: described once, and added to the docstring of each plan when it is defined.

The modules of the plans do not postpone annotations: bluesky-queueserver takes them for the types of the parameters,
and strings it cannot resolve.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from bluesky.utils import plan

__all__ = ["scan_plan"]

Function = TypeVar("Function", bound=Callable[..., Any])

COMMON = {
    "detectors": ("list or tuple", "Point detectors, or a single one."),
    "station": ("Readable", "The `Endstation`: the devices, the shutter and the zone plate."),
    "energies": ("list of float", "Photon energies in eV, in the order in which they are measured."),
    "polarizations": (
        "list, optional",
        "Settings of the undulator, each an entry of its own: the number of the polarisation, or ``(polarization,\n"
        "    offset, angle)``. By default it stays as it is.",
    ),
    "energy": ("float, optional", "Photon energy in eV, which stays set. By default it is left as it is."),
    "dwell": ("float", "Counting time of a point in ms."),
    "snake": ("bool", "Run through every other row backwards."),
    "single_run": ("bool", "Make one run of all images, which are of one shape then. By default each image is a run."),
    "per_step": ("callable, optional", "What is done at each point, instead of `bluesky.plan_stubs.one_nd_step`."),
    "md": ("dict, optional", "More metadata for the start document."),
}


def scan_plan(function: Function) -> Function:
    """A plan with a docstring that has those of its parameters, too, that it does not describe itself.

    bluesky-queueserver, IPython and Sphinx read the docstring as it is then.
    """
    doc = inspect.cleandoc(function.__doc__ or "")
    for name in inspect.signature(function).parameters:
        if name in COMMON and f"\n{name} : " not in doc:
            kind, said = COMMON[name]
            doc += f"\n{name} : {kind}\n    {said}"
    function.__doc__ = f"{doc}\n\nReturns\n-------\nstr\n    The uid of the run; of several, that of the first.\n"
    return plan(function)  # pyright: ignore[reportReturnType]  # the same, and known as a plan to the RunEngine
