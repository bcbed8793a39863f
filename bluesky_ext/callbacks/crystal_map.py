"""Crystal maps, current while the scan runs."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bluesky_ext.callbacks.linking import Linking, TrackReduce
from bluesky_ext.callbacks.netcdf import save
from bluesky_ext.callbacks.scan import Scan
from bluesky_ext.callbacks.tree import entry, nxdata
from bluesky_ext.engine import DerivedRun, Reduce, frames_of
from bluesky_ext.peaks import LiveMaps, StreamLinker, crystal_maps, scan_indices, warm_up_live_maps

PARTICLE = "particle"


class _Given:
    """Tracks that are known already: each frame's peaks with their particles."""

    def __init__(self) -> None:
        self._frames: dict[int, pd.DataFrame] = {}
        self._changed: set[int] = set()

    def add(self, frame_number: int, peaks: pd.DataFrame) -> None:
        """Keep the peaks of a frame; a frame that comes again is replaced."""
        self._frames[frame_number] = peaks
        self._changed.add(frame_number)

    def take_changed(self) -> Iterator[tuple[int, np.ndarray, dict[str, np.ndarray]]]:
        """Number, particles and columns of the frames that have changed since this was last asked for."""
        changed, self._changed = self._changed, set()
        for number in sorted(changed):
            columns = {str(name): column.to_numpy() for name, column in self._frames[number].items()}
            yield number, np.asarray(columns.get(PARTICLE, ()), np.int64), columns

    @property
    def frames(self) -> list[int]:
        """The numbers of the frames so far."""
        return sorted(self._frames)

    @property
    def tracks(self) -> pd.DataFrame:
        """A row a peak, in the order of frames."""
        tables = [self._frames[number] for number in self.frames if len(self._frames[number])]
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


@dataclass
class _Mapping(Linking):
    """The tracks of a run so far, and the maps of them."""

    live: LiveMaps | None = None
    axes: tuple[str, ...] = ("y", "x")
    places: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))


