"""Crystal maps from windows on the image, without linking peaks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
import xarray as xr

from bluesky_ext._arguments import check_keywords, keywords_of, refuse_document, split_keywords
from bluesky_ext._compile import compile_kernels
from bluesky_ext.callbacks.kept_runs import KEEP_RUNS, KeptRuns
from bluesky_ext.callbacks.mapped_run import STALE, MappedRun
from bluesky_ext.callbacks.scan import Scan, ScanPoints
from bluesky_ext.callbacks.stored import StoredRun, stored_in
from bluesky_ext.callbacks.tree import entry, nxdata_of
from bluesky_ext.callbacks.window_maps import WindowMaps, known_windows
from bluesky_ext.engine import DerivedRun, Reduce, Stage
from bluesky_ext.engine.documents.open_runs import OpenRun, OpenStream
from bluesky_ext.engine.stages.run import StageRun
from bluesky_ext.images import warm_up as warm_up_images
from bluesky_ext.peaks import LocateParameters, locate_kernels, warm_up_windows
from bluesky_ext.peaks.table import UNITS
from bluesky_ext.spectra.azimuthal import poni_bytes
from bluesky_ext.storage import as_source


class CrystalMapper(Reduce):
    """A map of each window around a bright peak: how bright it is at each point of the scan, above its darkest.

    It keeps the minimum (dark) and the maximum (light) of the frames, each averaged to one image, and at the stop
    locates peaks on light - dark, and puts windows around the brightest. A map is the mean intensity in a window for
    each frame, less that of the dark image in it.

    When the windows are known beforehand, their intensities are taken while the frames stream, and `dataset` has the
    maps so far at any time. When they are not, the frames are needed a second time: they are read from the database at
    the stop, or `replay` reads a stored run twice. Without either there are no maps, and the stop document says so
    (``incomplete``); dark, light and windows are emitted all the same, and a second stage can be given the windows.

    Emitted at the stop are the maps, an event each (``map``, ``reflection``, ``background`` and the columns of the
    windows: those of the peaks, ``dy``, ``dx``, and the edges ``y_start``, ``y_stop``, ``x_start``, ``x_stop``), in
    the stream ``positions`` one event with where the motors were along the axes of the maps, and in the stream
    ``light_dark`` one with ``light``, ``dark`` and ``n_frames``.

    After a pause an event may come again. Its intensities are replaced. Minimum and maximum can't be taken back, unless
    it is the latest event: then they are computed anew from the stored run at the stop, or flagged in the stop
    document where there is none.

    Parameters
    ----------
    data_key : str
        The key of the image. Several frames in one event are averaged. NaN pixels count neither in dark and light
        nor in the windows.
    diameter : odd int or tuple of two
        The extent of a peak in pixels, as for `trackpy.locate`.
    windows : DataFrame, mapping, Dataset or CrystalMapper, optional
        The windows, or where they are: a table with ``y``, ``x``, ``dy``, ``dx`` (the middle, and how many pixels there
        are on each side), or of peaks with ``y``, ``x`` and perhaps ``mass``; the `dataset` of an earlier run; or the
        stage that mapped it.
    n_windows : int
        Windows are put around so many peaks, the brightest.
    half_width : int
        How many pixels a window has on each side of its peak's pixel.
    db : Broker, catalog or mapping, optional
        Where ``db[uid]`` is the stored run, up to its last event, when the stop document comes: subscribe what
        stores it first. Asked only for a second pass.
    motors, positions, shape, extents, snaking
        Of the scan, as for `CrystalMap`.
    stream_name : str
        The stream of the frames.
    keep_runs : int
        So many runs are kept in `runs`, the latest.
    poni : path, bytes or array of uint8, optional
        The .poni file with the geometry of the detector, or its content: windows have ``q``, ``two_theta``, ``chi`` and
        ``d`` with it, as the peaks of a `PeakTracker`.
    directory : path, optional
        Where the dataset of each run is saved, as ``<uid of the scan>-windows.nc`` (NetCDF 4, which is HDF5).
    **locate_kwargs
        Any keyword of `trackpy.locate` (``minmass``, ``separation``, ``percentile``, ``topn`` and so on), and of
        `bluesky_ext.engine.Reduce` (``on_error``, ``handlers`` and so on).

    Examples
    --------
    A scan that is stored already, here as a list of its documents:

    >>> from bluesky import RunEngine
    >>> from bluesky.plans import grid_scan
    >>> from bluesky_ext import CrystalMapper
    >>> from bluesky_ext.sim import beamline
    >>> b = beamline(seed=1, shape=(128, 128), n_grains=2)
    >>> docs = []
    >>> plan = grid_scan([b.detector], b.y, -1, 1, 4, b.x, -1, 1, 5)
    >>> uids = RunEngine()(plan, lambda name, doc: docs.append((name, doc)))
    >>> first = CrystalMapper("dexela_image", 11, half_width=5, n_windows=3)
    >>> dict(first.replay(docs)["maps"].sizes)
    {'reflection': 3, 'sample_y': 4, 'sample_x': 5}

    Its windows are known now, for the scans of the same sample that follow:

    >>> live = CrystalMapper("dexela_image", 11, windows=first)
    """

    kernels = (warm_up_images, *locate_kernels(("float64",)), warm_up_windows)
    libraries = ("numpy", "numba", "scipy", "pandas", "xarray")
    units = UNITS

    def __init__(
        self,
        data_key: str,
        diameter: int | tuple[int, int],
        *,
        windows: Any = None,
        n_windows: int = 100,
        half_width: int = 25,
        db: Any = None,
        motors: Sequence[str] | None = None,
        positions: Literal["readback", "setpoint"] = "readback",
        shape: Sequence[int] | None = None,
        extents: Sequence[Sequence[float]] | None = None,
        snaking: Sequence[bool] | None = None,
        stream_name: str = "primary",
        keep_runs: int = KEEP_RUNS,
        directory: str | os.PathLike[str] | None = None,
        poni: Any = None,
        **locate_kwargs: Any,
    ) -> None:
        refuse_document("CrystalMapper", diameter)
        check_keywords("CrystalMapper", locate_kwargs, keywords_of(CrystalMapper, Reduce, Stage, LocateParameters))
        options, locate_kwargs = split_keywords(locate_kwargs, Reduce, Stage)
        if isinstance(windows, CrystalMapper):
            windows = windows.windows
            if windows is None:
                raise ValueError("windows= is a CrystalMapper that has none yet: let it map a run first")
        known = None if windows is None else known_windows(windows)
        self._kept = KeptRuns(keep_runs, directory, "-windows")
        self._scan = Scan(motors, positions, shape, extents, snaking)
        content = None if poni is None else poni_bytes(poni)
        if content is not None:
            self.libraries = (*self.libraries, "pyFAI")
        self._maps = WindowMaps(diameter, locate_kwargs, half_width, n_windows, known, content)
        self._data_key, self._stream_name = data_key, stream_name
        self._db, self._options = db, options
        self._replayed: Any = None
        compile_kernels(*self.kernels)
        super().__init__(
            parameters={
                **{"data_key": data_key, "diameter": diameter, **locate_kwargs},
                "windows": None if known is None else {name: known[name].to_numpy() for name in known.columns},
                **({} if content is None else {"poni": np.frombuffer(content, np.uint8)}),
                **{"n_windows": n_windows, "half_width": half_width, "stream_name": stream_name},
                **self._scan.as_dict(),
            },
            data_keys=(data_key,),
            **options,
        )

    @property
    def dark(self) -> np.ndarray | None:
        """The least that each pixel has been, (ny, nx) float64; None before the first frame."""
        images = self._images
        return None if images is None else images[0]

    @property
    def light(self) -> np.ndarray | None:
        """The greatest that each pixel has been, (ny, nx) float64; None before the first frame."""
        images = self._images
        return None if images is None else images[1]

    @property
    def peaks(self) -> pd.DataFrame | None:
        """The peaks on light - dark, a table as `bluesky_ext.peaks.locate` makes it; None before the first frame."""
        images = self._images
        return None if images is None else self._maps.located(*images)

    @property
    def windows(self) -> pd.DataFrame | None:
        """The windows, see `bluesky_ext.peaks.place_windows`; None before the first frame, unless they are known.

        If they are not known, they are those that light - dark gives as far as it is.
        """
        state: MappedRun | None = self.latest
        known = self._maps.known if state is None or state.windows is None else state.windows
        if known is not None:
            return known.copy()
        images = self._images
        return None if images is None else self._maps.found(*images)

    @property
    def dataset(self) -> xr.Dataset:
        """The maps so far, the windows, dark and light, see `bluesky_ext.peaks.window_maps`; at first it is empty."""
        with self._open_runs.lock:
            state: MappedRun | None = self.latest
            return xr.Dataset() if state is None else state.dataset(find=True)

    @property
    def runs(self) -> KeptRuns:
        """The datasets of the runs that were mapped last, by the uid of the scan or its ``scan_id``."""
        return self._kept

    @property
    def _images(self) -> tuple[np.ndarray, np.ndarray] | None:
        with self._open_runs.lock:
            state: MappedRun | None = self.latest
            return None if state is None else state.images

    def replay(self, source: Any) -> xr.Dataset:
        """Map a stored run, which is read twice unless the windows are known; return its dataset.

        Subscribers get the derived run, as they do when the scan is run.

        Parameters
        ----------
        source : Recording, path, run, list or function
            The documents, as `bluesky_ext.as_source` takes them.
        """
        if isinstance(source, Iterator):
            raise TypeError(f"{source!r} can be read only once: give a list, a Recording, a run or a function")
        documents, others = as_source(source), set(self.open_runs)
        self._replayed = documents
        try:
            for name, doc in documents:
                self(name, doc)
            for run in self._open_runs:
                if run.uid not in others:
                    self._open_runs.close(run, "the source ended before the stop document")
        finally:
            self._replayed = None
        return self.dataset

    @classmethod
    def again(cls, record: Mapping[str, Any], materials: Any, **options: Any) -> Self:
        """The stage that a record is of, which reads a run twice if that one did."""
        if record.get("second_pass"):
            options["db"] = materials.stored
        return super().again(record, materials, **options)

    def about(self, state: MappedRun) -> dict[str, Any]:
        """Whether the run can be read a second time."""
        return {"second_pass": self._has_stored}

    def begin(self, start: Mapping[str, Any]) -> MappedRun:
        """No frames yet."""
        return MappedRun(start, ScanPoints(self._scan, start), self._maps, self._data_key)

    def describe_stream(self, run: StageRun, stream: OpenStream) -> None:
        """Learn which readings are those of the motors."""
        if stream.name == self._stream_name:
            run.state.points.describe(stream.descriptor)

    def reduce(self, state: MappedRun, stream: str, event: Mapping[str, Any]) -> None:
        """Take a frame."""
        if stream != self._stream_name:
            return
        if state.retract(event["seq_num"]):
            cure = "dark and light are computed anew from the stored run at the stop" if self._has_stored else STALE
            about = self.name, event["seq_num"], OpenRun(state.start), cure
            self._log.warning("%s: event %d of run %s came again; %s", *about)
        state.add(event)

    def tree(self, state: MappedRun) -> dict[str, Any]:
        """The light and the dark image so far, and, where the windows are known, their ``maps``: an NXdata each."""
        dataset = state.dataset()
        groups = {name: nxdata_of(dataset, name) for name in ("maps", "light", "dark") if name in dataset}
        return entry(state.start, "maps" if "maps" in groups else "light", **groups)

    def finish(self, state: MappedRun, derived: DerivedRun, start: Mapping[str, Any]) -> None:
        """Emit the maps, and save them."""
        try:
            state.look_again((lambda: self._stored(state)) if self._has_stored else None)
        finally:  # what there is, is said
            if state.images is not None:
                dataset = state.emit(derived)
                state.points.report(self._log, self.name)
                self._kept.add(dataset)

    def finish_run(self, run: StageRun, stop: Mapping[str, Any]) -> None:
        """Say what the maps lack, and emit them."""
        state: MappedRun | None = run.state
        about = [run.incomplete, *(() if state is None or self._has_stored else state.lacks())]
        names = {stream.name for stream in run.streams.values() if stream.wanted}
        if names and self._stream_name not in names:
            about.append(f"no stream {self._stream_name!r} came; {self._data_key} is in {sorted(names)}")
        run.incomplete = "; ".join(filter(None, about))
        super().finish_run(run, stop)

    @property
    def _has_stored(self) -> bool:
        return self._replayed is not None or self._db is not None

    def _stored(self, state: MappedRun) -> StoredRun:
        uid = state.start["uid"]
        documents = as_source(stored_in(self._db, uid)) if self._replayed is None else self._replayed
        about = {"name": f"{self.name}, second pass", "data_keys": self.data_keys, "on_error": "log"}
        about |= {"handlers": self.handlers, "root_map": self.root_map}
        return StoredRun(documents, uid, self._stream_name, **{**self._options, **about})
