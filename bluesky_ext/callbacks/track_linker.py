"""Peaks linked to tracks while the frames arrive."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import Any

import numpy as np
import pandas as pd
from event_model import unpack_event_page
from trackpy.linking import Linker

from bluesky_ext._arguments import check_keywords, keywords_of, split_keywords
from bluesky_ext.callbacks.linking import Linking, TrackReduce
from bluesky_ext.callbacks.stored import stored_in
from bluesky_ext.callbacks.tree import entry, nxdata_of_peaks
from bluesky_ext.engine import DerivedRun, Reduce, Stage, frames_of
from bluesky_ext.engine.codec.documents import dumps, loads
from bluesky_ext.engine.documents.open_runs import OpenStream
from bluesky_ext.engine.stages.run import StageRun
from bluesky_ext.peaks import StreamLinker
from bluesky_ext.storage import as_source

#: Rows of one emitted page: enough to be quick in a store, few enough to be light on the way.
PAGE = 10_000


class TrackLinker(TrackReduce):
    """Every peak with the number of its track, ``particle``: those that `trackpy.link` gives for the whole run.

    Peaks are linked as their frames arrive, and `tracks` shows them meanwhile. What was linked may still change (a
    frame may come again after a pause), so the rows are emitted at the stop, in the order of their frames, with
    the columns that they had and ``particle``, and before them the events of their frames, with where the motors were.
    Tracks are numbered from 0 in the order of their first peaks.

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
    **link_kwargs
        Any keyword of `trackpy.link` (``memory``, ``adaptive_stop``, ``pos_columns`` and so on), and of
        `bluesky_ext.engine.Reduce` (``on_error`` and so on).

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
        check_keywords("TrackLinker", link_kwargs, keywords_of(TrackLinker, Reduce, Stage, StreamLinker, Linker))
        options, link_kwargs = split_keywords(link_kwargs, Reduce, Stage)
        self._db = db
        link = {"search_range": search_range, "t_column": t_column, **link_kwargs}
        StreamLinker(**link)  # refuses a bad keyword now, not at the first frame
        super().__init__(link, stream_name=stream_name, parameters={**link, "stream_name": stream_name}, **options)

    def tree(self, state: Linking) -> dict[str, Any]:
        """The tracks so far, an NXdata ``tracks`` with a row a peak: y over x, and beside them what else is known."""
        return entry(state.start, "tracks", tracks=nxdata_of_peaks(state.linker.tracks))

    def finish(self, state: Linking, derived: DerivedRun, start: Mapping[str, Any]) -> None:
        """Emit every row with its particle."""
        errors = state.link_the_rest()
        table = state.linker.tracks
        self._emit_frames(state, derived, table)
        for number, first in enumerate(range(0, len(table), PAGE), start=1):
            page = table.iloc[first : first + PAGE]
            derived.rows(self._stream_name, {name: page[name].to_numpy() for name in page}, number=number)
        if errors:  # when all that could be linked is out
            with self.naming_the_range():
                raise errors[0]

    def _emit_frames(self, state: Linking, derived: DerivedRun, table: pd.DataFrame) -> None:
        frames = table[self._t_column].to_numpy()
        for number, (packed, descriptor) in sorted(state.frames.items(), key=itemgetter(0)):
            event = loads(packed)
            first, stop = (int(np.searchsorted(frames, number, side)) for side in ("left", "right"))
            about = {"frame": number, "first_row": first + 1, "n_rows": stop - first}
            hidden = ("frame_uid", "first_row")
            stream = frames_of(self._stream_name)
            derived.event(stream, event["seq_num"], about, event=event, descriptor=descriptor, unhashed=hidden)

    def take(self, stream: OpenStream, event: Mapping[str, Any]) -> None:
        """Fold an event into the state; that of a frame is handed on at the stop."""
        super().take(stream, event)
        if stream.name == frames_of(self._stream_name):
            stream.run.state.frames[event["data"]["frame"]] = dumps(event), stream.descriptor

    def finish_run(self, run: StageRun, stop: Mapping[str, Any]) -> None:
        """Take the rows from the store if none came by, and emit them."""
        state: Linking = run.state
        if self._db is not None and not len(state.linker.rows.numbers) and not state.rows:
            self._take_stored(run)
        super().finish_run(run, stop)

    def _take_stored(self, run: StageRun) -> None:
        streams: dict[str, OpenStream] = {}
        for name, doc in as_source(stored_in(self._db, run.uid)):
            if name == "descriptor":
                stream = doc.get("name", "primary")
                streams[doc["uid"]] = OpenStream(run, stream, doc, run.received[stream])
            elif name in ("event", "event_page"):
                for event in [doc] if name == "event" else unpack_event_page(doc):  # pyright: ignore
                    stream = streams[event["descriptor"]]
                    stream.received.note(event["seq_num"])
                    self.take(stream, event)
