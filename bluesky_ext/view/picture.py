"""Pictures of datasets as PNG, drawn for a page: one at a time, and seldom enough to leave the scan its time."""

from __future__ import annotations

import asyncio
import io
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from bluesky_ext.view.snapshot import Dataset, Group, Snapshot
from bluesky_ext.view.snapshots import Snapshots

#: How many times as long as drawing takes nothing is drawn, and how many pictures are kept.
REST, KEPT = 9.0, 16
#: Pixels of an image along each axis, and images of a stack, at most.
PIXELS, PANELS = 1024, 9


class NoPicture(LookupError):  # noqa: N818 - it tells of the path
    """A path with nothing that can be drawn."""


class Pictures:
    """The pictures of what is shown: those that were drawn last, as long as nothing has changed."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots
        self._drawing = asyncio.Lock()
        self._due = 0.0
        self._kept: OrderedDict[str, tuple[int, bytes]] = OrderedDict()

    async def png(self, path: str | None) -> bytes:
        """The picture of a path, the one to plot if None: of now, or for a moment the one before."""
        async with self._drawing:
            now = time.monotonic()
            kept = self._kept.get(path or "")
            if kept is None or now >= self._due:
                await asyncio.sleep(max(0.0, self._due - now))
                kept = await asyncio.to_thread(self._drawn, path, kept)
                self._kept[path or ""] = kept
                self._kept.move_to_end(path or "")
                if len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            return kept[1]

    def _drawn(self, path: str | None, kept: tuple[int, bytes] | None) -> tuple[int, bytes]:
        snapshot = self._snapshots.newest()
        if kept is not None and kept[0] == snapshot.generation:
            return kept
        began = time.monotonic()
        picture = png_of(snapshot, path)
        now = time.monotonic()
        self._due = now + REST * (now - began)
        return snapshot.generation, picture


def png_of(snapshot: Snapshot, path: str | None = None) -> bytes:
    """A picture of what is at a path, as PNG; NoPicture if nothing is there that can be drawn."""
    from matplotlib.figure import Figure

    from bluesky_ext.plots import plot_real_aspect

    dataset = snapshot.default if path is None else _plotted(snapshot, path)
    if dataset is None or dataset.array is None or dataset.array.dtype.kind not in "biuf" or not dataset.array.size:
        raise NoPicture(f"there is no picture of {path or 'what is shown'}")
    array = dataset.array
    if not array.ndim:
        raise NoPicture(f"{dataset.path} is the number {array}")
    labelled = _labelled(snapshot, dataset)
    while labelled.ndim > 3:
        labelled = labelled[0]
    if labelled.ndim == 3:
        labelled = labelled[:PANELS]
    steps = {name: slice(None, None, -(-labelled.sizes[name] // PIXELS)) for name in labelled.dims[-2:]}
    labelled = labelled.isel(steps)
    try:
        figure = plot_real_aspect(labelled, figure=Figure())
    except ValueError:  # its coordinates make no axes
        figure = plot_real_aspect(labelled.drop_vars(list(labelled.coords)), figure=Figure())
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def _plotted(snapshot: Snapshot, path: str) -> Dataset | None:
    """The dataset at a path, or the signal of the group there."""
    node = snapshot.at(path)
    if isinstance(node, Group):
        node = node.children.get(str(node.attributes.get("signal", "")))
    return node if isinstance(node, Dataset) else None


def _labelled(snapshot: Snapshot, dataset: Dataset) -> xr.DataArray:
    """The array with the axes that its group says, as far as they fit."""
    array: Any = dataset.array
    place, _, name = dataset.path.rpartition("/")
    group = snapshot.at(place)
    said = None if group is None else group.attributes.get("axes")
    axes = [] if said is None else [str(axis) for axis in np.atleast_1d(said)]
    if len(axes) != array.ndim or len(set(axes)) < len(axes):
        axes = [f"axis {number}" for number in range(array.ndim)]
    children: Mapping[str, Any] = group.children if isinstance(group, Group) else {}
    coordinates = {}
    for axis, length in zip(axes, array.shape, strict=True):
        child = children.get(axis)
        if isinstance(child, Dataset) and child.array is not None and child.array.shape == (length,):
            units = child.attributes.get("units")
            attributes = {} if units is None else {"units": str(units)}
            coordinates[axis] = xr.Variable((axis,), child.array, attributes)
    return xr.DataArray(array, coordinates, axes, name=name)
