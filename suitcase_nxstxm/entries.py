"""The entries of a file under construction, by what they are for."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable

import h5py

from suitcase_nxstxm.errors import DuplicateRunError
from suitcase_nxstxm.nexus import group
from suitcase_nxstxm.runs import RunTable, entries

__all__ = ["HELD", "Entries", "unused"]

HELD = "held"
"""The attribute of an entry that says what it is for, for as long as the file is under construction."""


class Entries:
    """The entries of a file that is open for writing; what the file says of them is read once, not for each run.

    Parameters
    ----------
    root
        The file.
    """

    def __init__(self, root: h5py.File) -> None:
        self.root = root
        self._names = {str(found.attrs[HELD]): name for name, found in entries(root) if HELD in found.attrs}
        self._tables: dict[str, RunTable] = {}

    def table(self, name: str) -> RunTable:
        """The table of the runs of an entry."""
        if name not in self._tables:
            entry = group(self.root, name, "NXentry")
            self._tables[name] = RunTable(group(entry, "collection", "NXcollection"))
        return self._tables[name]

    def claim(self, wanted: str, held: str) -> str:
        """The name of the entry that is for something: the one that is already, else a new one, as wanted if free."""
        if held not in self._names:
            name = unused(wanted, map(str, self.root))
            group(self.root, name, "NXentry").attrs[HELD] = held
            self._names[held] = name
        return self._names[held]

    def check_free(self, held: str, run: str, plane: int) -> None:
        """Raise DuplicateRunError if another run is for the plane of an entry that a run is for."""
        if held not in self._names:
            return
        others = self.table(self._names[held]).of_plane(plane)
        if others and run not in others:
            raise DuplicateRunError(
                f"run {run} is for plane {plane} of {json.loads(held)['entry']}, and so is run {others[0]}: "
                "export only one of them"
            )


def unused(name: str, taken: Iterable[str]) -> str:
    """The name if nobody has it, else the first like it with a number that nobody has."""
    taken = set(taken)
    stem = name.rstrip("0123456789")
    first = name[len(stem) :]
    numbers = itertools.count(int(first) + 1 if first else 1)
    while name in taken:
        name = f"{stem}{next(numbers)}"
    return name
