"""What is between publishers and dispatchers: a proxy that passes on documents, and who wants them."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import zmq

from bluesky_ext.engine.documents.complaints import Complaints
from bluesky_ext.transport.address import Address
from bluesky_ext.transport.end import End
from bluesky_ext.transport.farewell import SLICE, farewell
from bluesky_ext.transport.listeners import Listeners
from bluesky_ext.transport.monitor import FAILED, Event
from bluesky_ext.transport.signals import interruptible
from bluesky_ext.transport.stats import Passed
from bluesky_ext.transport.subscriptions import Subscriptions
from bluesky_ext.transport.wire import MAX_BYTES

if TYPE_CHECKING:
    from bluesky.callbacks.zmq import ClientCurve, ServerCurve

__all__ = ["Proxy"]

log = logging.getLogger(__name__)

_TICK = 500  # ms, after which one that has nothing to do looks up
_BATCH = 100
_LAST = 10_000  # of those that are counted at the end: a publisher may still be sending


class Proxy:
    """Passes on documents from publishers to dispatchers, ours and Bluesky's, and to publishers who listens.

    Run it with `start`, which returns when it is stopped, or in a thread of its own, in a ``with`` block.

    Parameters
    ----------
    in_address, out_address : str, tuple or int, optional
        Where publishers and dispatchers connect to: ``"localhost:5567"``, ``("localhost", 5567)``,
        ``"ipc:///tmp/socket"``, a port. A port alone, and one that is chosen because none is given, is for this
        machine only; ``"*:5567"`` is for all.
    in_curve, out_curve : bluesky.callbacks.zmq.ServerCurve or ClientCurve, optional
        The keys: a ServerCurve for an address that it binds, a ClientCurve for one that it connects to.
    in_bind, out_bind : bool
        Whether it binds the address, or connects to it.
    block : bool
        Wait for listeners that do not keep up, and have publishers that ask for it wait, instead of dropping
        documents.
    stall_limit : float
        With ``block``, a listener that takes nothing for so many seconds is cut off, and named in the log. If it comes
        back at once, it has a tenth of that.
    max_bytes : int
        The largest message that it takes; who sends a larger one is disconnected.
    high_water : int, optional
        The most messages that wait for a listener: 1000, or 100 if it blocks, unless given.
    linger : float
        How long what is on its way may take to arrive when it is stopped, in s. Who has not taken it by then is named
        in the log, and counted.

    Attributes
    ----------
    in_address, out_address : str
        Where they are; also as ``in_port`` and ``out_port``, as Bluesky's proxy calls them.
    stats : Passed
        What went through.
    closed : bool
        Whether it has been stopped, and can't be started again.

    Raises
    ------
    OSError
        If an address is in use.
    """

    def __init__(
        self,
        in_address: Address | None = None,
        out_address: Address | None = None,
        *,
        in_curve: ServerCurve | ClientCurve | None = None,
        out_curve: ServerCurve | ClientCurve | None = None,
        in_bind: bool = True,
        out_bind: bool = True,
        block: bool = False,
        stall_limit: float = 30.0,
        max_bytes: int = MAX_BYTES,
        high_water: int | None = None,
        linger: float = 5.0,
    ) -> None:
        if not stall_limit > 0:
            raise ValueError(f"stall_limit={stall_limit!r}: give a time in seconds above 0")
        self.closed = False
        self.stats = Passed()
        self._block = block
        self._stall_limit = stall_limit
        self._linger = linger
        self._listeners = Listeners(stall_limit)
        self._complaints = Complaints(log)
        self._stopping = threading.Event()
        self._give_up = float("inf")
        self._thread: threading.Thread | None = None
        self._lock = threading.RLock()  # of the pipe: a signal may come while it is held
        self._pipe = os.pipe()
        self._ends: list[End] = []
        common: Any = {"block": block, "max_bytes": max_bytes, "high_water": high_water or (100 if block else 1000)}
        try:
            self._ends.append(End(zmq.XSUB, in_address, in_curve, bind=in_bind, **common))
            self._ends.append(End(zmq.XPUB, out_address, out_curve, bind=out_bind, **common))
        except BaseException:
            self._close()
            raise
        front, back = self._ends
        self._frontend, self._in_monitor, self.in_address = front.socket, front.monitor, front.address
        self._backend, self._out_monitor, self.out_address = back.socket, back.monitor, back.address
        self.in_port, self.out_port = self.in_address, self.out_address
        self._subscriptions = Subscriptions(self._frontend, self._backend, self._listeners, self._note_events)
        self._subscriptions.introduce(block)

    def start(self) -> None:
        """Pass on documents until `stop` is called, or SIGINT or SIGTERM comes."""
        with interruptible(self.stop):
            self._run()

    def stop(self) -> None:
        """Have it stop, from any thread or signal handler, when what has come in has been passed on."""
        with self._lock:
            if not self.closed:
                self._stopping.set()
                os.write(self._pipe[1], b"x")

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name=repr(self), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: object = None, *exc_info: object) -> None:
        if kind is not None:  # after a failure (or Ctrl-C) nobody wants to wait for a listener that is slow
            self._give_up = min(self._give_up, time.monotonic() + min(self._linger, 2.0))
        self.stop()
        if self._thread is not None:
            self._thread.join()

    def close(self) -> None:
        """Stop it if it runs in a thread of its own; free its addresses if it was never started."""
        if self._thread is not None:
            self.__exit__()
        elif not self.closed:
            self._close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.in_address!r}, {self.out_address!r})"

    def _close(self) -> None:
        with self._lock:
            self.closed = True
            for fd in self._pipe:
                os.close(fd)
        for end in self._ends:
            end.close()

    # What it does

    def _run(self) -> None:
        if self.closed:
            raise RuntimeError(f"{self!r} has been stopped: make a new one")
        log.info("%r passes on documents", self)
        poller = zmq.Poller()
        for socket in (self._frontend, self._backend, self._in_monitor.socket, self._out_monitor.socket):
            poller.register(socket, zmq.POLLIN)
        poller.register(self._pipe[0], zmq.POLLIN)
        try:
            while not self._stopping.is_set():
                # Not for ever: a signal that comes just before 0MQ waits does not wake it.
                ready = dict(poller.poll(_TICK))
                self._note_events()
                if self._backend in ready:
                    self._subscriptions.pass_on()
                if self._frontend in ready:
                    self._pass_messages(_BATCH)
            self._finish()
        finally:
            self._close()

    def _pass_messages(self, count: int) -> None:
        for _ in range(count):
            try:
                part = self._frontend.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self.stats.messages += 1
            more = passed = True
            while more:
                more = part.more
                self.stats.bytes += len(part)
                passed = passed and self._send(part, zmq.SNDMORE if more else 0)
                if more:
                    part = self._frontend.recv(copy=False)
            self.stats.lost += not passed

    def _send(self, part: zmq.Frame, flags: int) -> bool:
        """Pass on a part of a message; False if there is no time left for that."""
        waited = False
        while time.monotonic() < self._give_up:
            try:
                # Waits, if it blocks, as long as a listener has no room.
                self._backend.send(part, flags, copy=False)
                return True
            except zmq.Again:
                if not waited:
                    self._listeners.rest()
                waited = True
                if self._stopping.is_set():
                    self._give_up = min(self._give_up, time.monotonic() + self._linger)
            self._note_events()
            self._cut_off_the_stuck()
        return False

    def _cut_off_the_stuck(self) -> None:
        for listener in self._listeners.stuck():
            if self._block:
                log.warning(
                    "%r: listener %s has taken nothing for too long (%g s): it is cut off, so that the others go on",
                    *(self, listener, self._stall_limit / 10 if listener.returned else self._stall_limit),
                )
                self.stats.cut_off += 1
                self._listeners.cut_off(listener)

    # How it ends

    def _finish(self) -> None:
        """Pass on what has come in, as far as there is time for it; count the rest, and say whose it was."""
        self._give_up = min(self._give_up, time.monotonic() + self._linger)
        # What publishers have sent before they were closed is on its way in the operating system.
        while self._frontend.poll(round(SLICE * 1000)) and time.monotonic() < self._give_up:
            self._pass_messages(_BATCH)
        self._pass_messages(_LAST)  # and counts them as lost, if time is up
        self._note_events()
        self._listeners.rest()
        self._cut_off_the_stuck()  # nobody is yet: it sees for whom there is something left
        cut_off = self.stats.cut_off
        farewell(
            self._backend,
            self._out_monitor,
            lambda: self._give_up,
            happened=self._note_end_of,
            looked=self._cut_off_the_stuck,
            given_up=self._cut_off_the_rest,
        )
        self.stats.unfinished += self.stats.cut_off - cut_off
        if self.stats.lost:
            log.warning(
                "%r: stopped while a listener did not keep up: %d messages that had come in are lost",
                *(self, self.stats.lost),
            )

    def _note_end_of(self, event: Event) -> None:
        """Take note that a connection ended that there was something to send to."""
        listener = self._listeners.disconnected(event.value) if event.kind == zmq.Event.DISCONNECTED else None
        if listener is not None and listener.waiting:
            self.stats.unfinished += 1
            log.warning("%r: listener %s went away before it had all that was on its way to it", self, listener)

    def _cut_off_the_rest(self) -> None:
        for listener in self._listeners.left():
            self.stats.unfinished += 1
            log.warning(
                "%r: stopped after %g s, in which listener %s has not taken all that was on its way to it",
                *(self, self._linger, listener),
            )
            self._listeners.cut_off(listener)

    def _note_events(self) -> None:
        for event in self._out_monitor.events():
            if event.kind == zmq.Event.ACCEPTED:
                self._listeners.accepted(event.value)
            elif event.kind == zmq.Event.DISCONNECTED:
                listener = self._listeners.disconnected(event.value)
                log.info("%r: listener %s went away", self, listener or "unknown")
            elif event.kind in FAILED:
                self._complaints("listener", "%s: a listener was turned away: its keys are not right", self.out_address)
        for event in self._in_monitor.events():
            if event.kind in FAILED:
                self._complaints(
                    "publisher", "%s: a publisher was turned away: its keys are not right", self.in_address
                )
