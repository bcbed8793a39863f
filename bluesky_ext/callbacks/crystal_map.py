"""Crystal maps, current while the scan runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from trackpy.linking import Linker

from bluesky_ext._arguments import check_keywords, keywords_of, split_keywords
from bluesky_ext._compile import compile_kernels
from bluesky_ext.callbacks.kept_runs import KEEP_RUNS, KeptRuns
from bluesky_ext.callbacks.linking import Linking, TrackReduce
from bluesky_ext.callbacks.scan import Scan, ScanPoints
from bluesky_ext.callbacks.tree import entry, nxdata_of
from bluesky_ext.engine import DerivedRun, Reduce, Stage, frames_of
from bluesky_ext.engine.documents.open_runs import OpenStream
from bluesky_ext.engine.stages.run import StageRun
from bluesky_ext.peaks import LiveMaps, PeakRows, StreamLinker, warm_up_linking, warm_up_live_maps
from bluesky_ext.peaks.crystal_map import PARTICLE, REFLECTION, maps_dataset
from bluesky_ext.peaks.table import SCATTERING
from bluesky_ext.positions.layout import SEQ_NUM


class _Given:
    """Tracks that are known already: each frame's peaks with their particles."""

    crowd = 0  # none compete

    def __init__(self, t_column: str) -> None:
        self._t_column = t_column
        self.rows = PeakRows()

    def add(self, frame_number: int, peaks: Mapping[str, np.ndarray]) -> None:
        """Keep the peaks of a frame; a frame that comes again is replaced."""
        columns = {name: column for name, column in peaks.items() if name not in (PARTICLE, self._t_column)}
        self.rows.put(frame_number, np.asarray(peaks.get(PARTICLE, ()), np.int64), columns)

    @property
    def tracks(self) -> pd.DataFrame:
        """A row a peak, in the order of frames."""
        return self.rows.table(self._t_column)


@dataclass
class _Mapping(Linking):
    """The tracks of a run so far, where its frames were taken, and the maps."""

    points: ScanPoints = field(kw_only=True)
    live: LiveMaps = field(kw_only=True)


