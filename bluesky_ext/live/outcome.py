"""What comes of a run, for plans that decide by it where to go on."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from bluesky_ext.engine.documents.losses import Losses
from bluesky_ext.engine.stages.run import StageRun
from bluesky_ext.live.errors import UserError, said_of
from bluesky_ext.live.hooks import hook
from bluesky_ext.live.pair import Pair
from bluesky_ext.live.tree import copy_of

#: So many are kept; an outcome may be a large array.
KEPT = 20
#: And of so many others it is known that they have none.
REFUSED = 200


class Outcome(NamedTuple):
    """What comes of a run, or of one of its events."""

    #: What the reducer calls its outcome: a number, or numbers by name.
    value: Any
    #: Its uncertainty, alike; None if it has none.
    uncertainty: Any
    #: Whether nothing is missing: no event was lost or failed, and, of a whole run, it ended with success.
    complete: bool
    #: The start document of the run.
    start: Mapping[str, Any]


def asked(reducer: Any, parameters: Mapping[str, Any], number: int | None) -> tuple[Any, Any]:
    """What a reducer calls its outcome, and its uncertainty: copies, which it does not change any more.

    It has a method ``outcome``, which is told the parameters and the number of the event (None for the run), and
    returns the outcome, or that and its uncertainty as a tuple; or "outcome" is in what it publishes, and the
    uncertainty beside it as "outcome_errors".
    """
    name = type(reducer).__name__
    call = hook(reducer, "outcome", "event_number", "parameters")
    if call is not None:
        try:
            said = call(number, parameters)
        except Exception as error:
            raise UserError(f"{name}.outcome({number}): {said_of(error, reducer)}") from error
        value, uncertainty = said if isinstance(said, tuple) and len(said) == 2 else (said, None)
        return copy_of(value), copy_of(uncertainty)
    published = getattr(reducer, "publish", {})
    if not isinstance(published, Mapping) or "outcome" not in published:
        raise LookupError(f"{name} has no outcome: give it a method outcome(), or publish['outcome']")
    return copy_of(published["outcome"]), copy_of(published.get("outcome_errors"))


class Outcomes:
    """The outcomes of the runs of a stage, for which any thread may wait.

    Those of runs that are over are kept, of the last ones, by their uids and those of the scans that they come from.

    Parameters
    ----------
    name : str
        What the stage is called.
    pair : Pair
        The worker and the reducer, whose ``news`` tell when there may be another one.
    run_of : callable
        The run of a uid, open or the latest; None if there is no such run.
    """

    def __init__(self, name: str, pair: Pair, run_of: Callable[[str], StageRun | None]) -> None:
        self._name, self._pair, self._run_of = name, pair, run_of
        self._said: OrderedDict[str, Outcome | Exception] = OrderedDict()
        self._refused: OrderedDict[str, Exception] = OrderedDict()  # of runs that have none

    def wait(self, uid: str, event: int | None, stream: str, timeout: float) -> Outcome:
        """The outcome of a run or an event, when it is there; see `LiveAnalysis.outcome`."""
        until = time.monotonic() + timeout
        with self._pair.news:
            while (found := self._find(uid, event, stream)) is None:
                left = until - time.monotonic()
                if left <= 0:
                    what = f"run {uid}" if event is None else f"event {event} of run {uid}"
                    why = "nothing came of it that this works on" if self._run_of(uid) is None else "it is under way"
                    raise TimeoutError(f"{self._name} had no outcome of {what} in time: {why}")
                self._pair.news.wait(min(left, 3600.0))
        if isinstance(found, Outcome):
            return found
        if isinstance(found, Exception):
            raise found.with_traceback(None)
        return self._of_event(found, event, stream)

    def settle(self, run: StageRun, stop: Mapping[str, Any]) -> None:
        """Ask the reducer, which has all results of a run, for the outcome."""
        lost, failed = run.lost(stop), Losses()
        lost.add_listed(stop, "lost")
        failed.add_listed(stop, "failed")
        is_whole = not (run.incomplete or any(run.failed.values()) or lost.counts or failed.counts)
        complete = is_whole and stop.get("exit_status") == "success"
        try:
            value, uncertainty = run.state.between(lambda reducer: asked(reducer, self._pair.parameters, None))
        except (LookupError, UserError, TypeError) as error:
            self._keep(run, type(error)(*error.args))  # not the frames of that one, which hold the reducer
        else:
            self._keep(run, Outcome(value, uncertainty, complete, run.start))

    def end(self, run: StageRun) -> None:
        """Say to those who wait for a run that is over that there is no outcome, if there is none."""
        if run.uid not in self._said:
            why = run.incomplete or "it has nothing that this works on, or could not be finished: see the log"
            error = LookupError(f"{self._name} has no outcome of run {run}: {why}")
            with self._pair.news:
                self._refused.update(dict.fromkeys(uids_of(run.start), error))
                while len(self._refused) > REFUSED:
                    self._refused.popitem(last=False)
                self._pair.news.notify_all()

    def forget(self, start: Mapping[str, Any]) -> None:
        """Forget the outcome of a run, which begins once more."""
        for uid in uids_of(start):
            self._said.pop(uid, None)
            self._refused.pop(uid, None)

    def _keep(self, run: StageRun, outcome: Outcome | Exception) -> None:
        with self._pair.news:
            for uid in uids_of(run.start):
                self._said[uid] = outcome
                self._said.move_to_end(uid)
            while len(self._said) > KEPT:
                self._said.popitem(last=False)
            self._pair.news.notify_all()

    def _find(self, uid: str, event: int | None, stream: str) -> StageRun | Outcome | Exception | None:
        """The outcome of a run, or the run of an event that is done with, or why there is none; None if not yet."""
        said, run = self._said.get(uid, self._refused.get(uid)), self._run_of(uid)
        if said is None and run is not None and run.refusal is not None:
            return LookupError(f"{self._name} has no outcome of run {run}: {run.incomplete}")
        if event is None or isinstance(said, Exception):
            return said
        if run is not None and run.state is not None and event in run.state.handled.get(stream, ()):
            return run
        if said is None:
            return None
        why = f"it is over, without that event of stream {stream!r}" if run else "another run has started since"
        return LookupError(f"{self._name} has no outcome of event {event} of run {uid}: {why}")

    def _of_event(self, run: StageRun, event: Any, stream: str) -> Outcome:
        troubles = {(number, name) for number, name, _ in list(run.state.troubles)}  # first: see where they are taken
        complete = (event, stream) not in troubles and event not in run.failed.get(stream, ())
        value, uncertainty = run.state.between(lambda reducer: asked(reducer, self._pair.parameters, event))
        return Outcome(value, uncertainty, complete, run.start)


def uids_of(start: Mapping[str, Any]) -> list[str]:
    """The uid of a run, and that of the scan that it comes from, if it is derived."""
    return [uid for uid in (start["uid"], start.get("original_run_uid")) if isinstance(uid, str)]
