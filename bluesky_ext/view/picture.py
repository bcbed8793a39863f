"""Pictures of datasets as PNG, drawn for a page: one at a time, and seldom enough to leave the scan its time."""

from __future__ import annotations

import asyncio
import io
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bluesky_ext.view.snapshot import Dataset, Group, Snapshot
from bluesky_ext.view.snapshots import Snapshots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: How many times as long as drawing takes nothing is drawn, for so many seconds at most; how many pictures are kept.
REST, LONGEST, KEPT = 9.0, 3.0, 16
#: Pixels of an image along each axis, and images of a stack, at most.
PIXELS, PANELS = 1024, 9


class NoPicture(LookupError):  # noqa: N818 - it tells of the path
    """A path with nothing that can be drawn."""


class Pictures:
    """The pictures of what is shown: those that were drawn last, as long as nothing has changed.

    While ``is_running()`` says that a run goes on, it is let rest between two of them.
    """

    def __init__(self, snapshots: Snapshots, is_running: Callable[[], bool]) -> None:
        self._snapshots, self._is_running = snapshots, is_running
        self._drawing = asyncio.Lock()
        self._due = 0.0
        self._kept: OrderedDict[str, tuple[int, bytes]] = OrderedDict()

    async def png(self, path: str | None) -> bytes:
        """The picture of a path, the one to plot if None: of now, or for a moment the one before."""
        key = path or ""
        snapshot = await asyncio.to_thread(self._snapshots.newest)
        dataset = await asyncio.to_thread(dataset_of, snapshot, path)
        async with self._drawing:
            generation, picture = self._kept.get(key, (None, b""))
            wait = self._due - time.monotonic() if self._is_running() else 0.0
            if generation is not None and (generation == snapshot.generation or wait > 0):
                return picture
            await asyncio.sleep(max(0.0, wait))
            began = time.monotonic()
            picture = await asyncio.to_thread(png_of, snapshot, dataset)
            now = time.monotonic()
            self._due = now + min(REST * (now - began), LONGEST)
            self._kept[key] = snapshot.generation, picture
            self._kept.move_to_end(key)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return picture


def dataset_of(snapshot: Snapshot, path: str | None = None) -> Dataset:
    """The dataset that is drawn for a path; NoPicture if nothing is there that can be drawn."""
    node = snapshot.default if path is None else snapshot.at(path)
    if isinstance(node, Group):
        node = node.children.get(str(node.attributes.get("signal", "")))
    array = node.array if isinstance(node, Dataset) else None
    if not isinstance(node, Dataset) or array is None or array.dtype.kind not in "biuf" or not array.ndim * array.size:
        raise NoPicture("there is nothing to draw yet" if path is None else f"{path!r:.100} is nothing to draw")
    return node


def png_of(snapshot: Snapshot, dataset: Dataset) -> bytes:
    """A picture of a dataset, as PNG: of a stack its first images."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise NoPicture("to draw pictures, install the extra: pip install 'bluesky-ext[plot]'") from error

    figure, png = Figure(), io.BytesIO()
    draw(snapshot, dataset, figure)
    figure.savefig(png, format="png")
    return png.getvalue()


def draw(snapshot: Snapshot, dataset: Dataset, figure: Figure) -> None:
    """Draw a dataset into a figure, with nothing else in it."""
    from bluesky_ext.plots import plot_real_aspect

    labelled = _labelled(snapshot, dataset)
    while labelled.ndim > 3:
        labelled = labelled[0]
    if labelled.ndim == 3:
        labelled = labelled[:PANELS]
    labelled = labelled.isel(
        {name: slice(None, None, -(-labelled.sizes[name] // PIXELS)) for name in labelled.dims[-2:]}
    )
    try:
        plot_real_aspect(labelled, figure=figure)
    except ValueError:  # its coordinates make no axes
        plot_real_aspect(labelled.drop_vars(list(labelled.coords)), figure=figure)


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
