"""Rows of peaks gathered to whole frames, whose tracks are kept as the frames arrive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from trackpy.linking import SubnetOversizeException

from bluesky_ext.engine import Reduce, frames_of
from bluesky_ext.engine.documents.printable import printable
from bluesky_ext.peaks import PeakRows, StreamLinker, warm_up_linking
from bluesky_ext.peaks.table import UNITS

#: Where more peaks than this compete for those of the next frame, they are easily mixed up, and the log says so.
CROWD = 10


class Tracks(Protocol):
    """What keeps the peaks of each frame with the tracks that they are in."""

    @property
    def crowd(self) -> int:
        """How many peaks competed for those of the next frame at most, so far."""
        ...

    @property
    def rows(self) -> PeakRows:
        """All of them."""
        ...

    def add(self, frame_number: int, peaks: Mapping[str, np.ndarray]) -> Any:
        """Take a frame, for the first time or again."""

    @property
    def tracks(self) -> pd.DataFrame:
        """A row a peak, in the order of frames."""
        ...


class _Chunk(NamedTuple):
    """Rows of one frame that came together: their seq_nums, and their columns."""

    seq_nums: np.ndarray
    columns: dict[str, np.ndarray]


@dataclass
class Linking:
    """The tracks of a run so far, and the rows of frames that may not be whole yet.

    A frame is whole when the stream of frames has told which rows it has, and these are there, whichever came
    first. Peaks of other makers have no such stream: then the rows of another frame mean that one is whole.
    ``frames`` are the events of that stream with their descriptors, where they are to be handed on: as bytes, which are
    a fifth of the memory.
    """

    linker: Tracks
    start: Mapping[str, Any] = field(default_factory=dict)
    rows: dict[int, list[_Chunk]] = field(default_factory=dict)
    valid: dict[int, range] = field(default_factory=dict)
    linked: set[int] = field(default_factory=set)  # of those in ``rows``
    frames: dict[int, tuple[bytes, Mapping[str, Any]]] = field(default_factory=dict)
    is_crowded: bool = False  # which was said

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
        parts: dict[str, list[np.ndarray]] = {}
        seq_nums: list[np.ndarray] = []
        for chunk in self.rows.get(frame, ()):
            kept = slice(None) if valid is None else np.flatnonzero(_within(chunk, valid))
            seq_nums.append(chunk.seq_nums[kept])
            for name, column in chunk.columns.items():
                parts.setdefault(name, []).append(column[kept])
        peaks = {name: np.concatenate(some) for name, some in parts.items()}
        if len(seq_nums) > 1:  # a store that sorts by time gives the rows of a frame in any order
            order = np.argsort(np.concatenate(seq_nums), kind="stable")
            peaks = {name: column[order] for name, column in peaks.items()}
        self.linker.add(frame, peaks)


def _within(chunk: _Chunk, valid: range) -> np.ndarray:
    return (chunk.seq_nums >= valid.start) & (chunk.seq_nums < valid.stop)


def _chunks(page: Mapping[str, Any], column: str) -> Iterator[tuple[int, _Chunk]]:
    """The rows of a page by frame: a store may put several frames on one."""
    frames = np.asarray(page["data"][column])
    seq_nums = np.asarray(page["seq_num"])
    ends = [*(np.flatnonzero(np.diff(frames)) + 1), len(frames)]
    columns = {name: np.asarray(values) for name, values in page["data"].items()}
    for first, last in pairwise([0, *ends]):
        its_own = {name: values[first:last] for name, values in columns.items()}
        yield int(frames[first]), _Chunk(seq_nums[first:last], its_own)


class TrackReduce(Reduce):
    """The base of reduces that work on tracks: it links the rows of peaks as they come.

    Parameters
    ----------
    link : dict
        The keywords of `bluesky_ext.peaks.StreamLinker`.
    stream_name : str
        The stream of the peaks.
    **stage
        As for `bluesky_ext.engine.Reduce`.
    """

    kernels = (warm_up_linking,)
    libraries = ("numpy", "numba", "pandas", "scipy", "trackpy")
    units = UNITS

    def __init__(self, link: Mapping[str, Any], *, stream_name: str, **stage: Any) -> None:
        self._link = dict(link)
        self._stream_name = stream_name
        self._t_column: str = self._link["t_column"]
        super().__init__(**stage)

    @property
    def tracks(self) -> pd.DataFrame:
        """The peaks of the run that started last with their tracks so far: a row a peak, in the order of frames."""
        with self._open_runs.lock:
            linking: Linking = self.latest or self.begin({})
            return linking.linker.tracks

    def peaks_of(self, seq_num: int, uid: str | None = None) -> dict[str, np.ndarray] | None:
        """The peaks of an event by column, with their tracks in ``particle``; None if they are not linked (yet).

        Of the run that started last, or of an open or latest one by its uid or the uid of the scan.
        """
        with self._open_runs.lock:
            state: Linking | None = self.latest if uid is None else self._run(uid).state
            return None if state is None else state.linker.rows.of(seq_num)

    def begin(self, start: Mapping[str, Any]) -> Linking:
        """No tracks yet."""
        return Linking(StreamLinker(**self._link), start)

    def reduce(self, state: Linking, stream: str, event: Mapping[str, Any]) -> None:
        """Take a row, or learn which rows a frame has."""
        if stream == frames_of(self._stream_name):
            about = event["data"]
            with self.naming_the_range():
                state.confirm(about["frame"], range(about["first_row"], about["first_row"] + about["n_rows"]))
            self._say_if_crowded(state, about["frame"])
        elif stream == self._stream_name:
            columns = {name: [value] for name, value in event["data"].items()}
            self.reduce_page(state, stream, {"seq_num": [event["seq_num"]], "data": columns})

    def reduce_page(self, state: Linking, stream: str, page: Mapping[str, Any]) -> bool:
        """Take the rows of a page."""
        if stream != self._stream_name:
            return False
        if self._t_column not in page["data"]:
            raise ValueError(f"the rows have no column {self._t_column!r}, only {[*page['data']]}: give t_column=")
        for frame, chunk in _chunks(page, self._t_column):
            with self.naming_the_range():
                state.add_rows(frame, chunk)
            self._say_if_crowded(state, frame)
        return True

    def _say_if_crowded(self, state: Linking, frame: int) -> None:
        if state.linker.crowd <= CROWD or state.is_crowded:
            return
        state.is_crowded = True
        self._log.warning(
            "%s: run %s: %d peaks before frame %d are within search_range=%r of the same ones in it, and may be mixed "
            "up: give a smaller one, or a larger separation to the PeakTracker (see bluesky-ext tune)",
            *(self.name, printable(state.start.get("original_run_uid", state.start.get("uid", "")))),
            *(state.linker.crowd, frame, self._link["search_range"]),
        )

    @contextmanager
    def naming_the_range(self) -> Iterator[None]:
        """Say of too many peaks which keyword is to blame."""
        try:
            yield
        except SubnetOversizeException as error:
            raise ValueError(
                f"search_range={self._link['search_range']!r} puts too many peaks within reach of each other "
                f"({error}): give a smaller one, or adaptive_stop"
            ) from error
