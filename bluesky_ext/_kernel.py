"""How numerical kernels are compiled, and the arrays that they take."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import ParamSpec, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger(__name__)

#: Kernels that no folder was found for, so that each process compiles them anew.
NOT_KEPT: list[str] = []


def kernel(*, fastmath: Collection[str] = (), inner: bool = False) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator that compiles a function to machine code at its first call, and keeps the code on disk.

    The kernels release the GIL and are serial inside a frame: a pool of threads over the frames is faster
    than threads inside one. A kernel calls kernels of its own module only, because numba checks the age of a
    cached kernel by its own file and would miss a change in another.

    Parameters
    ----------
    fastmath : collection of str
        Liberties that LLVM may take with the order of additions. None by default: the order is part of
        the result wherever a table has to be equal to trackpy's.
    inner : bool
        Whether kernels alone call it: it needs no entry for Python then, and no file of its own.
    """
    options = {"nogil": True, "error_model": "numpy", "fastmath": set(fastmath)}
    options |= {"no_cfunc_wrapper": True, "no_cpython_wrapper": inner}

    def compiled(function: Callable[P, R]) -> Callable[P, R]:
        if inner:
            return cast(Callable[P, R], numba.njit(**options)(function))
        try:
            return cast(Callable[P, R], numba.njit(cache=True, **options)(function))
        except RuntimeError as error:  # numba found no folder that can be written
            if not NOT_KEPT:
                logger.warning(
                    "every process compiles the kernels anew, for about 20 s: set NUMBA_CACHE_DIR to a folder that can "
                    "be written (%s)",
                    error,
                )
            NOT_KEPT.append(function.__name__)
            return cast(Callable[P, R], numba.njit(**options)(function))

    return compiled


def as_input(array: npt.ArrayLike) -> np.ndarray:
    """Read-only view of an array (copied if need be) that the kernels take without being compiled again.

    To numba a writeable, a read-only, an unaligned and a strided array are four types. Images arrive as any
    of them (one cut out of a message is read-only and may be unaligned), and none may cost a compilation
    in the middle of a scan.
    """
    values = np.asarray(array)
    view = np.require(values, dtype=values.dtype.newbyteorder("="), requirements=["C", "A"]).view(np.ndarray)
    view.flags.writeable = False
    return view
