"""Tracks of peaks through the frames of a scan: all at once, or as the frames arrive."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
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
from bluesky_ext.peaks.rows import PARTICLE, PeakRows

#: The state after each of so many frames is kept, and that after the last two: others are found again from these.
EVERY = 32


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
        #: The peaks of all frames so far, with their particles.
        self.rows = PeakRows()
        #: How many peaks competed for those of the next frame at most, so far: of a good search range it is a few.
        self.crowd = 0
        self._states: dict[int, LinkerState] = {}
        self._linker: FrameLinker | None = None

    def add(self, frame_number: int, peaks: pd.DataFrame | Mapping[str, np.ndarray] | npt.ArrayLike) -> np.ndarray:
        """Link a frame, and return the particle of each of its peaks: (n,) int64, in their order.

        Call it for frames without peaks as well, or leave them out: a missing number is such a frame.

        A frame that was added before is replaced, and one that comes late is put in its place. The frames
        after it are linked again, so that the tracks are those of the frames as they are now; particles that
        were returned for them may no longer hold (see `particles`).

        Parameters
        ----------
        frame_number : int
            Number of the frame, such as a seq_num.
        peaks : pandas.DataFrame, dict of (n,) arrays, or (n, ndim) array
            A row a peak. All columns of a table are kept (copied); an array has the positions only.

        Raises
        ------
        trackpy.linking.SubnetOversizeException
            If too many peaks are within `search_range` of each other. The frame is not added, the linker goes on.
        """
        number = operator.index(frame_number)
        columns, coordinates = self._split(peaks)
        particles, later, states = self._linked(number, coordinates)
        # Only now that all could be linked is any of it kept.
        self.rows.put(number, particles, columns, later)
        if later is not None:
            self._states = {one: state for one, state in self._states.items() if one < number}
        self._states |= states
        numbers = self.rows.numbers
        if len(numbers) > 2 and (len(numbers) - 3) % EVERY:
            self._states.pop(int(numbers[-3]), None)
        self.crowd = max(self.crowd, *(state.crowd for state in states.values()), 0)
        return particles.copy()

    def particles(self, frame_number: int) -> np.ndarray:
        """Particle of each peak of a frame that has been added, (n,) int64, as things are now."""
        place, is_known = self.rows.place_of(frame_number)
        if not is_known:
            raise KeyError(frame_number)
        return self.rows.particles[self.rows.rows_at(place)].copy()

    @property
    def frames(self) -> list[int]:
        """Numbers of the frames added so far, in order."""
        return self.rows.numbers.tolist()

    @property
    def tracks(self) -> pd.DataFrame:
        """Table of all peaks so far, ordered by frame, with the frame number and the column `particle`.

        Its columns are those of all tables given. Made when asked for; the time goes with the number of peaks.
        """
        return self.rows.table(self._t_column, self._pos_columns or ("y", "x"))

    def _split(self, peaks: pd.DataFrame | Mapping[str, np.ndarray] | npt.ArrayLike) -> tuple[dict, np.ndarray]:
        """The columns of the peaks, and their positions."""
        if isinstance(peaks, pd.DataFrame | Mapping):
            axes = self._pos_columns or list(guess_pos_columns(peaks))
            columns = {str(name): np.asarray(column) for name, column in peaks.items()}
            columns.pop(self._t_column, None)
            columns.pop(PARTICLE, None)
            lengths = {len(column) for column in columns.values()}
            if len(lengths) > 1:
                raise ValueError(f"the columns {list(columns)} have {sorted(lengths)} peaks: give one value for each")
            length = max(lengths, default=0)
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
            return columns, np.empty((0, len(axes)))
        missing = [name for name in axes if name not in columns]
        if missing:
            raise ValueError(f"the peaks have no column {missing[0]!r}, only {list(columns)}: see pos_columns")
        self._pos_columns = axes
        return columns, np.column_stack([columns[name] for name in axes]).astype(float, copy=False)

    def _linked(
        self, number: int, coordinates: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None, dict[int, LinkerState]]:
        """Particles of a frame, those of all rows after it if there are frames, and the states that are kept."""
        (place, is_known), numbers = self.rows.place_of(number), self.rows.numbers
        has_later = place < len(numbers)
        if self._pos_columns is None:  # no peaks so far
            nothing = np.empty(0, np.int64)
            return nothing, nothing if has_later else None, {}
        if self._linker is None:
            ndim = len(self._pos_columns)
            self._linker = FrameLinker(_search_range(self._search_range, ndim), ndim, **self._keywords)
        first = place
        while first and int(numbers[first - 1]) not in self._states:
            first -= 1
        state = self._states[int(numbers[first - 1])] if first else self._linker.start()
        for at in range(first, place):
            state = self._linker.link(state, self._coordinates(at), int(numbers[at]))
        state = self._linker.link(state, coordinates, number)
        states, particles, later = {number: state}, state.particles[: len(coordinates)], [np.empty(0, np.int64)]
        for at in range(place + is_known, len(numbers)):
            known = self._coordinates(at)
            state = self._linker.link(state, known, int(numbers[at]))
            later.append(state.particles[: len(known)])
            if at % EVERY == 0 or at >= len(numbers) - 2:
                states[int(numbers[at])] = state
        return particles, np.concatenate(later) if has_later else None, states

    def _coordinates(self, place: int) -> np.ndarray:
        """The positions of the peaks of the frame at a place."""
        rows, axes = self.rows.rows_at(place), self._pos_columns or ()
        if rows.start == rows.stop:
            return np.empty((0, len(axes)))
        return np.column_stack([self.rows.column(name)[rows] for name in axes]).astype(float, copy=False)
