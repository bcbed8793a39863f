"""What is between publishers and dispatchers: a proxy that passes on documents, and what listeners want of them."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import zmq

from bluesky_ext.engine.documents.complaints import Complaints
from bluesky_ext.engine.documents.printable import printable
from bluesky_ext.transport.address import Address, bind_address, connect_address
from bluesky_ext.transport.signals import interruptible
from bluesky_ext.transport.socket import REFUSALS, SLICE, Socket, wait_for
from bluesky_ext.transport.stops import Again, Stops
from bluesky_ext.transport.wire import AGAIN, BLOCKING, ECHO, LISTENER, MARK, MAX_BYTES, PASSING, PROXY, STALLED

if TYPE_CHECKING:
    from bluesky.callbacks.zmq import ClientCurve, ServerCurve

log = logging.getLogger(__name__)

_BATCH = 100  # messages
_LAST = 10_000  # messages that are counted when there is no time left: a publisher may still be sending


@dataclass
class Passed:
    """What became of the messages that came to a proxy; they only grow.

    It passed on all of the ``messages`` but those ``lost``, for which there was no time left when it was stopped. After
    so many ``stalls`` it went on without listeners that took nothing, or, if it does not block, had no room; 0MQ does
    not say how many documents they lost. At least so many listeners were left ``unfinished`` when it stopped, with
    something still on its way to them.
    """

    kind: ClassVar[str] = "proxy"

    messages: int = 0
    stalls: int = 0
    lost: int = 0
    unfinished: int = 0


class Proxy:
    """Passes on documents from publishers to dispatchers, ours and Bluesky's, and tells publishers of their listeners.

    Run it with `start`, which returns when it is stopped, or in a ``with`` block, in a thread of its own.

    Parameters
    ----------
    in_address, out_address : str, tuple or int, optional
        Where publishers and dispatchers connect to: ``"localhost:5567"``, ``("localhost", 5567)``,
        ``"ipc:///tmp/socket"``, a port. A port alone, or none, is for this machine only; ``"*:5567"`` is for all.
    in_curve, out_curve : bluesky.callbacks.zmq.ServerCurve or ClientCurve, optional
        The keys: a ServerCurve for an address that it binds, a ClientCurve for one that it connects to.
    in_bind, out_bind : bool
        Whether it binds the address, or connects to it.
    block, stall_limit : bool and float
        Wait for listeners that do not keep up, instead of dropping documents; but go on without one that makes no room
        for so many seconds: it loses documents until it has taken half of those that wait for it. Listeners of ours
        are named in the log.
    max_bytes : int
        The largest message that it takes; who sends a larger one is disconnected.
    high_water : int, optional
        The most messages that wait for a listener: 1000, or 10 if it blocks, unless given.
    linger : float
        How long to pass on what has come in when it is stopped, in s; the last of it has no longer than `stall_limit`.

    Attributes
    ----------
    in_address, out_address : str
        Where they are; also as ``in_port`` and ``out_port``, as Bluesky's proxy calls them.
    stats : Passed
        What went through.
    closed : bool
        Whether it has been stopped, and can't be started again.
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
        linger: float = 4.0,
    ) -> None:
        if not stall_limit > 0:
            raise ValueError(f"stall_limit={stall_limit!r}: give a time in seconds above 0")
        self.closed = False
        self.stats = Passed()
        self._blocks = block
        self._stall_limit = stall_limit
        self._linger = linger
        self._complaints = Complaints(log)
        self._topics: set[bytes] = set()
        self._stops = Stops()
        self._stopping = False
        self._give_up = float("inf")
        self._passing_at = 0.0
        self._running = threading.Lock()
        ends = ((in_address, in_bind), (out_address, out_bind))
        into, out = [bind_address(at) if bind else connect_address(at or "") for at, bind in ends]
        high_water = high_water or (10 if block else 1000)
        self._in = Socket(zmq.XSUB, in_curve, high_water, bind=in_bind, max_bytes=max_bytes)  # to publishers
        self._sockets = [self._in]
        try:
            self._out = Socket(zmq.XPUB, out_curve, high_water, bind=out_bind, max_bytes=max_bytes)  # to listeners
            self._sockets.append(self._out)
            self._in.zmq.sndhwm = 0  # subscriptions must not be dropped, of which many come at once
            self._out.zmq.sndtimeo = round(SLICE * 1000) if block else 0
            self._out.zmq.setsockopt(zmq.XPUB_NODROP, 1)  # so that one knows: without, 0MQ drops in silence
            self.in_address = self.in_port = self._in.open(into)
            self.out_address = self.out_port = self._out.open(out)
        except BaseException:
            self._free()
            raise
        for mark in (PROXY, BLOCKING)[: 1 + block]:
            self._in.zmq.send(b"\1" + mark)

    def start(self) -> None:
        """Pass on documents until `stop` is called, or SIGINT or SIGTERM comes."""
        self._begin()
        with interruptible(self.stop):
            self._run()

    def stop(self) -> None:
        """Have it stop, from any thread or signal handler, when what has come in has been passed on."""
        self._stopping = True

    def close(self) -> None:
        """Stop it, wait until it has in the thread in which it runs, and free its addresses."""
        self.stop()
        with self._running:
            self._free()

    def __enter__(self) -> Self:
        self._begin()
        threading.Thread(target=self._run, name=repr(self), daemon=True).start()
        return self

    def __exit__(self, kind: object, *exc_info: object) -> None:
        if kind is not None:  # after a failure (or Ctrl-C) nobody wants to wait for a listener that is slow
            self._give_up = min(self._give_up, time.monotonic() + min(self._linger, 2.0))
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.in_address!r}, {self.out_address!r})"

    def _free(self) -> None:
        if not self.closed:
            self.closed = True
            for socket in self._sockets:
                socket.close()

    def _begin(self) -> None:
        self._running.acquire()
        if self.closed:
            self._running.release()
            raise RuntimeError(f"{self!r} has been stopped: make a new one")

    def _run(self) -> None:
        log.info("%r passes on documents", self)
        try:
            while not self._stopping:
                wait_for(*self._sockets)
                self._take_events()
                self._pass_subscriptions()
                self._pass_messages()
                self._tell()
            self._finish()
        finally:
            self._free()
            self._running.release()

    def _take_events(self) -> None:
        for socket, address, what in (
            (self._in, self.in_address, "publisher"),
            (self._out, self.out_address, "listener"),
        ):
            if any(event in REFUSALS for event in list(socket.events())):
                self._complaints(what, "%s: a %s was turned away: its keys are not right", address, what)

    def _pass_subscriptions(self) -> None:
        """Have publishers know what listeners want from now on, or no more; answer who asks whether this is done."""
        for wants, topic in self._out.subscriptions():
            self._topics.add(topic) if wants else self._topics.discard(topic)
            if not topic.startswith(MARK):
                self._in.zmq.send((b"\1" if wants else b"\0") + topic)
            elif topic.startswith(ECHO) and wants and b"" not in self._topics:
                # Those of Bluesky that listen to everything would get it too, and may not survive what is no document.
                with suppress(zmq.Again):
                    self._out.zmq.send(b"%b %b %d" % (topic, self._stops.name, self._stops.count), zmq.NOBLOCK)

    def _pass_messages(self) -> int:
        """Pass on the messages that have come, but not too many at once; return how many that were."""
        count = 0
        for parts in self._in.messages(_BATCH):
            count += 1
            now = time.monotonic()
            if parts[0].buffer[: len(ECHO)] == ECHO:
                if now < self._give_up:
                    self._subscribe_for_a_moment(parts[0].bytes)
                continue
            if parts[0].buffer[: len(AGAIN)] == AGAIN:
                self._stops.take(Again.of(parts[0].bytes))
                continue
            self.stats.messages += 1
            self.stats.lost += not self._send(parts)
            self._stops.note(parts[0])
            self._tell()
            if now > self._passing_at:
                self._passing_at = now + 1.0
                self._subscribe_for_a_moment(PASSING)
        return count

    def _tell(self) -> None:
        """Say again which runs are over, if all listeners survive it."""
        if b"" not in self._topics:
            self._stops.tell(self._send_at_once)

    def _send_at_once(self, message: bytes) -> bool:
        try:
            # Past a listener that is full, the next document would be lost too.
            self._out.zmq.send(message, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _send(self, parts: list[zmq.Frame]) -> bool:
        """Pass on a message; False if there is no time left for that."""
        end = time.monotonic() + (self._stall_limit if self._blocks else 0.0)
        while time.monotonic() < self._give_up:
            try:
                # Waits, if it blocks, as long as a listener has no room: for the first part, the others find the same.
                self._out.zmq.send_multipart(parts, copy=False)
                return True
            except zmq.Again:
                self._take_events()
            if self._stopping:
                self._give_up = min(self._give_up, time.monotonic() + self._linger)
            if time.monotonic() >= end:
                self._send_without_the_stuck(parts)
                return True
        return False

    def _send_without_the_stuck(self, parts: list[zmq.Frame]) -> None:
        """Pass on a message to the listeners that have room; 0MQ leaves out the others until they have some again."""
        self.stats.stalls += 1
        full = []
        for topic in sorted(self._topics) if b"" not in self._topics else ():
            if topic.startswith(LISTENER):
                try:
                    self._out.zmq.send(topic, zmq.NOBLOCK)
                except zmq.Again:
                    name = topic.removeprefix(LISTENER).decode(errors="replace")
                    full.append(f"listener {printable(name, 200)}")
        who = ", ".join(full) or "a listener"
        if self._blocks:
            message = "%r: %s took nothing for %g s: documents for it are lost until it does, so that the others go on"
            log.warning(message, self, who, self._stall_limit)
        else:
            self._complaints(f"full {who}", "%r: %s does not keep up, and loses documents", self, who)
        self._out.zmq.setsockopt(zmq.XPUB_NODROP, 0)
        self._out.zmq.send_multipart(parts, copy=False)
        self._out.zmq.setsockopt(zmq.XPUB_NODROP, 1)
        self._subscribe_for_a_moment(STALLED)

    def _subscribe_for_a_moment(self, topic: bytes) -> None:
        for wants in (b"\1", b"\0"):
            self._in.zmq.send(wants + topic)

    def _finish(self) -> None:
        """Pass on what has come in, as far as there is time for it; count the rest."""
        self._give_up = min(self._give_up, time.monotonic() + self._linger)
        # What publishers have sent before they were closed is on its way in the operating system.
        last = _LAST
        while last > 0 and self._in.zmq.poll(round(SLICE * 1000)):
            count = self._pass_messages()  # and counts them as lost, if time is up
            last -= count if time.monotonic() > self._give_up else 0
        self._take_events()
        left, ended = self._out.flush(min(self._give_up - time.monotonic(), self._stall_limit))
        self.stats.unfinished += ended + (not left)
        if ended:
            log.warning("%r: %d listeners went away before they had all that was on its way to them", self, ended)
        if not left:
            log.warning("%r: stopped, and a listener has not taken all that was on its way to it", self)
        if self.stats.lost:
            log.warning("%r: stopped: %d messages that had come in are lost", self, self.stats.lost)
