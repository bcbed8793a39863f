"""Which entry of a file is for what, and what only all its entries together tell.

An entry is for one polarisation, one region and one angle. Programs that give two of these the same name mean two
entries; the names that these get must not depend on which of their runs comes first. So each entry keeps what it is for
while the file is under construction, and the names are settled at the end.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import numpy as np

from suitcase_nxstxm.entries import HELD, unused
from suitcase_nxstxm.nexus import dataset, existing, group, put
from suitcase_nxstxm.request import Request
from suitcase_nxstxm.runs import RunTable, entries
from suitcase_nxstxm.scan_types import scan_types

__all__ = ["identity", "known", "places", "remember", "settle"]

_KNOWN, _KNOWN_SINCE = "known", "known_since"
"""Attributes of an entry, for as long as the file is under construction."""

_SEVERAL = frozenset(
    {
        scan_types.SAMPLE_POINT_SPECTRA,
        scan_types.SAMPLE_LINE_SPECTRA,
        scan_types.SAMPLE_IMAGE_STACK,
        scan_types.TOMOGRAPHY_SCAN,
        scan_types.PTYCHOGRAPHY_SCAN,
    }
)


def identity(request: Request, entry: str, region: str) -> str:
    """What an entry is for, as JSON: the same for all runs that go to it."""
    several = request.several_runs and request.scan_type in _SEVERAL
    return json.dumps(
        {
            "entry": entry,
            "polarization": request.polarization_index,
            "region": region,
            "angle": request.angle,
            # Images of one kind are no scan together: each run is an entry of its own.
            "time": 0.0 if several else request.time,
            "run": "" if several else request.run,
            "scan": request.scan if request.several_runs else request.run,
        },
        sort_keys=True,
    )


def places(request: Request) -> set[tuple[str, int]]:
    """The planes of entries that a run is for; none if it doesn't say which."""
    if not request.placed:
        return set()
    images = request.images or (request,)
    if request.scan_type is scan_types.SAMPLE_POINT_SPECTRA:
        images = images[:1]  # it may go on to the others, or they are runs of their own
    return {(identity(image, image.entry, image.region_key), image.plane) for image in images}


def remember(entry: h5py.Group, values: Mapping[str, tuple[float, str | None]], began: float) -> bool:
    """Keep what the baseline of the entry's first run has, for entries whose runs have none; whether it is this one."""
    if began > entry.attrs.get(_KNOWN_SINCE, math.inf):
        return False
    entry.attrs[_KNOWN] = json.dumps(values)
    entry.attrs[_KNOWN_SINCE] = began
    return True


def known(entry: h5py.Group) -> dict[str, tuple[float, str | None]]:
    """What the baseline of an entry's run has; nothing if it has no baseline."""
    return json.loads(entry.attrs.get(_KNOWN, "{}"))


def settle(file: h5py.File, final: bool) -> None:
    """Put planes into the order of time where nothing else tells it, share the baseline, and give entries their names.

    Parameters
    ----------
    file
        The file.
    final
        Whether nothing more comes: what is for the time of construction is taken away.
    """
    for _, entry in entries(file):
        _order(entry)
    _share(file)
    _name(file)
    if final:
        for _, entry in entries(file):
            for name in (HELD, _KNOWN, _KNOWN_SINCE):
                if name in entry.attrs:
                    del entry.attrs[name]


def _name(file: h5py.File) -> None:
    """Give each entry the name that its runs ask for; of several that ask for one, the first by what it is for."""
    held = {name: json.loads(str(e.attrs[HELD])) for name, e in entries(file) if HELD in e.attrs}
    order = sorted(held, key=lambda name: (len(held[name]["entry"]), held[name]["entry"], _rank(held[name])))
    asked = {what["entry"] for what in held.values()}
    taken = set(map(str, file)) - set(held)
    wanted: dict[str, str] = {}
    for name in order:
        mine = held[name]["entry"]
        if mine in taken:
            mine = unused(mine, taken | asked)
        taken.add(mine)
        wanted[name] = mine
    moving = {name: new for name, new in wanted.items() if name != new}
    for number, name in enumerate(moving):
        file.move(name, f"moving {number}")
    for number, (name, new) in enumerate(moving.items()):
        file.move(f"moving {number}", new)
        _mend_virtual(group(file, new, "NXentry"), f"/{name}/", f"/{new}/")


def _rank(held: Mapping[str, Any]) -> tuple[Any, ...]:
    angle = held["angle"]
    return held["polarization"], held["region"], -math.inf if angle is None else angle, held["time"], held["run"]


