"""A worker and a reducer run on what is recorded, at full speed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tqdm import tqdm

from bluesky_ext.engine.documents.complaints import Complaints
from bluesky_ext.live.pair_run import PairRun
from bluesky_ext.live.replay.replayed import Replayed
from bluesky_ext.live.replay.sources import batches_of

log = logging.getLogger(__name__)


def run_pair(
    worker: type | str,
    reducer: type | str,
    source: Any,
    *,
    parameters: Mapping[str, Any] | None = None,
    workers: int = 2,
    executor: Any = None,
    join: bool = False,
    unsafe_pickle: bool = False,
    progress: bool = True,
) -> Any:
    """Run a worker and a reducer on a recording, a stored run, captures or a source of one's own; return the reducer.

    The first event goes to all workers, later ones to any. A worker's exception is logged and counted, and the run goes
    on.

    Parameters
    ----------
    worker, reducer : class, or str as "module:Class"
        As for `LiveAnalysis`; or the classes of a pair of dranspose, if that is installed.
    source : object
        A path of a recording or a capture (``.cbors``, ``.cbors.gz``), or a list of those of one scan; a stored run,
        or another source of documents, as for `bluesky_ext.replay`; or a class with ``get_source_generators()``.
    parameters : mapping, optional
        Values of parameters, by name.
    workers : int
        How many workers there are.
    executor : Lanes, dask client or callable that makes Lanes; optional
        Where they are; threads unless given.
    join : bool
        Whether events with the same number, of several recordings or several streams, are one: ``event.streams`` has
        each. Captures are always joined.
    unsafe_pickle : bool
        Whether captures that are pickles (``.pkls``) are read, which execute what they hold.
    progress : bool
        Whether a bar shows how far it is, where there is a terminal.

    Raises
    ------
    Exception
        What the reducer raised; what `LiveAnalysis` and the source say is wrong with what was given.

    Examples
    --------
    >>> class Worker:
    ...     def process_event(self, event):
    ...         return event.data["det"]
    >>> class Reducer:
    ...     def __init__(self):
    ...         self.publish = {"sum": 0.0}
    ...     def process_result(self, result):
    ...         self.publish["sum"] += float(result.payload)
    >>> from bluesky import RunEngine
    >>> from bluesky.plans import count
    >>> from ophyd.sim import det
    >>> docs = []
    >>> uids = RunEngine()(count([det], 3), lambda name, doc: docs.append((name, doc)))
    >>> run_pair(Worker, Reducer, docs, workers=1).publish
    {'sum': 3.0}
    """
    batches = batches_of(source, join=join, unsafe_pickle=unsafe_pickle)
    with Replayed(worker, reducer, parameters=parameters, workers=workers, executor=executor) as analysis:
        return play(analysis, batches, progress=progress).run.reducer


class Played(NamedTuple):
    """A run that was replayed."""

    run: PairRun
    start: Mapping[str, Any]
    #: How many events there were.
    events: int
    #: How many the source lacks.
    lost: int


def play(
    analysis: Replayed, batches: Iterator[tuple[str, Any]], *, progress: bool = True, total: int | None = None
) -> Played:
    """Run an analysis on a run, and return that when it is over."""
    run: Any = None
    start: Mapping[str, Any] = {}
    events, lost, complaints = 0, 0, Complaints(log)
    try:
        with tqdm(total=total, unit="event", unit_scale=True, desc="replay", disable=None if progress else True) as bar:
            for name, given in batches:
                if name == "events":
                    if not events:
                        run.put(given[:1], "all")
                    run.put(given if events else given[1:])
                    events += len(given)
                    analysis.stats.received = events
                    bar.update(len(given))
                elif name == "start":
                    run, start = analysis.pair.open(given), given
                    analysis.opened(run, given)
                    analysis.stats.runs = 1
                elif name == "descriptor":
                    run.descriptor(given)
                else:
                    run.finish(given)
                    analysis.stats.lost = lost = sum(given.get("lost_counts", {}).values())
                _report(analysis, run, complaints)
    finally:
        if run is not None and not run.is_over:
            run.close()
            _report(analysis, run, complaints)
        analysis.closed()
    if run is None:
        raise ValueError("there is nothing to replay: the source has no documents")
    return Played(run, start, events, lost)


def _report(analysis: Replayed, run: PairRun, complaints: Complaints) -> None:
    analysis.stats.failed = run.failed
    while run.troubles:
        number, stream, error = run.troubles.popleft()
        complaints(str(error), "%s%s", f"event {number}, stream {stream!r}: " if number is not None else "", error)
