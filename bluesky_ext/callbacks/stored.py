"""The events of a run that is stored, for a stage that needs them a second time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from bluesky_ext.engine import Reduce

Take = Callable[[Mapping[str, Any]], None]


class _Events(Reduce):
    """The events of one stream of one run, one after another, to a function."""

    def __init__(self, uid: str, stream_name: str, take: Take, **stage: Any) -> None:
        super().__init__(parameters={}, **stage)
        self._uid, self._stream_name, self._take_event = uid, stream_name, take

    def begin(self, start: Mapping[str, Any]) -> bool:
        """Whether it is the run."""
        return start["uid"] == self._uid

    def reduce(self, state: bool, stream: str, event: Mapping[str, Any]) -> None:
        """Hand an event on."""
        if state and stream == self._stream_name:
            self._take_event(event)


class StoredRun:
    """A stored run, which may be read several times.

    Parameters
    ----------
    documents : iterable of (name, document)
        The run, and perhaps others.
    uid : str
        Which one it is.
    stream_name : str
        The stream whose events are wanted.
    **stage
        ``name``, ``data_keys``, ``handlers`` and so on, as for `bluesky_ext.engine.Stage`.
    """

    def __init__(
        self, documents: Iterable[tuple[str, Mapping[str, Any]]], uid: str, stream_name: str, **stage: Any
    ) -> None:
        self._documents, self._uid, self._stream_name, self._stage = documents, uid, stream_name, stage

    def read(self, take: Take) -> None:
        """Hand every event to a function, frames joined to it; what that fails on is in the log."""
        events = _Events(self._uid, self._stream_name, take, **self._stage)
        for name, doc in self._documents:
            if name == "stop" and doc["run_start"] == self._uid:
                return  # what is lost was told when the run came by
            events(name, doc)

    def read_last(self, take: Take) -> None:
        """Hand the last event of each seq_num to a function, and no event that was said again later."""
        to_come: Counter[int] = Counter()

        def count(event: Mapping[str, Any]) -> None:
            to_come[event["seq_num"]] += 1

        def count_down(event: Mapping[str, Any]) -> None:
            to_come[event["seq_num"]] -= 1
            if not to_come[event["seq_num"]]:
                take(event)

        self.read(count)
        self.read(count_down)


def stored_in(db: Any, uid: str) -> Any:
    """The run with this uid of a database; a one-line error if it has none."""
    try:
        return db[uid]
    except (LookupError, ValueError) as error:
        raise LookupError(f"db has no run {uid} ({error}): subscribe what stores it before this stage") from error


def check_whole(came: list[int], stored: Collection[int]) -> None:
    """Refuse a stored run that lacks frames which came by."""
    missing = sorted(set(came).difference(stored))
    if missing:
        raise LookupError(
            f"the stored run lacks {len(missing)} of {len(came)} frames, event {missing[0]} is the first: "
            "subscribe what stores it before this stage"
        )
