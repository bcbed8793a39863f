"""The end that sends: a callback that publishes documents to a proxy."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, Self

import zmq

from bluesky_ext.engine.documents.complaints import Complaints, OnError, check_on_error
from bluesky_ext.engine.documents.open_runs import plain_name
from bluesky_ext.transport.address import Address, connect_address
from bluesky_ext.transport.listeners import Listeners
from bluesky_ext.transport.queue import MANY
from bluesky_ext.transport.sender import Published, Sender
from bluesky_ext.transport.socket import SLICE, Socket
from bluesky_ext.transport.topics import BLOCKING
from bluesky_ext.transport.wire import MAX_BYTES, Serializer, check_prefix, pack, serializer_of

if TYPE_CHECKING:
    from bluesky.callbacks.zmq import ClientCurve
    from event_model import DocumentNames

log = logging.getLogger(__name__)


class Publisher:
    """A callback that publishes documents to a 0MQ proxy, for `RemoteDispatcher` or Bluesky's own.

    With our `Proxy` it knows its listeners: it waits for the first of them when it is made, and says when there are
    none. With a plain proxy, of which the listeners can't be known, it waits a moment instead.

    Parameters
    ----------
    address, port : str, tuple or int
        Where a running proxy takes documents: ``"localhost:5567"``, ``("localhost", 5567)``, ``"localhost", 5567``,
        ``"ipc:///tmp/socket"``, a port of this machine.
    prefix : bytes
        What tells the documents of this publisher from those of others. It has no space in it.
    serializer : {"msgpack", "pickle"} or callable
        How documents become bytes: the first is `bluesky_ext.transport.dumps`, which Bluesky's ``RemoteDispatcher``
        reads with ``deserializer=loads``.
    curve_config : bluesky.callbacks.zmq.ClientCurve, optional
        The keys, if the proxy has some.
    block, patience : bool and float
        Wait when the proxy or a listener does not keep up, instead of dropping documents, and give up after so many
        seconds without progress: for a replay, not for a scan. This needs a `Proxy` that blocks too.
    wire : {"single", "multipart"}
        "multipart" sends arrays as parts of their own, which saves copying them: they must not change after the
        call. It needs our `Proxy`, and none but our `RemoteDispatcher` behind it.
    wait, settle : float
        How long to wait for the first listener when it is made, and when there is a plain proxy, in s.
    on_error : {"log", "raise"}, optional
        What to do with a document that can't be put into bytes: raise if it blocks, else log it, unless given.
    max_bytes : int
        The largest document that is sent.
    max_queue, high_water : int, optional
        The most bytes of documents with images, and documents (1000, or 100 if it blocks), that wait to be sent.
    linger : float, optional
        How long `close` waits until all has been sent, in s: 2, or `patience` without progress if it blocks.

    Attributes
    ----------
    stats : Published
        How many documents were sent, and how many were not.

    Raises
    ------
    ConnectionError
        When it is made: the keys are wrong, or it blocks and there is no proxy. If it blocks, when it is called: the
        connection was lost, or the last listener left, in the middle of a run, which has to be replayed; when it is
        closed: not all has arrived at the proxy, or a listener was left out.
    TimeoutError
        If it blocks, when it is called: nothing moved for `patience`.

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
        wire: Literal["single", "multipart"] = "single",
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
        for name, number in (("wait", wait), ("settle", settle), ("patience", patience), ("linger", linger or 0)):
            if not number >= 0:
                raise ValueError(f"{name}={number!r}: give a time of 0 s or more")
        self.stats = Published()
        self.raises = check_on_error(on_error or ("raise" if block else "log")) == "raise"
        self._prefix = check_prefix(prefix)
        self._serializer = serializer_of(serializer, self.address)
        if wire not in ("single", "multipart"):
            raise ValueError(f"wire={wire!r}: give 'single' or 'multipart'")
        if wire == "multipart" and self._serializer is not None:
            raise ValueError(f"wire='multipart' with serializer={serializer!r}: only 'msgpack' keeps arrays apart")
        self._multipart = wire == "multipart"
        self._patience = patience if block else None
        self._max_bytes = max_bytes
        self._complaints = Complaints(log)
        self._open: set[str] = set()  # runs
        self._socket = socket = Socket(zmq.XPUB)
        self._listeners = Listeners(socket, self.address, prefix)
        if linger is None:
            linger = patience if block else 2.0
        self._sender = Sender(
            *(socket, self._listeners, self.address, self.stats),
            patience=self._patience,
            max_queue=max_queue,
            linger=linger,
        )
        # At exit too, since what was sent last would die with the thread of 0MQ that sends it.
        self._finalize = weakref.finalize(self, self._sender.close)
        try:
            socket.zmq.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
            socket.zmq.sndhwm = high_water or (100 if block else 1000)
            socket.zmq.sndtimeo = round(SLICE * 1000)
            socket.zmq.setsockopt(zmq.XPUB_NODROP, 1)  # so that one knows: without, 0MQ drops in silence
            socket.zmq.setsockopt(zmq.IMMEDIATE, 1)  # so that subscriptions go with the connection
            socket.set_keys(curve_config)
            socket.connect(self.address)
            self._wait_for_the_first(wait, settle)
        except BaseException:
            self._sender.linger = 0.0
            self._finalize()
            raise

    def __call__(self, name: str | DocumentNames, doc: Mapping[str, Any]) -> None:
        """Send a document."""
        name = plain_name(name)
        with self._sender.lock:
            if not self._finalize.alive:
                raise RuntimeError(f"the publisher to {self.address} has been closed: make a new one")
            self._check_runs()
            if name == "start" and len(self._open) < 1000:
                self._open.add(str(doc.get("uid")))
            elif name == "stop":
                self._open.discard(str(doc.get("run_start")))
            if not self._has_listener():
                self.stats.unheard += 1
                self._complaints("unheard", "%s", self._why_nobody())
                return
            self._complaints.counts.pop("unheard", None)
            try:
                multipart = self._multipart and self._listeners.has_our_proxy  # whatever was there when this was made
                message = pack(b"%b %b " % (self._prefix, name.encode()), doc, self._serializer, multipart)
                if (nbytes := sum(map(len, message))) > self._max_bytes:
                    raise ValueError(f"it has {nbytes} bytes: no more than max_bytes={self._max_bytes} are sent")
            except Exception as error:  # whatever a serializer raises: the scan goes on
                self.stats.failed += 1
                if self.raises:
                    raise
                self._complaints(f"{name} {type(error).__name__}", "%s: a document %r: %s", self.address, name, error)
                return
            if not self._sender.send(message, keep=name not in MANY, meanwhile=self._check_runs):
                self._complaints("dropped", "%s does not keep up: documents are dropped, and counted", self.address)

    def close(self, linger: float | None = None) -> None:
        """Send what is waiting for as long as it was made for, or ``linger`` seconds, and close the connection.

        It does nothing if that has been done.
        """
        with self._sender.lock:
            if not self._finalize.alive:
                return
            with suppress(ConnectionError):  # which has been logged
                self._check_runs()
            if linger is not None:
                self._sender.linger = linger
        arrived = self._finalize()
        stats = self.stats
        if stats.unheard or stats.dropped or stats.failed:
            log.warning(
                "%s: %d documents were sent; nobody listened to %d, there was no room for %d, %d failed",
                *(self.address, stats.sent, stats.unheard, stats.dropped, stats.failed),
            )
        if self._patience is not None and not arrived:
            raise ConnectionError(f"{self.address}: the last documents did not arrive: replay the last run")
        if self._patience is not None and self._listeners.stalls:
            message = "a listener took nothing for too long, and lost documents: replay the runs for it"
            raise ConnectionError(f"{self.address}: {message}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *exc_info: object) -> None:
        # After a failure (or Ctrl-C) nobody wants to wait for what a stuck proxy does not take, nor to hear of it.
        with suppress(*() if kind is None else (ConnectionError,)):
            self.close(None if kind is None else min(self._sender.linger, 2.0))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address!r}, prefix={self._prefix!r})"

    def _wait_for_the_first(self, wait: float, settle: float) -> None:
        """Wait until the first listener is there, or until it is clear that one can't know."""
        listeners, end, settling = self._listeners, time.monotonic() + wait, False
        while not listeners.known and (left := end - time.monotonic()) > 0:
            listeners.wait(min(left, SLICE))
            if self._socket.refused is not None:
                raise ConnectionError(self._socket.refusal(self.address))
            if listeners.present and not settling:
                settling, end = True, time.monotonic() + settle
        block = self._patience is not None
        needs = "block=True" if block else "wire='multipart'" if self._multipart else ""
        command = f"`bluesky-ext proxy{' --block' if block else ''}`"
        if listeners.topics and needs and not listeners.has_our_proxy:
            raise ConnectionError(f"{self.address} is a plain proxy, which does not do {needs}: start {command} there")
        if block and not self._socket.connected:
            raise ConnectionError(f"nothing answers at {self.address}: start {command} there")
        if block and BLOCKING not in listeners.topics:
            raise ConnectionError(f"{self.address} drops what is too much: start it with block=True (--block)")
        if not listeners.present:
            self._complaints("unheard", "%s", self._why_nobody())
        elif not listeners.known:
            log.warning("%s is a plain proxy: who listens can't be known; waited %g s", self.address, settle)

    def _has_listener(self) -> bool:
        """Whether to send what comes; if it blocks, it waits for a listener."""
        if self._patience is None:
            return self._listeners.present
        end = time.monotonic() + self._patience
        while not self._listeners.present:
            if time.monotonic() > end:
                raise TimeoutError(f"{self._why_nobody()} (waited {self._patience:g} s)")
            self._listeners.wait(SLICE)
        return True

    def _why_nobody(self) -> str:
        """Why there is nobody to send to."""
        if self._socket.refused is not None:
            return self._socket.refusal(self.address)
        if not self._socket.connected:
            return f"nothing answers at {self.address}: is the proxy running? Documents are lost until it is"
        others = self._listeners.other_prefixes
        rest = f", but there is who does to {others}" if others else " yet; documents are lost until somebody does"
        return f"{self.address}: nobody listens to prefix {self._prefix!r}{rest}"

    def _check_runs(self) -> None:
        """Say which runs are broken, since their listeners went away; if it blocks, raise that."""
        self._listeners.update()
        lost, self._listeners.lost = self._listeners.lost, ""
        if lost and self._open:
            runs = ", ".join(sorted(self._open))
            self._open.clear()
            message = f"{self.address}: {lost} in the middle of run {runs}: replay it"
            log.warning("%s", message)
            if self._patience is not None:
                raise ConnectionError(message)
