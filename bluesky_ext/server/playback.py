"""Stored runs played again."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

from tqdm import tqdm

from bluesky_ext.engine import Stage
from bluesky_ext.engine.frames.datums import HandlerClass
from bluesky_ext.server.filling import Filling, filled
from bluesky_ext.storage import as_sink, as_source
from bluesky_ext.storage.adapters import Pair
from bluesky_ext.storage.stored import is_run


def replay(
    source: Any,
    *callbacks: Any,
    fill: bool = True,
    speed: float | None = None,
    progress: bool | str = True,
    handlers: Mapping[str, HandlerClass] | None = None,
    root_map: Mapping[str, str] | None = None,
) -> list[str]:
    """Hand the documents of stored runs to callbacks, in their order; return the uids of the runs.

    A callback that is at work holds the replay up: nothing is queued, nothing is lost. What a callback raises ends the
    replay, as it would end a scan; stages log what goes wrong, and go on, unless they were told to raise it. A run of
    which the source has fewer events than its stop document says is warned of.

    Parameters
    ----------
    source : run, header, path or iterable
        A run of databroker or Tiled, a recording or a directory of recordings, or ``(name, document)`` pairs; see
        `bluesky_ext.storage.as_source`.
    *callbacks : stage, callable, Broker, catalog, directory or list
        Who gets the documents; see `bluesky_ext.storage.as_sink`.
    fill : bool
        Whether images that are kept in files are read and put in their events. A stage is given the documents as they
        are in any case, also one that is in the `background`, and reads images where it works; stores should be given
        them too (False).
    speed : float, optional
        1.0 keeps the original rhythm, 10.0 is ten times as fast; as fast as the callbacks take it unless given.
    progress : bool or str
        Whether a bar shows documents, events and the time left, where there is a terminal; a str is its title.
    handlers, root_map : dict, optional
        For images behind ``resource`` and ``datum``, as for `event_model.Filler`; stages know them from then on. Those
        that a Broker has registered are known, and those that are installed.

    Raises
    ------
    FrameNotAvailable
        At the end, if events were left out because their images could not be read, or never came. What a stage could
        not read has failed there.

    Examples
    --------
    >>> from bluesky import RunEngine
    >>> from bluesky.plans import count
    >>> from ophyd.sim import det
    >>> from bluesky_ext import replay
    >>> docs = []
    >>> uids = RunEngine()(count([det], 3), lambda name, doc: docs.append((name, doc)))
    >>> names = []
    >>> replay(docs, lambda name, doc: names.append(name)) == list(uids)
    True
    >>> names
    ['start', 'descriptor', 'event', 'event', 'event', 'stop']
    """
    if speed is not None and not (isinstance(speed, int | float) and speed > 0 and math.isfinite(speed)):
        raise ValueError(f"speed={speed!r}: give a number above 0 (1.0 is the original rhythm), or None")
    documents = as_source(source)
    registered, handlers, root_map = _registered(source), handlers or {}, root_map or {}
    uids: list[str] = []
    stages, others = [], []
    with ExitStack() as stack:
        for callback in callbacks:
            sink, stage = as_sink(callback), inspect.unwrap(callback)  # `background` wraps its callback
            if isinstance(stage, Stage):
                stage.handlers = {**registered, **(stage.handlers or {}), **handlers}
                stage.root_map = {**(stage.root_map or {}), **root_map}
            (stages if isinstance(stage, Stage) else others).append(sink)
            if callable(close := getattr(sink, "close", None)):  # made here, for a directory or a catalogue
                stack.callback(close)
        bar = stack.enter_context(
            tqdm(
                total=expected_events(source),
                unit="event",
                unit_scale=True,
                desc=progress if isinstance(progress, str) else "replay",
                disable=None if progress else True,  # None: a bar only where there is a terminal
            )
        )

        def played() -> Iterator[Pair]:
            for number, (name, document) in enumerate(documents if speed is None else paced(documents, speed), 1):
                for sink in stages:
                    sink(name, document)
                yield name, document
                if name == "start":
                    uids.append(document["uid"])
                if not bar.disable:
                    bar.set_postfix(documents=number, refresh=False)
                    bar.update(1 if name == "event" else len(document["seq_num"]) if name == "event_page" else 0)

        for pair in filled(played(), {**registered, **handlers}, root_map) if fill and others else _followed(played()):
            for sink in others:
                sink(*pair)
    return uids


def paced(documents: Iterable[Pair], speed: float, sleep: Callable[[float], object] = time.sleep) -> Iterator[Pair]:
    """Yield each document when it is due, so that a run takes as long as it did, divided by the speed.

    Time between runs is not waited for. A clock that was set back in the middle of a run costs no time.
    """
    open_runs, began, first = 0, 0.0, None
    for name, document in documents:
        when = document.get("time")
        if isinstance(when, list):  # of a page: it was whole when its last row was
            when = max(when, default=None)
        open_runs += (name == "start") - (name == "stop")
        if when is not None and (first is None or (name == "start" and open_runs == 1)):
            began, first = time.monotonic(), when
        elif when is not None and (left := began + (when - first) / speed - time.monotonic()) > 0:
            sleep(left)
        yield name, document


def _followed(documents: Iterable[Pair]) -> Iterator[Pair]:
    """Yield the documents as they are; a run that lacks events is warned of."""
    filling = Filling()
    for pair in documents:
        filling.follow(*pair)
        yield pair


def expected_events(source: Any) -> int | None:
    """How many events a run will give, as its stop document says; None if nobody knows."""
    metadata = getattr(source, "metadata", None)
    stop = getattr(source, "stop", None) or (metadata.get("stop") if isinstance(metadata, Mapping) else None)
    counts = stop.get("num_events") if isinstance(stop, Mapping) else None
    return sum(counts.values()) if isinstance(counts, Mapping) else None


def _registered(source: Any) -> dict[str, HandlerClass]:
    """The handlers that a Broker of databroker 1 was given, for a header of its; that of databroker 2 has none."""
    if is_run(source):
        return {}
    return dict(getattr(getattr(getattr(source, "db", None), "reg", None), "handler_reg", {}))
