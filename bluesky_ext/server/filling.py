"""Documents whose events hold their images, whatever the images were kept in."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from bluesky_ext.engine import FrameNotAvailable, as_image
from bluesky_ext.engine.documents.open_runs import PARENT, REFERENCES, OpenRun, OpenRuns
from bluesky_ext.engine.documents.printable import printable
from bluesky_ext.engine.frames.datums import HandlerClass
from bluesky_ext.engine.frames.join import Joiner
from bluesky_ext.engine.frames.references import FrameReference
from bluesky_ext.storage.adapters import Pair

log = logging.getLogger(__name__)


class Filling:
    """Puts images into the events that refer to them, whatever they were kept in.

    Called with a document, it yields those that can go on, without any that say where images lay. Runs may be
    interleaved. An event comes when its images can be read, which may be after events that were behind it; its
    documents are not changed. One of which an image never came or can't be read is left out, and is in ``failures``.
    A run that has fewer events than its stop document says is warned of.
    """

    def __init__(
        self,
        handlers: Mapping[str, HandlerClass] | None = None,
        root_map: Mapping[str, str] | None = None,
    ) -> None:
        self.failures: list[str] = []
        self._joiner = partial(Joiner, None, handlers, root_map)
        self._runs: OpenRuns[_Run] = OpenRuns(self._end, name="a source", log=log)
        self._late: list[Any] = []  # events that only the end of their run made complete

    def __call__(self, name: str, document: dict[str, Any]) -> Iterator[Pair]:
        """Take a document, and yield those that can go on."""
        joins = False
        for run in self.follow(name, document):
            if name == "stop":
                self._end(run)
            elif name == "descriptor" or run.joins(name, document):
                joins = name != "descriptor"
                yield from self._read(run.joiner(name, document))  # one by one: a document may stand for thousands
        yield from self._read(self._taken())
        if not joins:
            yield name, _without_external(document) if name == "descriptor" else document

    def follow(self, name: str, document: Mapping[str, Any]) -> Collection[_Run]:
        """Take note of a document that goes on as it is; return the runs that it is of."""
        with self._runs.lock:
            uid = document["uid"] if name == "start" else document.get("run_start")
            if name == "start" or (name in ("descriptor", "stop") and uid is not None and self._runs.get(uid) is None):
                self._runs.open(_Run({"uid": uid}, self._joiner()))  # its start may lack
            runs = self._runs.follow(name, document) if name in PARENT else ()
            for run in runs:
                if name in ("event", "event_page"):
                    seq_nums = list(document["seq_num"]) if name == "event_page" else [document["seq_num"]]
                    self._runs.note_all(self._runs.streams[document["descriptor"]], seq_nums)
                elif name == "stop":
                    self._runs.drop(run)
                    for stream, lost in run.lost(document).counts.items():
                        log.warning("run %s, stream %r: the source lacks %d of its events", run, stream, lost)
        return runs

    def finish(self) -> Iterator[Pair]:
        """Yield the events that only the end of the source makes complete."""
        self._runs.close_all("the source ended before its stop document")
        return self._read(self._taken())

    def _read(self, events: Iterable[Any]) -> Iterator[Pair]:
        """Yield events with their images instead of references to them; those that can't be read are left out."""
        for event in events:
            here = {key: value for key, value in event["data"].items() if isinstance(value, FrameReference)}
            try:
                images = {key: as_image(reference) for key, reference in here.items()}
            except (OSError, ValueError) as error:
                self.failures.append(printable(" ".join(str(error).split())))
                continue
            filled = {"data": {**event["data"], **images}, "filled": dict.fromkeys(images, True)} if images else {}
            yield "event", {**event, **filled}

    def _end(self, run: _Run, reason: str = "") -> None:
        """Take note of what never was complete, and of the events that only the end of the run makes complete."""
        events, missing = run.joiner.finish()
        self.failures += [printable(f"{gap.data_key} of {gap.events}: {gap.reason}") for gap in missing]
        with self._runs.lock:
            self._late += events

    def _taken(self) -> list[Any]:
        with self._runs.lock:
            late, self._late = self._late, []
        return late


@dataclass(eq=False)
class _Run(OpenRun):
    joiner: Joiner

    def joins(self, name: str, document: Mapping[str, Any]) -> bool:
        """Whether a document goes on in events only."""
        return name in REFERENCES or (name.startswith("event") and self.joiner.needs(document["descriptor"]))


def filled(
    documents: Iterable[Pair],
    handlers: Mapping[str, HandlerClass] | None = None,
    root_map: Mapping[str, str] | None = None,
) -> Iterator[Pair]:
    """Yield the documents of a source with every image in its event, an array, as `Filling` does it.

    ``handlers`` and ``root_map`` are as for `event_model.Filler`; handlers that are installed are known. If events had
    to be left out, FrameNotAvailable is raised when all documents are through.
    """
    filling = Filling(handlers, root_map)
    for pair in documents:
        yield from filling(*pair)
    yield from filling.finish()
    if filling.failures:
        raise FrameNotAvailable(
            f"{len(filling.failures)} events were left out, since their images could not be read; the first: "
            f"{filling.failures[0]} (see handlers= and root_map=, or give fill=False)"
        )


def _without_external(descriptor: dict[str, Any]) -> dict[str, Any]:
    keys = descriptor["data_keys"]
    if not any("external" in said for said in keys.values()):
        return descriptor
    here = {key: {name: value for name, value in said.items() if name != "external"} for key, said in keys.items()}
    return {**descriptor, "data_keys": here}
