"""Peaks linked to tracks while the frames arrive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from event_model import unpack_event_page
from trackpy.linking import SubnetOversizeException

from bluesky_ext.documents import DerivedRun, Reduce, as_source, frames_of
from bluesky_ext.peaks import StreamLinker

#: Rows of one emitted page: enough to be quick in a store, few enough to be light on the way.
PAGE = 10_000


class _Chunk(NamedTuple):
    """Rows of one frame that came together: their seq_nums, and their columns."""

    seq_nums: np.ndarray
    columns: dict[str, list[Any]]


@dataclass
class _Linking:
    """The tracks of a run so far, and the rows of frames that may not be whole yet.

    A frame is whole when the stream of frames has told which rows it has, and these are there, whichever came
    first. Peaks of other makers have no such stream: then the rows of another frame mean that one is whole.
    """

    linker: StreamLinker
    rows: dict[int, list[_Chunk]] = field(default_factory=dict)
    valid: dict[int, range] = field(default_factory=dict)
    linked: set[int] = field(default_factory=set)  # of those in ``rows``

    def add_rows(self, frame: int, chunk: _Chunk) -> None:
        """Take rows of a frame."""
        if frame in self.linked:  # it was whole: these are not the rest of it, they replace it
            self.linked.discard(frame)
            del self.rows[frame]
        self.rows.setdefault(frame, []).append(chunk)
        self._link_if_whole(frame)
        for earlier in self.rows.keys() - self.linked - self.valid.keys() - {frame}:
            self._link(earlier)
            self.linked.add(earlier)

    def confirm(self, frame: int, valid: range) -> None:
        """Learn which rows are those of a frame."""
        self.valid[frame] = valid
        self._link_if_whole(frame)

    def link_the_rest(self) -> list[SubnetOversizeException]:
        """Link what is left, since nothing more will come; what could not be linked, and why."""
        errors = []
        for frame in sorted((self.rows.keys() | self.valid.keys()) - self.linked):
            try:
                self._link(frame)
            except SubnetOversizeException as error:
                errors.append(error)
        return errors

    def _link_if_whole(self, frame: int) -> None:
        valid = self.valid.get(frame)
        if valid is None or sum(_within(chunk, valid).sum() for chunk in self.rows.get(frame, ())) < len(valid):
            return
        try:
            self._link(frame)
        finally:
            self.rows.pop(frame, None)
            self.linked.discard(frame)
            del self.valid[frame]

    def _link(self, frame: int) -> None:
        valid = self.valid.get(frame)
        columns: dict[str, list[Any]] = {}
        for chunk in self.rows.get(frame, ()):
            kept = slice(None) if valid is None else np.flatnonzero(_within(chunk, valid))
            for name, column in chunk.columns.items():
                columns.setdefault(name, []).append(np.asarray(column)[kept])
        table = pd.DataFrame({name: np.concatenate(parts) for name, parts in columns.items()})
        self.linker.add(frame, table)


def _within(chunk: _Chunk, valid: range) -> np.ndarray:
    return (chunk.seq_nums >= valid.start) & (chunk.seq_nums < valid.stop)


def _chunks(page: Mapping[str, Any], column: str) -> Iterator[tuple[int, _Chunk]]:
    """The rows of a page by frame: a store may put several frames on one."""
    frames = np.asarray(page["data"][column])
    seq_nums = np.asarray(page["seq_num"])
    ends = [*(np.flatnonzero(np.diff(frames)) + 1), len(frames)]
    for first, last in pairwise([0, *ends]):
        columns = {name: values[first:last] for name, values in page["data"].items()}
        yield int(frames[first]), _Chunk(seq_nums[first:last], columns)


class TrackLinker(Reduce):
    """Every peak with the number of its track, ``particle``: those that `trackpy.link` gives for the whole run.

    Peaks are linked as their frames arrive, and `tracks` shows them meanwhile. What was linked may still change (a
    frame may come again after a pause), so the rows are emitted at the stop, in the order of their frames, with
    the columns that they had and ``particle``. Tracks are numbered from 0 in the order of their first peaks.

    Parameters
    ----------
    db : Broker, catalog or mapping, optional
        Where ``db[uid]`` is the stored run of peaks: for a run of which only the start and the stop come by, as when
        its events are in a database already. Not asked otherwise.
    search_range : float, or one for each axis
        How far a peak may move from one frame to the next, in pixels.
    stream_name : str
        The stream of the peaks.
    t_column : str
        The column that numbers the frames.
    on_error, stale_after, max_open_runs
        As for `bluesky_ext.documents.Stage`.
    **link_kwargs
        Any keyword of `trackpy.link`: ``memory``, ``adaptive_stop``, ``pos_columns`` and so on.

    Examples
    --------
    >>> from bluesky_ext import TrackLinker
    >>> tl = TrackLinker(search_range=50, memory=3)
    """

    def __init__(
        self,
        *,
        db: Any = None,
        search_range: Any,
        stream_name: str = "primary",
        t_column: str = "frame",
        **link_kwargs: Any,
    ) -> None:
        options = {key: link_kwargs.pop(key) for key in _OPTIONS if key in link_kwargs}
        self._db = db
        self._stream_name = stream_name
        self._t_column = t_column
        self._link = {"search_range": search_range, "t_column": t_column, **link_kwargs}
        StreamLinker(**self._link)  # refuses a bad keyword now, not at the first frame
        super().__init__(parameters={**self._link, "stream_name": stream_name}, **options)

    @property
    def tracks(self) -> pd.DataFrame:
        """The peaks of the run that started last with their tracks so far: a row a peak, in the order of frames."""
        linking: _Linking = self.latest or self.begin({})
        return linking.linker.tracks

    def begin(self, start: Mapping[str, Any]) -> _Linking:
        """No tracks yet."""
        return _Linking(StreamLinker(**self._link))

    def reduce(self, state: _Linking, stream: str, event: Mapping[str, Any]) -> None:
        """Take a row, or learn which rows a frame has."""
        if stream == frames_of(self._stream_name):
            about = event["data"]
            with self._naming_the_range():
                state.confirm(about["frame"], range(about["first_row"], about["first_row"] + about["n_rows"]))
        elif stream == self._stream_name:
            columns = {name: [value] for name, value in event["data"].items()}
            self.reduce_page(state, stream, {"seq_num": [event["seq_num"]], "data": columns})

    def reduce_page(self, state: _Linking, stream: str, page: Mapping[str, Any]) -> bool:
        """Take the rows of a page."""
        if stream != self._stream_name:
            return False
        if self._t_column not in page["data"]:
            raise ValueError(f"the rows have no column {self._t_column!r}, only {[*page['data']]}: give t_column=")
        for frame, chunk in _chunks(page, self._t_column):
            with self._naming_the_range():
                state.add_rows(frame, chunk)
        return True

    def finish(self, state: _Linking, derived: DerivedRun, start: Mapping[str, Any]) -> None:
        """Emit every row with its particle."""
        if self._db is not None and not state.linker.frames and not state.rows:
            self._take_stored(state, start["uid"])
        errors = state.link_the_rest()
        table = state.linker.tracks
        for number, first in enumerate(range(0, len(table), PAGE), start=1):
            page = table.iloc[first : first + PAGE]
            derived.rows(self._stream_name, {name: page[name].to_numpy() for name in page}, number=number)
        if errors:  # when all that could be linked is out
            with self._naming_the_range():
                raise errors[0]

    def _take_stored(self, state: _Linking, uid: str) -> None:
        names: dict[str, str] = {}
        for name, doc in as_source(self._db[uid]):
            if name == "descriptor":
                names[doc["uid"]] = doc.get("name", "primary")
            elif name in ("event", "event_page"):
                for event in [doc] if name == "event" else unpack_event_page(doc):  # pyright: ignore
                    self.reduce(state, names[event["descriptor"]], event)

    @contextmanager
    def _naming_the_range(self) -> Iterator[None]:
        try:
            yield
        except SubnetOversizeException as error:
            raise ValueError(
                f"search_range={self._link['search_range']!r} puts too many peaks within reach of each other "
                f"({error}): give a smaller one, or adaptive_stop"
            ) from error


_OPTIONS = ("on_error", "hash_images", "stale_after", "max_open_runs")
