"""The entries of a file under construction: which is for what, and what their runs share."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable

import h5py

from suitcase_nxstxm.arrays import Arrays
from suitcase_nxstxm.errors import DuplicateRunError
from suitcase_nxstxm.nexus import group
from suitcase_nxstxm.runs import RunTable, entries

__all__ = ["HELD", "Entries", "EntryGroup", "unused"]

HELD = "held"
"""The attribute of an entry that says what it is for, for as long as the file is under construction."""


class EntryGroup:
    """An NXentry in the file, with what all runs that write to it share.

    Parameters
    ----------
    group
        The NXentry.

    Attributes
    ----------
    instrument, collection
        Its NXinstrument and its NXcollection.
    runs
        The table of its runs.
    arrays
        The arrays that its runs fill.
    """

    def __init__(self, found: h5py.Group) -> None:
        self.group = found
        self.instrument = group(found, "instrument", "NXinstrument")
        self.collection = group(found, "collection", "NXcollection")
        self.runs = RunTable(self.collection)
        self.arrays = Arrays(found)
        self._shown: str | None = found.attrs.get("default")
        self._plot: h5py.Group | None = None

    @property
    def plot(self) -> h5py.Group | None:
        """The NXdata of the default plot; None as long as nothing is in it."""
        if self._plot is None and self._shown is not None:
            found = self.group.get(self._shown)
            self._plot = found if isinstance(found, h5py.Group) else None
        return self._plot

    def show(self, name: str) -> None:
        """Let the NXdata of this name be the default plot."""
        if self._shown != name:
            self.group.attrs["default"] = self._shown = name
            self._plot = None


class Entries:
    """The entries of a file that is open for writing, by what they are for.

    What the file says of them is read once, not for each run: that would take longer than to write the run.

    Parameters
    ----------
    root
        The file.
    """

    def __init__(self, root: h5py.File) -> None:
        self.root = root
        self._names = {str(found.attrs[HELD]): name for name, found in entries(root) if HELD in found.attrs}
        self._used: dict[str, EntryGroup] = {}

    def __getitem__(self, name: str) -> EntryGroup:
        """The entry of this name."""
        if name not in self._used:
            self._used[name] = EntryGroup(group(self.root, name, "NXentry"))
        return self._used[name]

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
        others = self[self._names[held]].runs.of_plane(plane)
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
