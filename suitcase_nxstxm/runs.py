"""The table of the runs of an entry: who, what, when, how it ended. A run without an end is not complete."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import numpy as np

from suitcase_nxstxm.nexus import dataset, group

__all__ = ["BY_TIME", "RunTable", "entries", "unfinished"]

BY_TIME = "time"
"""In the column ``placed_by``: nothing but the time of the run tells which plane it is for."""

_TEXT = h5py.string_dtype()
_ROW = np.dtype(
    [
        ("uid", _TEXT),
        ("scan_id", float),
        ("plan_name", _TEXT),
        ("user", _TEXT),
        ("plane", np.int64),
        ("placed_by", _TEXT),
        ("start_time", _TEXT),
        ("end_time", _TEXT),
        ("exit_status", _TEXT),
        ("reason", _TEXT),
    ]
)


class RunTable:
    """The table of an entry, one row a run, and what it says of all of them.

    Parameters
    ----------
    collection
        The NXcollection of the entry.
    """

    def __init__(self, collection: h5py.Group) -> None:
        found = dataset(collection, "runs")
        if found is None:
            found = collection.create_dataset("runs", (0,), _ROW, maxshape=(None,), chunks=(64,))
        self._table: h5py.Dataset = found
        self._type = h5py.h5t.py_create(_ROW)
        self._rows: dict[str, dict[str, Any]] = {}
        for row in found[()]:
            values = {
                name: v.decode() if isinstance(v, bytes) else v for name, v in zip(_ROW.names or (), row, strict=True)
            }
            self._rows[values["uid"]] = values

    def column(self, name: str) -> list[Any]:
        """The values of a column, one a run; texts that are not there yet are left out."""
        return [row[name] for row in self._rows.values() if row[name] != ""]

    @property
    def waiting(self) -> list[str]:
        """The runs that have no end."""
        return [uid for uid, row in self._rows.items() if not row["exit_status"]]

    @property
    def exit_status(self) -> str:
        """``success`` if all runs ended so, else how the first of the others ended."""
        return next((status for status in self.column("exit_status") if status != "success"), "success")

    def begin(self, uid: str, start_time: str, plane: int, start: Mapping[str, Any]) -> None:
        """Begin the row of a run, or begin it anew if the run is there from an export that was broken off."""
        scan_id = start.get("scan_id")
        self._rows[uid] = {
            "uid": uid,
            "scan_id": scan_id if isinstance(scan_id, (int, float)) else np.nan,
            "plan_name": str(start.get("plan_name", "")),
            "user": str(start.get("user") or start.get("login_id") or ""),
            "plane": plane,
            "placed_by": "request",
            "start_time": start_time,
            "end_time": "",
            "exit_status": "",
            "reason": "",
        }
        if len(self._rows) > self._table.shape[0]:
            self._table.resize((len(self._rows),))
        self._write(uid)

    def of_plane(self, plane: int) -> list[str]:
        """The runs for a plane."""
        return [uid for uid, row in self._rows.items() if row["plane"] == plane]

    def free_plane(self, uid: str) -> int:
        """The first plane that no other run is for."""
        taken = {int(row["plane"]) for other, row in self._rows.items() if other != uid}
        return next(plane for plane in range(len(taken) + 1) if plane not in taken)

    def place(self, uid: str, plane: int, placed_by: str) -> None:
        """Write which plane a run is for, and what says so."""
        self._rows[uid] |= {"plane": plane, "placed_by": placed_by}
        self._write(uid)

    def in_order_of_time(self) -> dict[int, int]:
        """Where to each plane has to go so that those that only the time tells are in its order; none that stay."""
        timed = [uid for uid, row in self._rows.items() if row["placed_by"] == BY_TIME and row["plane"] >= 0]
        planes = sorted(int(self._rows[uid]["plane"]) for uid in timed)
        moves = {}
        for uid, plane in zip(sorted(timed, key=lambda uid: self._rows[uid]["start_time"]), planes, strict=True):
            if self._rows[uid]["plane"] != plane:
                moves[int(self._rows[uid]["plane"])] = plane
                self.place(uid, plane, BY_TIME)
        return moves

    def end(self, uid: str, end_time: str, stop: Mapping[str, Any]) -> None:
        """End the row of a run."""
        status = str(stop.get("exit_status") or "unknown")
        self._rows[uid] |= {"end_time": end_time, "exit_status": status, "reason": str(stop.get("reason") or "")}
        self._write(uid)

    def _write(self, uid: str) -> None:
        number = list(self._rows).index(uid)
        there = self._table.id.get_space()
        there.select_hyperslab((number,), (1,))
        row = np.array([tuple(self._rows[uid].values())], dtype=_ROW)
        # self._table[number] = row would make the HDF5 type of a row each time, which takes longer than all else.
        self._table.id.write(h5py.h5s.create_simple((1,)), there, row, self._type)


def entries(root: h5py.Group) -> Iterator[tuple[str, h5py.Group]]:
    """The NXentry groups of a file by their names, in the order of the numbers in these."""
    for name in sorted(map(str, root), key=lambda name: (len(name), name)):
        found = root[name]
        if isinstance(found, h5py.Group) and found.attrs.get("NX_class") == "NXentry":
            yield name, found


def unfinished(root: h5py.Group) -> list[str]:
    """The uids of the runs of a file that have no stop document."""
    tables = [RunTable(group(entry, "collection", "NXcollection")) for _, entry in entries(root)]
    return list(dict.fromkeys(uid for table in tables for uid in table.waiting))
