"""Live runs, for alignment: the latest frame is what counts, nothing is kept, and detectors can be switched off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: Of so many detectors there are switches; a document from a network may name as many as it likes.
MOST = 100


def is_live(start: Mapping[str, Any]) -> bool:
    """Whether a run is live, by its start document: of its frames some may be skipped, and no file is made of it."""
    return start.get("purpose") == "live"


class LiveStreams:
    """The streams of live runs, each of a detector, and which of them are on.

    There is one for each process, `live_streams`: the plan asks it before it triggers a detector, and every stage
    before it works on a frame. Any thread may use it.
    """

    def __init__(self) -> None:
        self._is_on: dict[str, bool] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._is_on))

    def add(self, stream: str) -> None:
        """Take note of a stream; it is on, unless it was switched off before."""
        if len(self._is_on) < MOST:
            self._is_on.setdefault(stream, True)

    def is_on(self, stream: str) -> bool:
        """Whether the frames of a stream are looked at."""
        return self._is_on.get(stream, True)

    def switch(self, stream: str, is_on: bool) -> None:
        """Switch a stream on or off; LookupError if it was in no live run."""
        if stream not in self._is_on:
            raise LookupError(f"{stream!r:.100} was in no live run: there are {', '.join(self._is_on) or 'none'}")
        self._is_on[stream] = is_on


live_streams = LiveStreams()