class CrystalMap(TrackReduce):
    """A map of each track: how bright its peak is at each point of the scan, the brightest track first.

    Give it the rows of a `PeakTracker`, and it links them as they come: `dataset` has the maps so far, at any time.
    Or give it the rows of a `TrackLinker`, which have their tracks already, at the stop. What is kept are the rows;
    maps are made when they are asked for.

    A map lies where the motors were: their readings make its grid, or its line, whatever the plan was; points that make
    no grid have one axis, ``point``, with the positions along it. What the start document says otherwise is in the log.

    At the stop it emits the maps, an event each (``map``, and beside it what is known of the track: ``particle``,
    ``frames``, ``total``, and the means of the peaks' columns), and in the stream ``positions`` one event with where
    the motors were along the axes of the maps. It saves the dataset if there is a directory.

    Parameters
    ----------
    search_range : float, or one for each axis; optional
        How far a peak may move from one frame to the next, in pixels. Without it, the rows must have a ``particle``.
    motors : sequence of str, optional
        The motors whose positions are the axes of the maps, slowest first, or readings of theirs; those of the scan
        unless given.
    positions : {"readback", "setpoint"}
        Whether a point is where a motor was, or where it was sent, if the events have a reading of that.
    shape, extents, snaking : sequences, optional
        The grid that was planned, slowest axis first, where the start document does not say it (or says something
        else). It is where points lie whose events have no positions, and helps to recognise a grid in noisy ones.
    value : str
        The column that is mapped.
    max_maps : int
        Maps of so many tracks are made, the brightest.
    keep_runs : int
        So many runs are kept in `runs`, the latest.
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

    kernels = (warm_up_live_maps, warm_up_linking)
    libraries = (*TrackReduce.libraries, "xarray")

    def __init__(
        self,
        search_range: Any = None,
        *,
        motors: Sequence[str] | None = None,
        positions: Literal["readback", "setpoint"] = "readback",
        shape: Sequence[int] | None = None,
        extents: Sequence[Sequence[float]] | None = None,
        snaking: Sequence[bool] | None = None,
        value: str = "mass",
        max_maps: int = 100,
        keep_runs: int = KEEP_RUNS,
        directory: str | os.PathLike[str] | None = None,
        stream_name: str = "primary",
        t_column: str = "frame",
        **link_kwargs: Any,
    ) -> None:
        check_keywords("CrystalMap", link_kwargs, keywords_of(CrystalMap, Reduce, Stage, StreamLinker, Linker))
        options, link_kwargs = split_keywords(link_kwargs, Reduce, Stage)
        if not isinstance(max_maps, int) or max_maps < 1:
            raise ValueError(f"max_maps={max_maps!r}: give a number of maps above 0")
        link = {"search_range": search_range, "t_column": t_column, **link_kwargs}
        if search_range is not None:
            StreamLinker(**link)  # refuses a bad keyword now, not at the first frame
        elif link_kwargs:
            raise ValueError(f"{sorted(link_kwargs)} are for linking: give search_range as well")
        self._scan = Scan(motors, positions, shape, extents, snaking)
        self._value, self._max_maps = value, max_maps
        self._kept = KeptRuns(keep_runs, directory)
        compile_kernels(*self.kernels)
        super().__init__(
            link,
            stream_name=stream_name,
            parameters={
                **{**link, **self._scan.as_dict(), "value": value, "max_maps": max_maps},
                **{"t_column": t_column, "stream_name": stream_name},
            },
            **options,
        )
        _ = self.dataset  # what xarray imports with the first one takes half a second

    @property
    def dataset(self) -> xr.Dataset:
        """The maps of the run that started last, as far as it is; see `bluesky_ext.peaks.crystal_maps`."""
        with self._open_runs.lock:
            return self._dataset(self.latest or self.begin({"uid": ""}))

    @property
    def runs(self) -> KeptRuns:
        """The datasets of runs by the uid of the scan, or the ``scan_id`` of one that was mapped last."""
        return self._kept

    def begin(self, start: Mapping[str, Any]) -> _Mapping:
        """No tracks yet."""
        linker = _Given(self._t_column) if self._link["search_range"] is None else StreamLinker(**self._link)
        points, live = ScanPoints(self._scan, start), LiveMaps(linker.rows, self._value)
        return _Mapping(linker, start, points=points, live=live)

    def describe_stream(self, run: StageRun, stream: OpenStream) -> None:
        """Learn which readings are those of the motors."""
        if stream.name == frames_of(self._stream_name):
            run.state.points.describe(stream.descriptor)

    def tree(self, state: _Mapping) -> dict[str, Any]:
        """The maps so far of the brightest tracks with what is known of each, and the numbers of peaks: two NXdata."""
        dataset = self._dataset(state, columns=("z", "y", "x", *SCATTERING))
        groups = {name: nxdata_of(dataset, name) for name in ("maps", "n_peaks")}
        layout = state.points.layout()
        if layout.is_grid:  # scattered points have it as a coordinate
            seq_nums = layout.placed(layout.frames)
            groups = {name: {**group, SEQ_NUM: seq_nums} for name, group in groups.items()}
        return entry(state.start, "maps", **groups)

    def reduce(self, state: Any, stream: str, event: Mapping[str, Any]) -> None:
        """Take a row, or learn which rows a frame has and where it was taken."""
        super().reduce(state, stream, event)
        if stream == frames_of(self._stream_name):  # a frame that could not be linked is none of the points
            state.points.note(event["data"]["frame"], event["data"])

    def reduce_page(self, state: Linking, stream: str, page: Mapping[str, Any]) -> bool:
        """Take the rows of a page."""
        if stream == self._stream_name:
            data = page["data"]
            if self._link["search_range"] is None and PARTICLE not in data:
                raise ValueError("the rows have no column 'particle': give search_range, or subscribe to a TrackLinker")
            if self._value not in data:
                raise ValueError(f"the rows have no column {self._value!r}, only {[*data]}: give value=")
        return super().reduce_page(state, stream, page)

    def finish(self, state: _Mapping, derived: DerivedRun, start: Mapping[str, Any]) -> None:
        """Emit the maps, and save them."""
        errors = state.link_the_rest()
        dataset = self._dataset(state)
        about = [str(name) for name in dataset.data_vars if dataset[name].dims == (REFLECTION,)]
        for number in range(dataset.sizes[REFLECTION]):
            one = dataset.isel({REFLECTION: number})
            derived.event("primary", None, {"map": one["maps"].values, **{name: one[name].item() for name in about}})
        state.points.emit(derived)
        state.points.report(self._log, self.name)
        self._kept.add(dataset)
        if errors:  # when all that could be linked is out
            with self.naming_the_range():
                raise errors[0]

    def _dataset(self, state: _Mapping, columns: Sequence[str] | None = None) -> xr.Dataset:
        live = state.live
        layout = state.points.layout(state.linker.rows.numbers)
        columns = live.columns if columns is None else [name for name in columns if name in live.columns]
        dataset = maps_dataset(live, layout, self._max_maps, columns)
        uid = state.start.get("original_run_uid", state.start["uid"])
        return dataset.assign_attrs(original_run_uid=uid, scan_id=state.start.get("scan_id", -1))
