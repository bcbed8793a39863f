"""Captures and parameters that are pickles, as dranspose once wrote them: reading them executes what they hold."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from bluesky_ext.live.replay.captures import opened

log = logging.getLogger(__name__)


def read_pickles(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Yield what is pickled in a file, one after another; if that is cut short at the end, it is reported.

    Raises
    ------
    ValueError
        If it can't be read; it names the file and the number of the message.
    """
    path = Path(path)
    with opened(path) as (file, _):
        number = 0
        while True:
            try:
                if not _is_left(file):
                    return
                message = pickle.load(file)
            except Exception as error:  # a pickle raises whatever it likes
                if isinstance(error, EOFError | pickle.UnpicklingError) and not _is_left(file):
                    log.warning("%s is cut short: message %d is not whole, and left out", path, number)
                    return
                said = " ".join(str(error).split())
                raise ValueError(f"{path}, message {number}: {type(error).__name__}: {said}") from error
            yield message
            number += 1


def _is_left(file: IO[bytes]) -> bool:
    """Whether there is more to read."""
    there = file.read(1)
    file.seek(-len(there), os.SEEK_CUR)
    return bool(there)


def read_pickled_parameters(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the values of a pickled list of parameters, each with a name and data, by name."""
    (found,) = read_pickles(path)
    return dict(_named(one, path) for one in found)


def _named(one: Any, path: Any) -> tuple[str, Any]:
    try:
        return (one["name"], one["data"]) if isinstance(one, Mapping) else (one.name, one.data)
    except (LookupError, AttributeError) as error:
        raise ValueError(f"{path} has a {type(one).__name__} in its list: give items with name and data") from error
