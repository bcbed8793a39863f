"""Tracks of peaks through the frames of a scan: all at once, or as the frames arrive."""

from __future__ import annotations

import operator
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from trackpy.linking import Linker
from trackpy.utils import guess_pos_columns, pandas_sort

from bluesky_ext._arguments import check_keywords, keywords_of
from bluesky_ext._compile import compile_kernels
from bluesky_ext.peaks.linker import FrameLinker, LinkerState, warm_up_linking

PARTICLE = "particle"
"""The column that names the track of a peak."""


def link(
    f: pd.DataFrame,
    search_range: float | Sequence[float],
    pos_columns: Sequence[str] | None = None,
    t_column: str = "frame",
    **keywords: Any,
) -> pd.DataFrame:
    """Table of peaks with a column `particle`, the number of each peak's track.

    The tracks, the order of the rows and the index are those of `trackpy.link`; the tracks are numbered
    in the order of their first peaks. No peaks at all are no error, and any number of threads may link at once.

    Parameters
    ----------
    f : pandas.DataFrame
        A row a peak.
    search_range : float, or one for each axis
        How far a peak may move from one frame to the next, in the unit of the positions.
    pos_columns : sequence of str, optional
        Columns of the positions; y and x by default, after z if there is one.
    t_column : str
        Column of the frame numbers, made int64. Numbers that are missing are frames without peaks.
    **keywords
        The other keywords of `trackpy.link`: memory, predictor, adaptive_stop, adaptive_step,
        neighbor_strategy, link_strategy, dist_func, to_eucl.

    Raises
    ------
    trackpy.linking.SubnetOversizeException
        If too many peaks are within `search_range` of each other.
    """
    columns = list(guess_pos_columns(f) if pos_columns is None else pos_columns)
    linker = FrameLinker(_search_range(search_range, len(columns)), len(columns), **keywords)
    table = f.copy()
    table[t_column] = table[t_column].astype(np.int64)
    pandas_sort(table, t_column, inplace=True)
    numbers, starts = np.unique(table[t_column].to_numpy(), return_index=True)
    levels = np.split(table[columns].to_numpy(float), starts[1:])
    particles = [np.empty(0, np.int64)]
    state = linker.start()
    for number, level in zip(numbers.tolist(), levels, strict=False):  # of an empty table one empty level is left
        state = linker.link(state, level, number)
        particles.append(state.particles[: len(level)])
    table[PARTICLE] = np.concatenate(particles)
    return table


def _search_range(search_range: Any, ndim: int | None) -> Any:
    """The search range, refused unless it is positive and has one number, or one for each axis."""
    try:
        lengths = np.atleast_1d(np.asarray(search_range, float))
    except (TypeError, ValueError):
        lengths = np.empty(0)
    if lengths.ndim != 1 or not lengths.size or not np.all(lengths > 0):
        raise ValueError(f"search_range={search_range!r} must be a positive number, or one for each axis")
    if ndim is not None and np.ndim(search_range) and len(lengths) != ndim:
        raise ValueError(f"search_range={search_range!r} needs one number, or {ndim}: one for each axis")
    return search_range


@dataclass(frozen=True, slots=True)
class _Frame:
    """The peaks of a frame and what is known after it."""

    columns: dict[str, np.ndarray]
    coordinates: np.ndarray
    state: LinkerState | None = None

    @property
    def particles(self) -> np.ndarray:
        """The tracks of the peaks, (n,) int64."""
        return np.empty(0, np.int64) if self.state is None else self.state.particles[: len(self.coordinates)]


