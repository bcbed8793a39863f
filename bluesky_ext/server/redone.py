"""Derived runs made again, from what their documents say of how they were made, and compared with what came out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from bluesky_ext.engine.documents.digest import IMAGES
from bluesky_ext.engine.documents.provenance import analysis_of
from bluesky_ext.server.materials import Materials
from bluesky_ext.server.originals import Stored, find_original, read_derived
from bluesky_ext.server.playback import replay
from bluesky_ext.storage import as_sink
from bluesky_ext.storage.adapters import Pair, Sink

# What records of the same analysis differ in.
_OWN = ("parent_run_uid", "objects", "upstream")


@dataclass(frozen=True)
class Redone:
    """What came of making a run again; true if it came out the same.

    Parameters
    ----------
    run, made : str
        The uids of the run, and of what was made of it; that one is empty if nothing came out.
    sha256, made_sha256 : str
        What their stop documents say.
    hashes : str
        By what images count in these, or that they do not.
    differences : tuple of str
        What is different, in how they were made and in what came out, a line each.
    """

    run: str
    made: str
    sha256: str
    made_sha256: str
    hashes: str
    differences: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether both came out the same."""
        return bool(self.made) and self.sha256 == self.made_sha256

    def __bool__(self) -> bool:
        return self.agrees

    def __str__(self) -> str:
        same = "the same" if self.agrees else "something else"
        images = "" if self.hashes == IMAGES else f" (images: {self.hashes})"
        return "\n  ".join([f"run {self.run} made again gives {same}{images}", *self.differences])


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
    redone = _compared(derived.start, derived.stop, made, first)
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


def _compared(start: Mapping[str, Any], stop: Mapping[str, Any], made: list[Pair], first: int) -> Redone:
    """What is different between a run and what was made again of the stages from the ``first`` on."""
    uid, record = start["uid"], analysis_of(start)
    hashes = record.get("hashes", {}).get("images", "not said how")
    if len(made) != 2:
        nothing = "nothing was made: no stream of the source has what the stages work on"
        return Redone(uid, "", stop["sha256"], "", hashes, (nothing,))
    (_, made_start), (_, made_stop) = made
    made_record = analysis_of(made_start)
    old = [*record.get("upstream", ()), record][first:]
    new = [*made_record.get("upstream", ()), made_record][-len(old) :]
    differences = []
    for one, other in zip(old, new, strict=True):
        differences += [f"{one['stage']}: {said}" for said in _differences(_comparable(one), _comparable(other))]
    was, now = (
        {key: said.get(key) for key in ("num_events", "lost", "failed", "incomplete")} for said in (stop, made_stop)
    )
    differences += [f"the result: {said}" for said in _differences(was, now)]
    if missing := made_stop.get("lost", {}).keys() - stop.get("lost", {}).keys():
        lacks = f"the source lacks events of {sorted(missing)}"
        differences.append(f"the run {old[0]['parent_run_uid']} is incomplete: {lacks}")
    if not differences and stop["sha256"] != made_stop["sha256"]:
        differences = [
            "nothing differs that is in the records: the raw run is another, or parameters were set while it went"
        ]
    return Redone(uid, made_start["uid"], stop["sha256"], made_stop["sha256"], hashes, tuple(differences))


def _comparable(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says of how a run was made: masks as they were, not as they were found."""
    parameters = dict(record["parameters"])
    if "masks" in record:
        parameters = {name: said for name, said in parameters.items() if name not in ("mask", "masks")}
    if "maps" in record:
        parts = [_comparable({**one, **its}) for one, its in zip(parameters["maps"], record["maps"], strict=True)]
        parameters = {**parameters, "maps": parts}
    kept = {name: said for name, said in record.items() if name not in (*_OWN, "maps")}
    return {**kept, "parameters": parameters}


def _differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """What differs between two pieces of plain data, a line each."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from _differences(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _differences(one, other, f"{path}[{number}]")
    elif old != new:
        yield f"{path} is {new!r:.200}, was {old!r:.200}"
