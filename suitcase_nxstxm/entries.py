"""The entries of a file under construction: which is for what, and what their runs share."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable

import h5py

from suitcase_nxstxm.arrays import Arrays
from suitcase_nxstxm.errors import DuplicateRunError
from suitcase_nxstxm.nexus import dataset, group, legal_names, name_in
from suitcase_nxstxm.rows import Rows
from suitcase_nxstxm.runs import RunTable, entries

__all__ = ["HELD", "Entries", "EntryGroup", "unused"]

HELD = "held"
"""The attribute of an entry that says what it is for, for as long as the file is under construction."""


# What a detector of such a name would be mixed up with: groups and fields of the entry and of its instrument.
_RESERVED = frozenset(
    {
        "collection",
        "control",
        "definition",
        "end_time",
        "energy",
        "entry_identifier",
        "instrument",
        "monochromator",
        "name",
        "sample",
        "source",
        "start_time",
        "title",
        "user",
    }
)


class EntryGroup:
    """An NXentry in the file, with what all runs that write to it share.

    Parameters
    ----------
    found
        The NXentry.

    Attributes
    ----------
    group, instrument, collection
        The NXentry, its NXinstrument and its NXcollection.
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
        self._reserved = set(_RESERVED)
        self._detectors: dict[str, str] = {}
        self._shown: str | None = found.attrs.get("default")
        self._plot: h5py.Group | None = None

    @property
    def plot(self) -> h5py.Group | None:
        """The NXdata of the default plot; None as long as nothing is in it."""
        if self._plot is None and self._shown is not None:
            found = self.group.get(self._shown)
            self._plot = found if isinstance(found, h5py.Group) else None
        return self._plot

    def reserve(self, names: Iterable[str]) -> None:
        """Keep names from detectors: those of positions, which are in the instrument as well."""
        self._reserved.update(names)

    def detector(self, name: str) -> str:
        """The name that the groups of a detector have: legal, and that of no other thing in the entry."""
        if name not in self._detectors:
            others = {*self._reserved, *self._detectors.values()}
            free = (own for own in legal_names(name) if own not in others and self._whose(own) in (None, name))
            self._detectors[name] = next(free)
        return self._detectors[name]

    def _whose(self, own: str) -> str | None:
        """The detector whose groups have a name in the file; None if none has."""
        found = self.instrument.get(own)
        stored = dataset(found, "local_name") if isinstance(found, h5py.Group) else None
        return None if stored is None else str(stored.asstr()[()])

    @property
    def shown(self) -> str | None:
        """The detector of the default plot; None as long as there is none."""
        known = {own: name for name, own in self._detectors.items()}
        return None if self._shown is None else known.get(self._shown) or self._whose(self._shown)

    def show(self, detector: str) -> None:
        """Let the NXdata of this detector be the default plot."""
        name = self.detector(detector)
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
        self._rows: dict[h5py.Group, Rows] = {}

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

    def rows(self, collection: h5py.Group, stream: str) -> Rows:
        """The rows that the runs of an entry have in the collection of a stream."""
        found = group(collection, name_in(collection, stream, stream), "NXcollection", name=stream)
        if found not in self._rows:
            self._rows[found] = Rows(found)
        return self._rows[found]

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