class CrystalMap(TrackReduce):
    """A map of each track: how bright its peak is at each point of the scan, the brightest track first.

    Give it the rows of a `PeakTracker`, and it links them as they come: `dataset` has the maps so far, at any time.
    Or give it the rows of a `TrackLinker`, which have their tracks already, at the stop. What is kept are the rows;
    maps are made when they are asked for.

    At the stop it emits the maps, an event each (``map``, and beside it what is known of the track: ``particle``,
    ``frames``, ``total``, and the means of the peaks' columns), and saves the dataset if there is a directory.

    Parameters
    ----------
    search_range : float, or one for each axis; optional
        How far a peak may move from one frame to the next, in pixels. Without it, the rows must have a ``particle``.
    shape, extents, snaking : sequences, optional
        Of the scan, slowest axis first, where the start document does not say them (or says something else). If
        nobody says a shape, there is one axis: the points in their order.
    dims : sequence of str, optional
        Names of the axes; the motors of the scan unless given.
    value : str
        The column that is mapped.
    max_maps : int
        Maps of so many tracks are made, the brightest.
    directory : path, optional
        Where the dataset of each run is saved, as ``<uid of the scan>.nc`` (NetCDF 4, which is HDF5).
    stream_name, t_column
        As for `TrackLinker`.
    **link_kwargs
        Any keyword of `trackpy.link` (``memory``, ``adaptive_stop`` and so on), and of `bluesky_ext.engine.Reduce`
        (``on_error`` and so on).

    Examples
    --------
    >>> from bluesky_ext import CrystalMap
    >>> cm = CrystalMap(search_range=50, max_maps=10)
    """

    def __init__(
        self,
        search_range: Any = None,
        *,
        shape: Sequence[int] | None = None,
        extents: Sequence[Sequence[float]] | None = None,
        snaking: Sequence[bool] | None = None,
        dims: Sequence[str] | None = None,
        value: str = "mass",
        max_maps: int = 100,
        directory: str | os.PathLike[str] | None = None,
        stream_name: str = "primary",
        t_column: str = "frame",
        **link_kwargs: Any,
    ) -> None:
        options, link_kwargs = Reduce.split_options(link_kwargs)
        if max_maps < 1:
            raise ValueError(f"max_maps={max_maps!r}: give a number of maps above 0")
        link = {"search_range": search_range, "t_column": t_column, **link_kwargs}
        if search_range is not None:
            StreamLinker(**link)  # refuses a bad keyword now, not at the first frame
        elif link_kwargs:
            raise ValueError(f"{sorted(link_kwargs)} are for linking: give search_range as well")
        self._scan = Scan(shape, extents, snaking, dims)
        self._maps = {"value": value, "max_maps": max_maps, "t_column": t_column}
        if self._scan.n_axes:  # a scan that doesn't fit together is refused now, not at the stop
            shape = [1] * self._scan.n_axes if shape is None else shape
            self._map(_NO_TRACKS.rename(columns={"value": value, "frame": t_column}), replace(self._scan, shape=shape))
        self._directory = None if directory is None else Path(directory)
        warm_up_live_maps()
        super().__init__(
            link,
            stream_name=stream_name,
            parameters={**link, **self._scan.as_dict(), **self._maps, "stream_name": stream_name},
            **options,
        )

    @property
    def dataset(self) -> xr.Dataset:
        """The maps of the run that started last, as far as it is; see `bluesky_ext.peaks.crystal_maps`."""
        with self._open_runs.lock:
            linking: Linking = self.latest or self.begin({})
            return self._dataset(self.tracks, linking.start)

    def begin(self, start: Mapping[str, Any]) -> Linking:
        """No tracks yet."""
        return _Mapping(StreamLinker(**self._link) if self._link["search_range"] is not None else _Given(), start)

    def tree(self, state: _Mapping) -> dict[str, Any]:
        """The maps of the brightest tracks so far, an NXdata ``maps`` of them, and what is known of each track."""
        for number, particles, columns in state.linker.take_changed():
            if state.live is None:
                state.axes = tuple(name for name in ("z", "y", "x") if name in columns) or tuple(columns)[:1]
                state.live = LiveMaps(len(state.axes))
            positions = [np.asarray(columns[name], float) for name in state.axes] if len(particles) else []
            values = np.asarray(columns.get(self._maps["value"], ()), float)
            state.live.put(number, particles, values, np.reshape(positions, (len(state.axes), -1)).T)
        live = state.live or LiveMaps(len(state.axes))
        taken = {"maps", "grain", "particle", "frames", "total", *state.axes}
        grid = self._scan.grid(state.start, max(live.last_frame, 1), taken)
        shape = tuple(grid["shape"])
        if len(state.places) != math.prod(shape):
            places = scan_indices(np.arange(1, math.prod(shape) + 1), shape, grid["snaking"])
            state.places = np.asarray(np.ravel_multi_index(tuple(places.T), shape))
        bright = live.brightest(state.places, self._maps["max_maps"])
        names = list(grid["dims"] or [f"dim_{axis}" for axis in range(len(shape))])
        arrays: dict[str, Any] = {"grain": np.arange(len(bright.particle))}
        for axis, (name, length) in enumerate(zip(names, shape, strict=True)):
            first, last = (0, length - 1) if grid["extents"] is None else grid["extents"][axis]
            arrays[name] = np.linspace(first, last, length)
        arrays |= {"maps": bright.maps.reshape(-1, *shape), "particle": bright.particle}
        arrays |= {"frames": bright.frames, "total": bright.total}
        arrays |= {name: bright.positions[:, axis] for axis, name in enumerate(state.axes)}
        return entry(state.start, "maps", maps=nxdata("maps", ["grain", *names], arrays))

    def reduce(self, state: Linking, stream: str, event: Mapping[str, Any]) -> None:
        """Take a row, or learn which rows a frame has."""
        # Of a frame that is not one of the scan's, the rows are refused, if it has any.
        if stream != frames_of(self._stream_name) or self._scan.has(event["data"]["frame"], state.start):
            super().reduce(state, stream, event)

    def reduce_page(self, state: Linking, stream: str, page: Mapping[str, Any]) -> bool:
        """Take the rows of a page."""
        if stream == self._stream_name:
            data = page["data"]
            if self._link["search_range"] is None and PARTICLE not in data:
                raise ValueError("the rows have no column 'particle': give search_range, or subscribe to a TrackLinker")
            if self._maps["value"] not in data:
                raise ValueError(f"the rows have no column {self._maps['value']!r}, only {[*data]}: give value=")
            frames = {int(frame) for frame in data.get(self._t_column, ())}
            outside = {frame for frame in frames if not self._scan.has(frame, state.start)}
            if outside and outside != frames:
                return False  # row by row, so that only those outside are refused
            for frame in outside:
                self._scan.check(frame, state.start)
        return super().reduce_page(state, stream, page)

    def finish(self, state: Linking, derived: DerivedRun, start: Mapping[str, Any]) -> None:
        """Emit the maps, and save them."""
        errors = state.link_the_rest()
        dataset = self._dataset(state.linker.tracks, start)
        about = [str(name) for name in dataset.data_vars if dataset[name].dims == ("grain",)]
        for grain in range(dataset.sizes["grain"]):
            one = dataset.isel(grain=grain)
            derived.event("primary", None, {"map": one["maps"].values, **{name: one[name].item() for name in about}})
        if self._directory is not None:
            save(dataset, self._directory)
        if errors:  # when all that could be linked is out
            with self.naming_the_range():
                raise errors[0]

    def _dataset(self, tracks: pd.DataFrame, start: Mapping[str, Any]) -> xr.Dataset:
        if tracks.empty:
            tracks = _NO_TRACKS.rename(columns={"value": self._maps["value"], "frame": self._t_column})
        maps = self._map(tracks, self._scan, start)
        if "uid" not in start:
            return maps
        return maps.assign_attrs(
            original_run_uid=start.get("original_run_uid", start["uid"]), scan_id=start.get("scan_id", -1)
        )

    def _map(self, tracks: pd.DataFrame, scan: Scan, start: Mapping[str, Any] | None = None) -> xr.Dataset:
        last = int(tracks[self._maps["t_column"]].max()) if len(tracks) else 1
        taken = {"maps", "grain", "frames", "total", *map(str, tracks)}
        return crystal_maps(tracks, **scan.grid(start or {}, last, taken), **self._maps)


_NO_TRACKS = pd.DataFrame(np.empty((0, 3)), columns=pd.Index(["value", "frame", PARTICLE]))
