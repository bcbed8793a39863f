"""A user's reducer at work, in a thread of its own: results, timer, the end, and what it publishes."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, TypeAlias

from bluesky_ext import _deadline
from bluesky_ext.engine.frames.readable import present, reading
from bluesky_ext.live.errors import UserError, said_of
from bluesky_ext.live.events import Forms
from bluesky_ext.live.hooks import build, hook
from bluesky_ext.live.kernel import Done
from bluesky_ext.live.parameters import Parameters
from bluesky_ext.live.tree import copy_of

log = logging.getLogger(__name__)

#: So many results, of so many bytes, may wait for the reducer; then the workers wait for it.
BOUND, BOUND_BYTES = 1000, 2**28
#: Events of a stream: its name, the number of the first one, and that behind the last.
Spans: TypeAlias = Sequence[tuple[str, int, int]]
#: So long the thread waits for more results before it sleeps, in s: those that come one by one come in batches.
LINGER = 0.002
#: After so many seconds it is said that the workers wait.
PATIENCE = 5.0


class Reduction:
    """A user's reducer in a run.

    All of it is called in one thread, one call after another. `snapshot` may be called by any thread.

    Parameters
    ----------
    reducer : type
        The class of the user.
    troubles : deque
        Where its exceptions go: the number and the stream of the event, and the error.
    look : callable
        Called in the thread when it has nothing to do: for results that nobody has fetched. It returns after how many
        seconds it is to be called again.
    handled : callable
        Called in the thread with the events of which it has taken the results.
    raises : bool
        Whether an exception of the reducer is the end of it: then `put` and `finish` raise it.
    """

    def __init__(
        self,
        reducer: type,
        parameters: Parameters,
        forms: Forms,
        versions: Mapping[str, str],
        *,
        troubles: deque[tuple[int | None, str, BaseException]],
        look: Callable[[], float],
        handled: Callable[[Spans], object],
        raises: bool,
    ) -> None:
        self.reducer: Any = None
        self._process: Any = None
        self._timer: Any = None
        #: Grows with each call of the reducer.
        self.revision = 0
        #: How many results it was given, and how many it has taken.
        self.given = self.taken = 0
        self._bytes = 0  # of those that wait
        self._class, self._troubles = reducer, troubles
        self._parameters = parameters
        self._forms, self._versions = forms, versions
        self._look, self._handled, self._raises = look, handled, raises
        #: Why the reducer takes no more results.
        self.end: BaseException | None = None
        self._queue: deque[tuple[float, Done, Spans]] = deque()
        self._at_work = threading.RLock()  # held while the reducer is called, or copied from
        self._at = 0  # of the batch that it ended with, where that was
        self._wanted, self._counting = 0, threading.Lock()
        self._bell, self._room = threading.Event(), threading.Event()
        self._asleep = self._ending = False
        self._ready, self._ended = threading.Event(), threading.Event()
        self._readable = present()
        self._thread = threading.Thread(target=self._run, name=f"reducer {reducer.__name__}", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self.end is not None:
            raise self.end

    @property
    def lag(self) -> float:
        """For how long the oldest result waits that the reducer has not taken, in s."""
        try:
            return time.monotonic() - self._queue[0][0]
        except IndexError:
            return 0.0

    def put(self, done: Done, events: Spans) -> None:
        """Hand over what came of a batch of events; waits while the reducer does not keep up."""
        if self.end is not None and not self._raises:
            self._troubles.extend((number, stream, self.end) for number, stream, _ in done.results)
            self._handled(events)
            return
        self.given += len(done.results)
        if done.size:
            with self._counting:
                self._bytes += done.size
        self._queue.append((time.monotonic(), done, events))
        if self._asleep:
            self._bell.set()
        if self.end is not None and self._ended.is_set():  # meanwhile
            self._give_up(self.end)
        if not self._is_full() or threading.current_thread() is self._thread:
            self._raise()
            return
        warn_at = time.monotonic() + PATIENCE
        while self._is_full() and not self._ended.is_set() and not _deadline.is_over():
            self._room.clear()
            self._bell.set()
            self._room.wait(0.5)
            if time.monotonic() >= warn_at:
                waiting = self.given - self.taken
                log.warning("the workers wait for %s, for which %d results wait", self._class.__name__, waiting)
                warn_at = math.inf
        self._raise()

    def _is_full(self) -> bool:
        return self.given - self.taken > BOUND or (self._bytes > BOUND_BYTES and len(self._queue) > 1)

    def set_parameters(self, parameters: Parameters) -> None:
        """Give the reducer other parameters from the next call on."""
        self._parameters = parameters
        self._given = self._forms.parameters(parameters)

    def settle(self) -> None:
        """Wait until it has taken all results that it was given."""
        while self._queue and not self._ended.is_set() and not _deadline.is_over():
            self._room.clear()
            self._bell.set()
            self._room.wait(0.5)

    def finish(self) -> None:
        """Have it take what is left, and call its ``finish``; waits for that."""
        self._ending = True
        self._bell.set()
        while not self._ended.wait(0.5):
            if _deadline.is_over():
                raise TimeoutError(f"the reducer {self._class.__name__} was not done when the server had to stop")
        self._raise()

    def snapshot(self) -> dict[str, Any]:
        """A copy of what it publishes, between two of its calls."""
        return self.between(self._published)

    def _published(self, reducer: Any) -> dict[str, Any]:
        published = getattr(reducer, "publish", {})
        if not isinstance(published, Mapping):
            name, kind = type(reducer).__name__, type(published).__name__
            raise UserError(f"TypeError: {name}.publish is a {kind}: make it a dict of what is to be shown")
        return copy_of(published)

    def between(self, ask: Callable[[Any], Any]) -> Any:
        """What a function of the reducer returns, called between two calls of it."""
        with self._counting:
            self._wanted += 1
        try:
            with self._at_work, getattr(self.reducer, "publish_rlock", None) or nullcontext():
                return ask(self.reducer)
        finally:
            with self._counting:
                self._wanted -= 1

    def abandon(self) -> None:
        """End the thread without the rest, since nobody wants it."""
        self.end = self.end or UserError("the analysis is gone")
        self._bell.set()

    def _raise(self) -> None:
        if self.end is not None and self._raises:
            raise self.end

    # The thread

    def _run(self) -> None:
        try:
            with reading(self._readable):
                self._make()
                self._ready.set()
                while self.end is None:
                    if self._due <= time.monotonic():
                        self._tick()
                    elif self._queue:
                        self._take()
                    elif self._ending:
                        self._call(self._finish, self._given)
                        break
                    else:
                        self._sleep()
        except BaseException as error:  # such as SystemExit of the user's: nobody else hears of it
            self.end = UserError(f"the reducer has ended: {said_of(error, self._class)}")
            self._troubles.append((None, "", self.end))
        finally:
            if self.end is not None:
                self._give_up(self.end)
            self._ready.set()
            self._ended.set()
            self._room.set()

    def _make(self) -> None:
        self._given = self._forms.parameters(self._parameters)
        state = self._forms.state("reducer", self._versions)
        self._due, self._finish = math.inf, None
        try:
            self.reducer = build(self._class, {"parameters": self._given, "context": {}, "state": state})
            self._process = hook(self.reducer, "process_result", "result", "parameters")
            self._timer = hook(self.reducer, "timer", "parameters")
            self._finish = hook(self.reducer, "finish", "parameters")
        except Exception as error:
            if not self._raises:
                error = UserError(f"{self._class.__name__} can't be made: {said_of(error, self._class)}")
            self.end = error
            return
        if self._timer is not None:
            self._due = time.monotonic()

    def _give_up(self, error: BaseException) -> None:
        """Say of the results that wait that nobody takes them."""
        while self._queue:
            with self._counting:
                _, done, events = self._queue.popleft() if self._queue else (0.0, None, ())
            if done is None:
                return
            if not self._raises:
                self._troubles.extend((number, stream, error) for number, stream, _ in done.results[self._at :])
            self._handled(events)
            self._at = 0

    def _take(self) -> None:
        _, done, events = self._queue[0]
        process, given, result = self._process, self._given, self._forms.result
        worker, parameters_hash = done.worker, done.parameters_hash
        at, results, is_timed = 0, done.results, self._timer is not None
        while at < len(results):
            with self._at_work:
                while at < len(results) and not self._wanted:
                    number, stream, payload = results[at]
                    at += 1
                    try:
                        process(result(number, stream, payload, worker, parameters_hash), given)
                    except Exception as error:
                        self._note(number, stream, error)
                        if self.end is not None:
                            return
                    except BaseException:
                        self._at = at - 1
                        raise
                    if is_timed and self._due <= time.monotonic():
                        break
                self.revision += 1
                self._at = at
            if self._due <= time.monotonic():
                self._tick()
            while self._wanted and not self._ended.is_set():
                time.sleep(0.0005)  # whoever wants a copy goes first
        self._at = 0
        self._queue.popleft()
        self.taken += len(results)
        if done.size:
            with self._counting:
                self._bytes -= done.size
        self._room.set()
        self._handled(events)

    def _tick(self) -> None:
        wait = self._call(self._timer, self._given)
        wait = 1.0 if wait is None else wait
        if isinstance(wait, int | float) and 0 <= wait < math.inf:
            self._due = time.monotonic() + max(wait, LINGER)
        else:
            self._note(None, "", TypeError(f"its timer returned {wait!r:.100}: return the seconds to the next call"))
            self._due = math.inf

    def _call(self, function: Callable[..., Any] | None, *arguments: Any) -> Any:
        if function is None:
            return None
        with self._at_work:
            self.revision += 1
            try:
                return function(*arguments)
            except Exception as error:
                self._note(None, "", error)
                return None

    def _note(self, number: int | None, stream: str, error: BaseException) -> None:
        if self._raises:
            self.end = error
        self._troubles.append((number, stream, UserError(f"the reducer: {said_of(error, self._class)}")))

    def _sleep(self) -> None:
        time.sleep(LINGER)
        if self._queue or self._ending:
            return
        left = max(self._due - time.monotonic(), 0.0)
        self._asleep = True
        if not self._queue and not self._ending:  # looked at again, now that the bell is rung
            self._bell.wait(min(left, self._look()))
        self._asleep = False
        self._bell.clear()
