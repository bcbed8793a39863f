"""Derived runs made again, from what their documents say of how they were made."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from typing import Any

from bluesky_ext.server.compared import Redone, compared
from bluesky_ext.server.materials import Materials
from bluesky_ext.server.originals import Stored, find_original, read_derived
from bluesky_ext.server.playback import replay
from bluesky_ext.storage import as_sink
from bluesky_ext.storage.adapters import Pair, Sink

__all__ = ["Redone", "redo"]


def redo(
    run: Any,
    source: Any,
    *sinks: Any,
    registry: Any = None,
    known: Collection[Any] = (),
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    executor: Any = None,
    progress: bool | str = True,
    handlers: Mapping[str, type] | None = None,
    root_map: Mapping[str, str] | None = None,
) -> Redone:
    """Make a derived run again from its documents, and say whether the same came out.

    The stages that it went through are made anew with the parameters that it has of them, with the masks and arrays
    that they had then, and the raw run is replayed through them.

    Parameters
    ----------
    run : run, header, path or iterable
        The documents of the derived run, the last one of a chain: see `bluesky_ext.as_source`.
    source : run, header, path, iterable, directory or catalogue
        The raw run, or one between the two; or what has it: a directory of recordings, a catalogue, a Broker.
    *sinks : callable, Broker, catalog, directory or list
        Who gets the documents that are made; see `bluesky_ext.as_sink`.
    registry : MaskClient, or what `bluesky_ext.open_catalog` takes; optional
        Where the masks are that the run found by uid or by name.
    known : collection of classes and functions
        Stages and functions that are not of this package: what a document names is not imported.
    changes : dict of dicts, optional
        Parameters that are to be others than they were, by the name of the stage:
        ``{"PeakTracker": {"diameter": 13}}``.
    executor : Executor, optional
        Where maps work, as for `bluesky_ext.engine.Map`.
    progress, handlers, root_map
        As for `bluesky_ext.replay`.

    Raises
    ------
    LookupError, OSError, ValueError
        If it can't be made again: a stage, a mask, an array or the raw run is not there any more, or not the same. It
        says which.

    Examples
    --------
    >>> from bluesky import RunEngine
    >>> from bluesky.plans import count
    >>> from bluesky_ext import ImageProcessor, redo
    >>> from bluesky_ext.sim import beamline
    >>> detector = beamline(seed=1, shape=(64, 64), n_grains=1).detector
    >>> raw, derived = [], []
    >>> ip = ImageProcessor("dexela_image")
    >>> token = ip.subscribe(lambda name, doc: derived.append((name, doc)))
    >>> RE = RunEngine()
    >>> token = RE.subscribe(lambda name, doc: raw.append((name, doc))), RE.subscribe(ip)
    >>> uids = RE(count([detector], 2))
    >>> redo(derived, raw).agrees
    True
    """
    derived = read_derived(run)
    original, first = find_original(source, [one.get("parent_run_uid") for one in derived.records])
    chain = derived.records[first:]
    made: list[Pair] = []
    with ExitStack() as stack:
        stored = Stored(original, stack)
        materials = Materials(
            derived.arrays, registry, known, stored, changes, runs=lambda uid: find_original(source, [uid])[0]
        )
        stages = [materials.stage(one, executor) for one in chain]
        there = [one["stage"] for one in _all(chain)]
        if unknown := (changes or {}).keys() - set(there):
            raise LookupError(f"changes={sorted(unknown)}: the run went through {there}")
        for (one, other), its in zip(pairwise(stages), chain[1:], strict=True):
            if its.get("second_pass"):
                one.subscribe(stored.recorder())
            one.subscribe(other)
        stages[-1].subscribe(lambda name, doc: made.append((name, doc)) if name in ("start", "stop") else None)
        errors: list[Exception] = []
        for sink in map(as_sink, sinks):
            if callable(close := getattr(sink, "close", None)):  # made here, for a directory or a catalogue
                stack.callback(close)
            stages[-1].subscribe(_heeded(sink, errors))
        replay(original, stages[0], fill=False, progress=progress, handlers=handlers, root_map=root_map)
        no_stop = bool(stages[0].open_runs)
        for one in stages:
            one.close()
        if errors:
            raise errors[0]
    redone = compared(derived.start, derived.stop, made, first)
    if no_stop:
        incomplete = f"the run {chain[0]['parent_run_uid']} is incomplete: its stop document is not in the source"
        redone = replace(redone, differences=(incomplete, *redone.differences))
    return redone


def _all(records: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The records of stages, those that are composed of others one by one."""
    for record in records:
        yield record
        if isinstance(maps := record["parameters"].get("maps"), list):
            yield from _all(one for one in maps if isinstance(one, Mapping) and "stage" in one and "parameters" in one)


def _heeded(sink: Sink, errors: list[Exception]) -> Sink:
    """A sink whose first error is kept, since stages go on after it."""

    def heeded(name: str, document: dict[str, Any]) -> None:
        if not errors:
            try:
                sink(name, document)
            except Exception as error:
                errors.append(error)

    return heeded
