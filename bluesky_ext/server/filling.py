"""Documents whose events hold their images, whatever the images were kept in."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from bluesky_ext.engine import FrameNotAvailable, as_image
from bluesky_ext.engine.documents.open_runs import MAX_OPEN_RUNS, PARENT, REFERENCES, OpenRun, OpenRuns
from bluesky_ext.engine.frames.datums import HandlerClass
from bluesky_ext.engine.frames.join import Joiner
from bluesky_ext.engine.frames.references import PATIENCE, FrameReference
from bluesky_ext.storage.adapters import Pair

log = logging.getLogger(__name__)


def filled(
    documents: Iterable[Pair],
    handlers: Mapping[str, HandlerClass] | None = None,
    root_map: Mapping[str, str] | None = None,
) -> Iterator[Pair]:
    """Yield ``(name, document)`` with every image in its event, an array, and no document that says where it lay.

    Runs may be interleaved. An event comes when its images can be read, which may be after events that were behind
    it. Documents without a start are handed on as they are. The source's documents are not changed.

    Parameters
    ----------
    documents : iterable of (name, document)
        A source, see `bluesky_ext.as_source`.
    handlers, root_map : dict, optional
        For images behind ``resource`` and ``datum``, as for `event_model.Filler`. Handlers that are installed are
        known.

    Raises
    ------
    FrameNotAvailable
        When all documents are through, if events had to be left out because an image of theirs could not be read.
    """
    filling = Filling(handlers, root_map)
    for pair in joined(documents, filling):
        yield from filling.read(*pair)


def joined(documents: Iterable[Pair], filling: Filling) -> Iterator[Pair]:
    """Yield what `filled` does, with references instead of images: ``filling.read`` reads them. It raises the same."""
    for pair in documents:
        yield from filling.join(*pair)
    yield from filling.rest()
    if filling.failures:
        raise FrameNotAvailable(
            f"{len(filling.failures)} events were left out, since their images could not be read; the first: "
            f"{filling.failures[0]} (see handlers= and root_map=, or give fill=False)"
        )


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


class Filling:
    """What `filled` does, document by document: called with one, it yields those that can go on.

    Parameters
    ----------
    handlers, root_map : dict, optional
        See `filled`.
    patience : float
        How long to wait for the file of an image that is not there or does not grow, in s.
    max_open_runs : int
        When more runs than this are open, the one that was heard of least recently is given up.

    Attributes
    ----------
    failures : list of str
        Which events were left out, and why.
    """

    def __init__(
        self,
        handlers: Mapping[str, HandlerClass] | None = None,
        root_map: Mapping[str, str] | None = None,
        max_open_runs: int = MAX_OPEN_RUNS,
        patience: float = PATIENCE,
    ) -> None:
        self.failures: list[str] = []
        self._handlers = handlers
        self._root_map = root_map
        self._patience = patience
        self._runs: OpenRuns[_Run] = OpenRuns(
            self._close, name="what fills events with their images", log=log, max_open_runs=max_open_runs
        )
        self._rest: list[Pair] = []

    def __call__(self, name: str, document: dict[str, Any]) -> Iterator[Pair]:
        """Take a document, and yield those that can go on."""
        for pair in self.join(name, document):
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

    def join(self, name: str, document: dict[str, Any]) -> Iterator[Pair]:
        """Take a document, and yield those that can go on, with references to their images."""
        with self._runs.lock:
            if name == "start":
                if (same := self._runs.get(document["uid"])) is not None:
                    self._runs.close(same, "it was started again")
                joiner = Joiner(None, self._handlers, self._root_map, self._patience)
                self._runs.open(_Run(document, joiner, self.failures))
            runs = self._runs.follow(name, document) if name in PARENT else ()
            if name == "stop":
                for run in runs:
                    self._runs.drop(run)
            rest, self._rest = self._rest, []
        yield from rest
        if not runs or name == "start":
            yield name, document
            return
        for run in runs:
            yield from run.take(name, document)

    def finish(self) -> list[Pair]:
        """Take note of the events whose images never came; return those that only the end makes complete."""
        return [filled for pair in self.rest() for filled in self.read(*pair)]

    def rest(self) -> list[Pair]:
        """Return what `finish` does, with references to their images."""
        self._runs.close_all("the source ended before its stop document")
        rest, self._rest = self._rest, []
        return rest

    def _close(self, run: _Run, reason: str) -> None:
        self._rest += run.finish()


@dataclass(eq=False)
class _Run(OpenRun):
    """An open run: its joiner, and what could not be read."""

    joiner: Joiner
    failures: list[str]

    def take(self, name: str, document: dict[str, Any]) -> Iterator[Pair]:
        if name == "descriptor":
            self.joiner(name, document)
            yield name, _without_external(document)
        elif name in REFERENCES or (name.startswith("event") and self.joiner.needs(document["descriptor"])):
            for event in self.joiner(name, document):
                yield "event", cast("dict[str, Any]", event)
        else:
            if name == "stop":
                yield from self.finish()
            yield name, document

    def finish(self) -> list[Pair]:
        """Take note of the events whose images never came; return those that only the end makes complete."""
        events, missing = self.joiner.finish()
        self.failures += [f"{gap.data_key} of event {gap.seq_num}: {gap.reason}" for gap in missing]
        return [("event", cast("dict[str, Any]", event)) for event in events]


def _without_external(descriptor: dict[str, Any]) -> dict[str, Any]:
    keys = descriptor["data_keys"]
    if not any("external" in said for said in keys.values()):
        return descriptor
    here = {key: {name: value for name, value in said.items() if name != "external"} for key, said in keys.items()}
    return {**descriptor, "data_keys": here}