def _mend_virtual(entry: h5py.Group, old: str, new: str) -> None:
    """Let the virtual datasets of a renamed entry show what they showed."""
    for detector in group(entry, "instrument", "NXinstrument").values():
        seen = dataset(detector, "data") if isinstance(detector, h5py.Group) else None
        if seen is None or not seen.is_virtual:
            continue
        attributes = dict(seen.attrs)
        source = seen.virtual_sources()[0].dset_name
        grid = entry.file[source.replace(old, new, 1)]
        if isinstance(grid, h5py.Dataset):
            layout = h5py.VirtualLayout(seen.shape, seen.dtype)
            layout[:] = h5py.VirtualSource(".", grid.name, shape=grid.shape)
            del detector["data"]
            made = detector.create_virtual_dataset("data", layout, fillvalue=np.nan)
            made.attrs.update(attributes)


def _share(file: h5py.File) -> None:
    """Let the entries of a scan whose runs had no baseline have that of another run of the scan."""
    by_scan: dict[str, list[h5py.Group]] = {}
    for _, entry in entries(file):
        held = entry.attrs.get(HELD)
        if held is not None:
            by_scan.setdefault(json.loads(str(held))["scan"], []).append(entry)
    for members in by_scan.values():
        having = [entry for entry in members if known(entry)]
        if not having:
            continue
        # That of the run which began first, whatever order the runs came in.
        first = min(having, key=_began)
        for entry in members:
            if not known(entry):
                _take_over(entry, first)


def _began(entry: h5py.Group) -> str:
    return min(RunTable(group(entry, "collection", "NXcollection")).column("start_time"))


def _take_over(entry: h5py.Group, other: h5py.Group) -> None:
    mine, theirs = (group(e, "collection", "NXcollection") for e in (entry, other))
    if "baseline" in theirs and "baseline" not in mine:
        mine["baseline"] = theirs["baseline"]
    plots = [item for item in entry.values() if isinstance(item, h5py.Group) and item.attrs.get("NX_class") == "NXdata"]
    instrument = group(entry, "instrument", "NXinstrument")
    for role, (value, units) in known(other).items():
        if role == "ring_current":
            put(group(instrument, "source", "NXsource"), "current", value, units=units)
        elif role == "rotation":
            _fill(dataset(group(entry, "sample", "NXsample"), "rotation_angle"), value, units)
        elif role in ("sample_x", "sample_y", "energy"):
            for plot in plots:
                _fill(dataset(plot, role), value, units)
        if role == "energy":
            _fill(dataset(group(instrument, "monochromator", "NXmonochromator"), "energy"), value, units)


def _fill(stored: h5py.Dataset | None, value: float, units: str | None) -> None:
    """Put a value to where nothing is known."""
    if stored is None or not np.isnan(stored[()]).all():
        return
    if np.size(stored[()]) > 1 and not str(stored.name).endswith("/energy"):
        return  # the axis of a scan
    stored[...] = value
    if units:
        stored.attrs["units"] = units


def _order(entry: h5py.Group) -> None:
    """Put the planes that have nothing but the time of their runs to say which they are into its order."""
    table = RunTable(group(entry, "collection", "NXcollection"))
    moves = table.in_order_of_time()
    if not moves:
        return
    for data, size in _planar(entry):
        _permute(data, moves, size)


def _planar(entry: h5py.Group) -> Iterator[tuple[h5py.Dataset, int]]:
    """The datasets of an entry that are filled plane by plane, with the length of a plane along their first dimension.

    Not the energies, which are those that were asked for whatever was measured at them.
    """
    shape = existing(group(entry, str(entry.attrs["default"]), "NXdata"), "data").shape
    size = math.prod(shape[1:])
    for item in itertools.chain(entry.values(), group(entry, "instrument", "NXinstrument").values()):
        data = dataset(item, "data") if isinstance(item, h5py.Group) else None
        if data is None or data.is_virtual:
            continue
        if data.shape == shape:
            yield data, 1
        elif data.maxshape == (shape[0] * size, *data.shape[1:]):
            yield data, size


def _permute(data: h5py.Dataset, moves: Mapping[int, int], size: int) -> None:
    """Move planes of a dataset, one cycle of them after the other, so that two planes at a time are in memory."""
    if data.shape[0] < (max(moves) + 1) * size or data.shape[0] < (max(moves.values()) + 1) * size:
        data.resize((max(*moves, *moves.values()) + 1) * size, axis=0)
    left = dict(moves)
    while left:
        at = next(iter(left))
        carried = data[at * size : (at + 1) * size]
        while at in left:
            target = left.pop(at)
            displaced = data[target * size : (target + 1) * size]
            data[target * size : (target + 1) * size] = carried
            carried, at = displaced, target
