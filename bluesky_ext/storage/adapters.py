"""Sources and sinks of documents from whatever holds them, catalogues of Tiled too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bluesky_ext import engine as plumbing
from bluesky_ext.engine.recording.adapters import Pair, Sink
from bluesky_ext.storage.catalog import is_container
from bluesky_ext.storage.saver import save
from bluesky_ext.storage.stored import documents, is_run

__all__ = ["as_sink", "as_source"]


def as_sink(sink: object) -> Sink:
    """Return a function of (name, document) from what can take documents.

    As `bluesky_ext.engine.as_sink` does it from a Broker, a directory of recordings, a list, or a function; and from
    the client of a Tiled container by `save`, which loses nothing.
    """
    if is_container(sink) and not is_run(sink) and not hasattr(sink, "insert"):
        return save(sink)
    return plumbing.as_sink(sink)


def as_source(source: object) -> Iterable[Pair]:
    """Return an iterable of (name, document) from what can give documents.

    As `bluesky_ext.engine.as_source` does it from a recording, a run of databroker, a function, or an iterable; and
    from the run of a Tiled catalogue by `bluesky_ext.storage.documents`, with its images as they were saved.
    """
    return _Run(source) if is_run(source) else plumbing.as_source(source)


class _Run:
    def __init__(self, run: object) -> None:
        self._run = run

    def __iter__(self) -> Iterator[Pair]:
        return documents(self._run)
