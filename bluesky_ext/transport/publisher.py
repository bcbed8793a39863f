"""The end that sends: a callback that publishes documents to a proxy."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Self

import zmq

from bluesky_ext.documents.framing import Buffer
from bluesky_ext.documents.guard import Complaints, OnError
from bluesky_ext.transport.address import Address, connect_address
from bluesky_ext.transport.audience import Audience
from bluesky_ext.transport.curve import be_client
from bluesky_ext.transport.monitor import Monitor, refusal
from bluesky_ext.transport.wire import LARGE, MAX_BYTES, Serializer, Wire, check_prefix, check_serializer, pack

if TYPE_CHECKING:
    from bluesky.callbacks.zmq import ClientCurve
    from event_model import DocumentNames

__all__ = ["Published", "Publisher"]

log = logging.getLogger(__name__)

_SLICE = 0.1  # s, after which a publisher that waits looks up


@dataclass
class Published:
    """What became of the documents that a publisher was given; they only grow.

    Those that were ``sent`` are on their way. Nobody listened to those ``unheard``; there was no room for those
    ``dropped``; those ``failed`` could not be put into bytes.
    """

    sent: int = 0
    unheard: int = 0
    dropped: int = 0
    failed: int = 0


class Publisher:
    """A callback that publishes documents to a 0MQ proxy, for `RemoteDispatcher` or Bluesky's own.

    With our `Proxy` it knows its listeners: it is made when the first of them is there, so that they get its first
    document, and it says when there are none. With a plain proxy, of which the listeners can't be known, it waits a
    moment instead.

    Parameters
    ----------
    address : str, tuple or int
        The address of a running proxy that takes documents: ``"localhost:5567"``, ``("localhost", 5567)``,
        ``"ipc:///tmp/socket"``, a port of this machine.
    port : int, optional
        The port, as in ``Publisher("localhost", 5567)``.
    prefix : bytes
        What tells the documents of this publisher from those of others. It has no space in it.
    serializer : {"msgpack", "pickle"} or callable
        How documents become bytes: the first is `bluesky_ext.transport.dumps`, which Bluesky's ``RemoteDispatcher``
        reads with ``deserializer=loads``.
    curve_config : bluesky.callbacks.zmq.ClientCurve, optional
        The keys, if the proxy has some.
    block : bool
        Wait when the proxy or a listener does not keep up, instead of dropping documents: for a replay, not for a
        scan. This needs a `Proxy` that blocks too.
    wire : {"single", "multipart"}
        "multipart" sends arrays as parts of their own, which saves copying them: they must not change after the
        call. All who listen must be a `RemoteDispatcher` of ours (Bluesky's would take the parts for documents), and
        the proxy a `Proxy`.
    wait : float
        How long to wait for the first listener when it is made, in s.
    settle : float
        How long to wait, in s, when there is a plain proxy.
    patience : float
        With ``block``, give up after so many seconds without progress.
    on_error : {"log", "raise"}, optional
        What to do with a document that can't be put into bytes: log and count it, so that the scan goes on, or raise.
        Raise if it blocks, else log, unless given.
    max_bytes : int
        The largest document that is sent.
    max_queue : int
        The most bytes of documents with images that wait to be sent.
    high_water : int, optional
        The most documents that wait to be sent: 1000, or 100 if it blocks, unless given.
    linger : float, optional
        How long `close` tries to send what is waiting, in s: 2, or `patience` if it blocks, unless given.

    Attributes
    ----------
    stats : Published
        How many documents were sent, and how many were not.

    Raises
    ------
    ConnectionError
        When it is made: the CURVE keys are wrong, or it blocks and there is no proxy. When it blocks and is called: the
        connection was lost, or the last listener left, in the middle of a run, which has to be replayed.
    TimeoutError
        When it blocks and is called: nothing moved for `patience`.

    Examples
    --------
    >>> from bluesky_ext.transport import Proxy, Publisher
    >>> with Proxy() as proxy, Publisher(proxy.in_address, prefix=b"raw", wait=0.1) as publisher:
    ...     publisher("start", {"uid": "x", "time": 0.0})
    ...     publisher.stats
    Published(sent=0, unheard=1, dropped=0, failed=0)
    """

    def __init__(
        self,
        address: Address,
        port: int | None = None,
        *,
        prefix: bytes = b"",
        serializer: Serializer = "msgpack",
        curve_config: ClientCurve | None = None,
        block: bool = False,
        wire: Wire = "single",
        wait: float = 1.0,
        settle: float = 0.2,
        patience: float = 60.0,
        on_error: OnError | None = None,
        max_bytes: int = MAX_BYTES,
        max_queue: int = 2**30,
        high_water: int | None = None,
        linger: float | None = None,
    ) -> None:
        self.address = connect_address(address, port)
        if wire not in ("single", "multipart"):
            raise ValueError(f"wire={wire!r}: give 'single' or 'multipart'")
        if wire == "multipart" and serializer != "msgpack":
            raise ValueError(f"wire='multipart' with serializer={serializer!r}: only 'msgpack' keeps arrays apart")
        if on_error not in ("log", "raise", None):
            raise ValueError(f"on_error={on_error!r}: give 'log' (the scan goes on) or 'raise'")
        for name, number in (("wait", wait), ("settle", settle), ("patience", patience), ("linger", linger or 0)):
            if not number >= 0:
                raise ValueError(f"{name}={number!r}: give a time of 0 s or more")
        self.stats = Published()
        self._prefix = check_prefix(prefix)
        self._serializer: Serializer = check_serializer(serializer, self.address)
        self._curve = curve_config
        self._block = block
        self._wire: Wire = wire
        self._settle = settle
        self._patience = patience
        self._raises = (on_error or ("raise" if block else "log")) == "raise"
        self._max_bytes = max_bytes
        self._max_queue = max_queue
        self._complaints = Complaints(log)
        self._open: set[str] = set()
        self._broken = ""
        self._pending: deque[tuple[zmq.MessageTracker, int]] = deque()
        self._pending_bytes = 0
        self._lock = threading.Lock()  # a socket belongs to one thread at a time

        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.XPUB)
        self._linger = linger if linger is not None else patience if block else 2.0
        # At exit too: what was sent last must not die with the thread of 0MQ that sends it.
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        self._monitor = Monitor(self._socket)
        self._finalize = weakref.finalize(self, _close, self._monitor, self._socket, self._context)
        try:
            self._socket.linger = round(self._linger * 1000)
            self._socket.sndhwm = high_water or (100 if block else 1000)
            self._socket.sndtimeo = round(_SLICE * 1000)
            self._socket.setsockopt(zmq.XPUB_NODROP, 1)  # so that one knows: without, 0MQ drops in silence
            self._socket.setsockopt(zmq.IMMEDIATE, 1)  # so that subscriptions go with the connection
            self._socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
            self._socket.ipv6 = "[" in self.address
            be_client(self._socket, curve_config)
            self._audience = Audience(self._socket, self._prefix)
            try:
                self._socket.connect(self.address)
            except zmq.ZMQError as error:
                raise ValueError(f"{self.address} can't be connected to: {error}") from error
            self._meet(wait)
        except BaseException:
            self.close()
            raise

    def __call__(self, name: str | DocumentNames, doc: Mapping[str, Any]) -> None:
        """Send a document."""
        name = str(name.value if isinstance(name, Enum) else name)
        with self._lock:
            if not self._finalize.alive:
                raise RuntimeError(f"the publisher to {self.address} has been closed: make a new one")
            self._hear()
            self._follow(name, doc)
            if self._block:
                self._wait_for_listener()
            elif not self._audience.listens:
                self.stats.unheard += 1
                self._complaints("unheard", "%s", self._nobody())
                return
            try:
                message = self._packed(name, doc)
            except Exception as error:  # whatever a serializer raises: the scan goes on
                self.stats.failed += 1
                if self._raises:
                    raise
                self._complaints(f"{name} {type(error).__name__}", "%s: a document %r: %s", self.address, name, error)
                return
            if self._send(message):
                self.stats.sent += 1
            else:
                self.stats.dropped += 1
                self._complaints("dropped", "%s does not keep up: documents are dropped, and counted", self.address)

    def close(self, linger: float | None = None) -> None:
        """Send what is waiting, and close the connection; nothing if that has been done.

        Parameters
        ----------
        linger : float, optional
            How long to try that, in s, if not as long as it was made for.
        """
        with self._lock:
            if self._finalize.alive:
                if linger is not None:
                    self._socket.linger = round(linger * 1000)
                stats = self.stats
                if stats.unheard or stats.dropped or stats.failed:
                    log.warning(
                        "%s: %d documents were sent; nobody listened to %d, there was no room for %d, %d failed",
                        *(self.address, stats.sent, stats.unheard, stats.dropped, stats.failed),
                    )
                self._finalize()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *exc_info: object) -> None:
        # After a failure (or Ctrl-C) nobody wants to wait for what a stuck proxy does not take.
        self.close(None if kind is None else min(self._linger, 2.0))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address!r}, prefix={self._prefix!r})"

    # Who is there

    def _meet(self, wait: float) -> None:
        """Wait until the first listener is there, or until it is clear that one can't know."""
        end = time.monotonic() + wait
        found = False
        while not self._audience.is_known:
            self._hear()
            if self._monitor.refused is not None:
                raise ConnectionError(refusal(self._monitor.refused, self.address, self._curve))
            if self._audience.listens and not found:
                found, end = True, time.monotonic() + self._settle
            if self._audience.is_known or time.monotonic() >= end:
                break
            self._poll(min(end - time.monotonic(), _SLICE))
        needs = "block=True" if self._block else "wire='multipart'" if self._wire == "multipart" else ""
        if self._audience.topics and needs and not self._audience.has_our_proxy:
            raise ConnectionError(
                f"{self.address} is a plain proxy, which does not do {needs}: start `bluesky-ext proxy` there"
                f"{' with --block' if self._block else ''}"
            )
        if self._block and not self._audience.has_blocking_proxy:
            if self._monitor.connected:
                raise ConnectionError(f"{self.address} drops what is too much: start it with block=True (--block)")
            raise ConnectionError(f"nothing answers at {self.address}: start `bluesky-ext proxy --block` there")
        if not self._audience.listens:
            self._complaints("unheard", "%s", self._nobody())
        elif not self._audience.is_known:
            log.warning("%s is a plain proxy: who listens can't be known; waited %g s", self.address, self._settle)

    def _nobody(self) -> str:
        """Why nobody hears."""
        if self._monitor.refused is not None:
            return refusal(self._monitor.refused, self.address, self._curve)
        if not self._monitor.connected:
            return f"nothing answers at {self.address}: is the proxy running? Documents are lost until it is"
        others = self._audience.others
        if others:
            return f"{self.address}: nobody listens to prefix {self._prefix!r}, but there is who does to {others}"
        return f"{self.address}: nobody listens to prefix {self._prefix!r} yet; documents are lost until somebody does"

    def _hear(self) -> None:
        """Take note of who came and went."""
        listened = self._audience.listens
        self._audience.hear()
        for event in self._monitor.events():
            if event.kind == zmq.Event.DISCONNECTED:
                self._audience.forget()
        if listened and not self._audience.listens:
            gone = "the last listener left" if self._monitor.connected else "the connection was lost"
            if self._open:
                runs = ", ".join(sorted(self._open))
                self._broken = f"{self.address}: {gone} in the middle of run {runs}: replay it"
                log.warning("%s", self._broken)
                self._open.clear()
            else:
                log.info("%s: %s", self.address, gone)
        elif self._audience.listens and not listened:
            self._complaints.counts.pop("unheard", None)

    def _follow(self, name: str, doc: Mapping[str, Any]) -> None:
        """Keep in mind which runs are open, and raise if one has been broken meanwhile."""
        if self._broken and self._block:
            message, self._broken = self._broken, ""
            raise ConnectionError(message)
        if name == "start" and len(self._open) < 1000:
            self._open.add(str(doc.get("uid")))
        elif name == "stop":
            self._open.discard(str(doc.get("run_start")))

    def _wait_for_listener(self) -> None:
        end = time.monotonic() + self._patience
        while not self._audience.listens:
            if time.monotonic() > end:
                raise TimeoutError(f"{self._nobody()} (waited {self._patience:g} s)")
            self._poll(_SLICE)
            self._hear()

    def _poll(self, seconds: float) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._monitor.socket, zmq.POLLIN)
        poller.poll(round(max(0.0, seconds) * 1000))

    # Sending

    def _packed(self, name: str, doc: Mapping[str, Any]) -> list[Buffer]:
        header = b"%b %b " % (self._prefix, name.encode())
        # Parts only where a proxy of ours is, whatever was there when this was made.
        wire: Wire = self._wire if self._audience.has_our_proxy else "single"
        message = pack(header, doc, self._serializer, wire)
        nbytes = sum(map(len, message))
        if nbytes > self._max_bytes:
            raise ValueError(f"it has {nbytes} bytes: no more than max_bytes={self._max_bytes} are sent")
        return message

    def _send(self, message: list[Buffer]) -> bool:
        """Hand the parts to 0MQ; False if there is no room for them."""
        end = time.monotonic() + self._patience
        large = sum(len(part) for part in message if len(part) >= LARGE)
        while large and not self._may_queue(large):
            if not self._block:
                return False
            self._still(end)
            self._hear()
            self._follow("", {})
            with suppress(zmq.NotDone):
                self._pending[0][0].wait(_SLICE)
        *first, last = message
        for part, more in [*((part, zmq.SNDMORE) for part in first), (last, 0)]:
            while not self._hand_over(part, more):
                if not self._block:
                    return False
                self._hear()
                self._follow("", {})
                self._still(end)
        return True

    def _hand_over(self, part: Buffer, more: int) -> bool:
        flags = more | (0 if self._block else zmq.NOBLOCK)
        try:
            if len(part) < LARGE:
                self._socket.send(part, flags)
            else:
                tracker = self._socket.send(part, flags, copy=False, track=True)
                self._pending.append((tracker, len(part)))
                self._pending_bytes += len(part)
        except zmq.Again:
            return False
        return True

    def _still(self, end: float) -> None:
        if time.monotonic() > end:
            raise TimeoutError(f"{self.address} has taken nothing for {self._patience:g} s: a listener is stuck")

    def _may_queue(self, nbytes: int) -> bool:
        while self._pending and self._pending[0][0].done:
            self._pending_bytes -= self._pending.popleft()[1]
        return not self._pending or self._pending_bytes + nbytes <= self._max_queue


def _close(monitor: Monitor, socket: zmq.Socket[Any], context: zmq.Context[Any]) -> None:
    """Close the socket, giving what was sent the time of its linger."""
    monitor.close()
    socket.close()
    context.term()
