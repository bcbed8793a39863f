"""Stored runs played again."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from tqdm import tqdm

from bluesky_ext.engine import Recording, Stage
from bluesky_ext.engine.frames.datums import HandlerClass
from bluesky_ext.engine.frames.references import PATIENCE
from bluesky_ext.server.filling import Filling, Pair, for_stage
from bluesky_ext.server.pace import check_speed, paced
from bluesky_ext.storage import as_sink, as_source


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
        Whether images that are kept in files are read and put in their events. A stage is given references to them in
        any case, also one that is in the `background`, and reads them where it works; stores should be given the
        references (False).
    speed : float, optional
        1.0 keeps the original rhythm, 10.0 is ten times as fast; as fast as the callbacks take it unless given.
    progress : bool or str
        Whether a bar shows documents, events and the time left, where there is a terminal; a str is its title.
    handlers, root_map : dict, optional
        For images behind ``resource`` and ``datum``, as for `event_model.Filler`. Those that a Broker has
        registered are known, those that the stages were given, and those that are installed.

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
    check_speed(speed)
    stages = [stage for stage in map(inspect.unwrap, callbacks) if isinstance(stage, Stage)]
    known = {spec: handler for stage in stages for spec, handler in (stage.handlers or {}).items()}
    roots = {root: here for stage in stages for root, here in (stage.root_map or {}).items()}
    filling = Filling(
        {**_registered(source), **known, **(handlers or {})},
        {**roots, **(root_map or {})},
        patience=max((stage.patience for stage in stages), default=PATIENCE),
    )
    documents = filling.references(as_source(source)) if fill else filling.unchanged(as_source(source))
    if speed is not None:
        documents = paced(documents, speed)
    uids: list[str] = []
    with ExitStack() as stack:
        sinks = [(as_sink(callback), _data_keys(callback)) for callback in callbacks]
        for sink, _ in sinks:
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
        for n_documents, (name, document) in enumerate(documents, 1):
            whole: list[Pair] | None = None  # the document with its images, once they are read
            for sink, data_keys in sinks:
                if data_keys is not None:
                    sink(name, for_stage(document, data_keys) if fill else document)
                    continue
                if whole is None:
                    whole = list(filling.read(name, document)) if fill else [(name, document)]
                for pair in whole:
                    sink(*pair)
            if name == "start":
                uids.append(document["uid"])
            if not bar.disable:
                bar.set_postfix(documents=n_documents, refresh=False)
                bar.update(1 if name == "event" else len(document["seq_num"]) if name == "event_page" else 0)
    return uids


def _data_keys(callback: Any) -> tuple[str, ...] | None:
    """The keys of the images that a callback reads by itself, being a stage; None of any other callback."""
    stage = inspect.unwrap(callback)  # `background` keeps its callback as functools.wraps does
    return stage.data_keys if isinstance(stage, Stage) else None


def expected_events(source: Any) -> int | None:
    """How many events a source will give, as its stop document says; None if nobody knows."""
    if isinstance(source, list | tuple):
        stops = [item[1] for item in source if isinstance(item, list | tuple) and item[0] == "stop"]
    elif isinstance(source, Recording):
        stops = [source.stop]
    else:
        metadata = getattr(source, "metadata", None)
        stops = [getattr(source, "stop", None) or (metadata.get("stop") if isinstance(metadata, Mapping) else None)]
    counts = [stop.get("num_events") if isinstance(stop, Mapping) else None for stop in stops]
    known = [count for count in counts if isinstance(count, Mapping)]
    return sum(sum(count.values()) for count in known) if known and len(known) == len(counts) else None


def _registered(source: Any) -> dict[str, HandlerClass]:
    """The handlers that a Broker was given, for a header of its; databroker 2 has none."""
    registry = getattr(getattr(source, "db", None), "reg", None)
    return dict(getattr(registry, "handler_reg", None) or {})
