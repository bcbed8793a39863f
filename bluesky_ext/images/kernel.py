"""How the numerical kernels of this room are compiled, and the arrays they are given."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger(__name__)


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Function that is compiled to machine code at its first call, kept on disk, and runs without the GIL."""
    try:
        return cast(Callable[P, R], numba.njit(nogil=True, error_model="numpy", cache=True)(function))
    except RuntimeError as error:  # neither the package nor the user's cache folder can be written
        logger.warning("%s is compiled anew in every process: %s", function.__name__, error)
        return cast(Callable[P, R], numba.njit(nogil=True, error_model="numpy")(function))


def as_input(array: npt.ArrayLike) -> np.ndarray:
    """Read-only view of an array (copied if need be): one type for numba, wherever the array came from.

    Frames cut out of a message are read-only and may be unaligned; as types of their own they would have
    the kernels compiled again in the middle of a scan.
    """
    values = np.asarray(array)
    view = np.require(values, dtype=values.dtype.newbyteorder("="), requirements=["C", "A"]).view(np.ndarray)
    view.flags.writeable = False
    return view
