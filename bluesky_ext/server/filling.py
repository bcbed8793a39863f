"""Documents whose events hold their images, whatever the images were kept in."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from bluesky_ext.engine import FrameNotAvailable, as_image
from bluesky_ext.engine.documents.open_runs import MAX_OPEN_RUNS, PARENT, REFERENCES, OpenRun, OpenRuns
from bluesky_ext.engine.frames.datums import HandlerClass
from bluesky_ext.engine.frames.join import Joiner
from bluesky_ext.engine.frames.references import PATIENCE, FrameReference
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
        *,
        max_open_runs: int = MAX_OPEN_RUNS,
        patience: float = PATIENCE,
    ) -> None:
        self.failures: list[str] = []
        self._joiner = partial(Joiner, None, handlers, root_map, patience)
        self._runs: OpenRuns[_Run] = OpenRuns(self._close, name="a source", log=log, max_open_runs=max_open_runs)
        self._late: list[Pair] = []  # events that only the end of their run made complete

    def __call__(self, name: str, document: dict[str, Any]) -> Iterator[Pair]:
        """Take a document, and yield those that can go on."""
        for pair in self.refer(name, document):
            yield from self.read(*pair)

    def read(self, name: str, document: Mapping[str, Any]) -> Iterator[Pair]:
        """Yield a document with its images instead of references to them; nothing if they can't be read."""
        here = {key: value for key, value in document.get("data", {}).items() if isinstance(value, FrameReference)}
        try:
            images = {key: as_image(reference) for key, reference in here.items()}
        except (OSError, ValueError) as error:
            self.failures.append(" ".join(str(error).split()))
            return
        changes = {"data": {**document["data"], **images}, "filled": dict.fromkeys(images, True)} if images else {}
        yield name, {**document, **changes} if images else cast("dict[str, Any]", document)

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
                        log.warning("run %s, stream %r: the source lacks %d of its events", run.uid, stream, lost)
        return runs

    def refer(self, name: str, document: dict[str, Any]) -> Iterator[Pair]:
        """Take a document, and yield those that can go on, with references instead of images, which `read` reads."""
        with self._runs.lock:
            runs = self.follow(name, document)
            late, self._late = self._late, []
        yield from late
        joins = False
        for run in runs if name != "start" else ():
            if name == "stop":
                yield from self._end(run)
            elif name == "descriptor" or run.joins(name, document):
                joins = name != "descriptor"
                for event in run.joiner(name, document):  # one by one: a document may stand for thousands
                    yield "event", cast("dict[str, Any]", event)
        if not joins:
            yield name, _without_external(document) if name == "descriptor" else document

    def unchanged(self, documents: Iterable[Pair]) -> Iterator[Pair]:
        """Yield the documents of a source as they are."""
        for name, document in documents:
            self.follow(name, document)
            yield name, document

    def references(self, documents: Iterable[Pair]) -> Iterator[Pair]:
        """Yield the documents of a source as `refer` does; FrameNotAvailable at the end if events were left out."""
        for pair in documents:
            yield from self.refer(*pair)
        yield from self.finish()
        if self.failures:
            raise FrameNotAvailable(
                f"{len(self.failures)} events were left out, since their images could not be read; the first: "
                f"{self.failures[0]} (see handlers= and root_map=, or give fill=False)"
            )

    def finish(self) -> list[Pair]:
        """Return the events that only the end of the source makes complete, with references to their images."""
        self._runs.close_all("the source ended before its stop document")
        late, self._late = self._late, []
        return late

    def _close(self, run: _Run, reason: str) -> None:
        self._late += self._end(run)

    def _end(self, run: _Run) -> list[Pair]:
        """Take note of what never was complete; return the events that only the end of the run makes complete."""
        events, missing = run.joiner.finish()
        self.failures += [f"{gap.data_key} of event {gap.seq_num}: {gap.reason}" for gap in missing]
        return [("event", cast("dict[str, Any]", event)) for event in events]


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
    for pair in filling.references(documents):
        yield from filling.read(*pair)


def for_stage(document: dict[str, Any], data_keys: Collection[str]) -> dict[str, Any]:
    """An event with references to the images of these keys, which a stage reads where it works, and no others."""
    others = {key for key, value in document.get("data", {}).items() if isinstance(value, FrameReference)}
    others.difference_update(data_keys)
    if not others:
        return document
    parts = {part: document.get(part, {}) for part in ("data", "timestamps", "filled")}
    return {
        **document,
        **{part: {key: value for key, value in held.items() if key not in others} for part, held in parts.items()},
    }


def _without_external(descriptor: dict[str, Any]) -> dict[str, Any]:
    keys = descriptor["data_keys"]
    if not any("external" in said for said in keys.values()):
        return descriptor
    here = {key: {name: value for name, value in said.items() if name != "external"} for key, said in keys.items()}
    return {**descriptor, "data_keys": here}