class StreamLinker:
    """Tracks of peaks, frame by frame: after each frame those that `trackpy.link` finds in all frames so far.

    Any number of linkers may work at the same time, in one thread or in several, each in one at a time.

    Parameters
    ----------
    search_range : float, or one for each axis
        How far a peak may move from one frame to the next, in the unit of the positions.
    pos_columns : sequence of str, optional
        Columns of the positions; y and x by default, after z if the first table has one.
    t_column : str
        What the column of the frame numbers is called.
    **keywords
        The other keywords of `trackpy.link`. A predictor must not keep a state of its own, as a frame
        may be linked more than once.

    Raises
    ------
    ValueError, TypeError
        If trackpy would refuse a keyword; here rather than at the first frame.
    """

    def __init__(
        self,
        search_range: float | Sequence[float],
        *,
        pos_columns: Sequence[str] | None = None,
        t_column: str = "frame",
        **keywords: Any,
    ) -> None:
        check_keywords("trackpy.link", keywords, keywords_of(StreamLinker, Linker))
        memory = keywords.get("memory", 0)
        if not isinstance(memory, Integral) or memory < 0:
            raise ValueError(f"memory={memory!r} must be a number of frames, 0 or more")
        for name in ("adaptive_stop", "adaptive_step"):
            if not isinstance(value := keywords.get(name), Real | None):
                raise ValueError(f"{name}={value!r} must be a number")
        ndim = None if pos_columns is None else len(pos_columns)
        self._search_range = _search_range(search_range, ndim)
        self._pos_columns = None if pos_columns is None else list(pos_columns)
        self._t_column = t_column
        self._keywords = keywords
        FrameLinker(search_range, np.size(search_range), **keywords)  # only to hear what trackpy says to it
        compile_kernels(warm_up_linking)
        self._frames: dict[int, _Frame] = {}
        self._numbers: list[int] = []
        self._changed: set[int] = set()
        self._linker: FrameLinker | None = None

    def add(self, frame_number: int, peaks: pd.DataFrame | npt.ArrayLike) -> np.ndarray:
        """Link a frame, and return the particle of each of its peaks: (n,) int64, in their order.

        Call it for frames without peaks as well, or leave them out: a missing number is such a frame.

        A frame that was added before is replaced, and one that comes late is put in its place. The frames
        after it are linked again, so that the tracks are those of the frames as they are now; particles that
        were returned for them may no longer hold (see `particles`).

        Parameters
        ----------
        frame_number : int
            Number of the frame, such as a seq_num.
        peaks : pandas.DataFrame or (n, ndim) array
            A row a peak. All columns of a table are kept (copied); an array has the positions only.

        Raises
        ------
        trackpy.linking.SubnetOversizeException
            If too many peaks are within `search_range` of each other. The frame is not added, the linker goes on.
        """
        number = operator.index(frame_number)
        frame = self._frame(peaks)
        place = bisect_left(self._numbers, number)
        repeated = number in self._frames
        after = self._numbers[place + repeated :]
        linked = self._linked(place, {number: frame} | {later: self._frames[later] for later in after})
        # Only now that all could be linked is any of it kept.
        if not repeated:
            self._numbers.insert(place, number)
        self._frames |= linked
        self._changed |= linked.keys()
        return self.particles(number)

    def take_changed(self) -> Iterator[tuple[int, np.ndarray, dict[str, np.ndarray]]]:
        """Number, particles and columns of the frames that have changed since this was last asked for.

        Nobody may change these arrays: they are those that the linker keeps.
        """
        changed, self._changed = self._changed, set()
        for number in sorted(changed):
            frame = self._frames[number]
            yield number, frame.particles, frame.columns

    def particles(self, frame_number: int) -> np.ndarray:
        """Particle of each peak of a frame that has been added, (n,) int64, as things are now."""
        return self._frames[frame_number].particles.copy()

    @property
    def crowd(self) -> int:
        """How many peaks competed for those of the next frame at most, so far: of a good search range it is a few."""
        return 0 if self._linker is None else self._linker.crowd

    @property
    def frames(self) -> list[int]:
        """Numbers of the frames added so far, in order."""
        return list(self._numbers)

    @property
    def tracks(self) -> pd.DataFrame:
        """Table of all peaks so far, ordered by frame, with the frame number and the column `particle`.

        Its columns are those of all tables given. Made when asked for; the time goes with the number of peaks.
        """
        frames = [self._frames[number] for number in self._numbers]
        lengths = [len(frame.particles) for frame in frames]
        full = [frame for frame, length in zip(frames, lengths, strict=True) if length]
        names = dict.fromkeys(name for frame in frames for name in frame.columns)
        data = {name: _joined(name, full) for name in names or self._pos_columns or ["y", "x"]}
        data[self._t_column] = np.repeat(np.array(self._numbers, np.int64), lengths)
        data[PARTICLE] = np.concatenate([np.empty(0, np.int64), *(frame.particles for frame in full)])
        return pd.DataFrame(data)

    def _frame(self, peaks: pd.DataFrame | npt.ArrayLike) -> _Frame:
        """Copy of the peaks, column by column: tables would be slower to keep and to put together."""
        if isinstance(peaks, pd.DataFrame):
            axes = self._pos_columns or list(guess_pos_columns(peaks))
            # Of a shallow copy, because a table keeps a Series of every column that it was asked for.
            series = peaks.copy(deep=False).items()
            columns = {str(name): column.to_numpy(copy=True) for name, column in series}
            columns.pop(self._t_column, None)
            columns.pop(PARTICLE, None)
            length = len(peaks)
        else:
            axes = self._pos_columns or ["y", "x"]
            positions = np.array(peaks, float)
            if positions.size == 0:
                positions = np.empty((0, len(axes)))
            if positions.ndim != 2 or positions.shape[1] != len(axes):
                raise ValueError(f"peaks of shape {positions.shape} must have a column for each of {axes}")
            columns = dict(zip(axes, positions.T, strict=True))
            length = len(positions)
        if length == 0:
            return _Frame(columns, np.empty((0, len(axes))))
        missing = [name for name in axes if name not in columns]
        if missing:
            raise ValueError(f"the peaks have no column {missing[0]!r}, only {list(columns)}: see pos_columns")
        self._pos_columns = axes
        return _Frame(columns, np.column_stack([columns[name] for name in axes]).astype(float, copy=False))

    def _linked(self, place: int, frames: dict[int, _Frame]) -> dict[int, _Frame]:
        """These frames with their states, given that they follow the first `place` ones."""
        if self._pos_columns is None:  # no peaks so far
            return frames
        if self._linker is None:
            ndim = len(self._pos_columns)
            self._linker = FrameLinker(_search_range(self._search_range, ndim), ndim, **self._keywords)
        state = self._frames[self._numbers[place - 1]].state if place else None
        if state is None:
            state = self._linker.start()
        linked = {}
        for number, frame in frames.items():
            state = self._linker.link(state, frame.coordinates, number)
            linked[number] = _Frame(frame.columns, frame.coordinates, state)
        return linked


def _joined(name: str, frames: list[_Frame]) -> np.ndarray:
    """A column of all frames, NaN where a frame has none."""
    parts = [
        frame.columns[name] if name in frame.columns else np.full(len(frame.particles), np.nan) for frame in frames
    ]
    return np.concatenate(parts) if parts else np.empty(0)
