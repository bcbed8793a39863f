"""The end that sends: a callback that publishes documents to a proxy."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from bluesky_ext.engine.codec.framing import Buffer
from bluesky_ext.engine.documents.complaints import Complaints, OnError, check_on_error
from bluesky_ext.engine.documents.validation import plain_name
from bluesky_ext.transport.address import Address, connect_address
from bluesky_ext.transport.queue import MANY
from bluesky_ext.transport.sender import Published, Sender
from bluesky_ext.transport.socket import SLICE
from bluesky_ext.transport.wire import (
    BLOCKING,
    MAX_BYTES,
    Serializer,
    Wire,
    check_prefix,
    check_serializer,
    check_wire,
    pack,
)

if TYPE_CHECKING:
    from bluesky.callbacks.zmq import ClientCurve
    from event_model import DocumentNames

__all__ = ["Publisher"]

log = logging.getLogger(__name__)

_STALLED = "a listener took nothing for too long, and lost documents"


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
    block : bool
        Wait when the proxy or a listener does not keep up, instead of dropping documents: for a replay, not for a
        scan. This needs a `Proxy` that blocks too.
    wire : {"single", "multipart"}
        "multipart" sends arrays as parts of their own, which saves copying them: they must not change after the
        call. It needs our `Proxy`, and none but our `RemoteDispatcher` behind it.
    wait, settle : float
        How long to wait for the first listener when it is made, and when there is a plain proxy, in s.
    patience : float
        With ``block``, give up after so many seconds without progress.
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
        When it is made: the CURVE keys are wrong, or it blocks and there is no proxy. When it blocks and is called: the
        connection was lost, or the last listener left, in the middle of a run, which has to be replayed. When it
        blocks and is closed: not all has arrived at the proxy, or a listener was left out.
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
        for name, number in (("wait", wait), ("settle", settle), ("patience", patience), ("linger", linger or 0)):
            if not number >= 0:
                raise ValueError(f"{name}={number!r}: give a time of 0 s or more")
        self.stats = Published()
        self._prefix = check_prefix(prefix)
        self._serializer: Serializer = check_serializer(serializer, self.address)
        self._block = block
        self._wire: Wire = check_wire(wire, serializer)
        self._settle = settle
        self._patience = patience
        self._raises = check_on_error(on_error or ("raise" if block else "log")) == "raise"
        self._max_bytes = max_bytes
        self._complaints = Complaints(log)
        self._open: set[str] = set()
        self._heard = (False, 0, 0)
        self._broken = ""
        self._sender = Sender(
            self.address,
            prefix + b" ",
            self.stats,
            curve=curve_config,
            block=block,
            patience=patience,
            high_water=high_water or (100 if block else 1000),
            max_queue=max_queue,
            linger=linger if linger is not None else patience if block else 2.0,
        )
        # At exit too, since what was sent last would die with the thread of 0MQ that sends it.
        self._finalize = weakref.finalize(self, self._sender.close)
        try:
            self._sender.socket.connect(self.address)
            self._meet(wait)
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
            self._look_up()
            if name == "start" and len(self._open) < 1000:
                self._open.add(str(doc.get("uid")))
            elif name == "stop":
                self._open.discard(str(doc.get("run_start")))
            if self._block:
                self._wait_for_listener()
            elif not self._sender.listens:
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
            if not self._sender.send(message, keep=name not in MANY, meanwhile=self._look_up):
                self._complaints("dropped", "%s does not keep up: documents are dropped, and counted", self.address)

    def close(self, linger: float | None = None) -> None:
        """Send what is waiting, and close the connection; nothing if that has been done.

        Parameters
        ----------
        linger : float, optional
            How long to try that, in s, if not as long as it was made for.
        """
        with self._sender.lock:
            if not self._finalize.alive:
                return
            self._hear()
            if linger is not None:
                self._sender.linger = linger
        left = self._finalize()
        stats = self.stats
        if stats.unheard or stats.dropped or stats.failed:
            log.warning(
                "%s: %d documents were sent; nobody listened to %d, there was no room for %d, %d failed",
                *(self.address, stats.sent, stats.unheard, stats.dropped, stats.failed),
            )
        if self._block and not left:
            raise ConnectionError(f"{self.address}: the last documents did not arrive: replay the last run")
        if self._block and self._sender.stalls:
            raise ConnectionError(f"{self.address}: {_STALLED}: replay the runs for it")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *exc_info: object) -> None:
        # After a failure (or Ctrl-C) nobody wants to wait for what a stuck proxy does not take, nor to hear of it.
        with suppress(*() if kind is None else (ConnectionError,)):
            self.close(None if kind is None else min(self._sender.linger, 2.0))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address!r}, prefix={self._prefix!r})"

    # Who listens

    def _meet(self, wait: float) -> None:
        """Wait until the first listener is there, or until it is clear that one can't know."""
        sender, end, found = self._sender, time.monotonic() + wait, False
        while not sender.is_known:
            self._hear()
            if sender.socket.refused is not None:
                raise ConnectionError(sender.socket.refusal(self.address))
            if sender.listens and not found:
                found, end = True, time.monotonic() + self._settle
            if sender.is_known or time.monotonic() >= end:
                break
            sender.poll(min(end - time.monotonic(), SLICE))
        needs = "block=True" if self._block else "wire='multipart'" if self._wire == "multipart" else ""
        command = f"`bluesky-ext proxy{' --block' if self._block else ''}`"
        if sender.topics and needs and not sender.has_our_proxy:
            raise ConnectionError(f"{self.address} is a plain proxy, which does not do {needs}: start {command} there")
        if self._block and not sender.socket.connected:
            raise ConnectionError(f"nothing answers at {self.address}: start {command} there")
        if self._block and BLOCKING not in sender.topics:
            raise ConnectionError(f"{self.address} drops what is too much: start it with block=True (--block)")
        if not sender.listens:
            self._complaints("unheard", "%s", self._nobody())
        elif not sender.is_known:
            log.warning("%s is a plain proxy: who listens can't be known; waited %g s", self.address, self._settle)

    def _nobody(self) -> str:
        """Why there is nobody to send to."""
        if self._sender.socket.refused is not None:
            return self._sender.socket.refusal(self.address)
        if not self._sender.socket.connected:
            return f"nothing answers at {self.address}: is the proxy running? Documents are lost until it is"
        others = self._sender.other_prefixes
        rest = f", but there is who does to {others}" if others else " yet; documents are lost until somebody does"
        return f"{self.address}: nobody listens to prefix {self._prefix!r}{rest}"

    def _hear(self) -> None:
        """Take note of listeners that came and went, and of runs that are broken since they went."""
        self._sender.hear()
        listened, breaks, stalls = self._heard
        self._heard = self._sender.listens, self._sender.breaks, self._sender.stalls
        if self._sender.stalls > stalls:
            self._complaints("stalled", "%s: %s", self.address, _STALLED)
        if listened and (self._sender.breaks > breaks or not self._sender.listens):
            gone = "the last listener left" if self._sender.topics else "the connection was lost"
            if self._open:
                runs = ", ".join(sorted(self._open))
                self._broken = f"{self.address}: {gone} in the middle of run {runs}: replay it"
                log.warning("%s", self._broken)
                self._open.clear()
        if self._sender.listens and not listened:
            self._complaints.counts.pop("unheard", None)

    def _wait_for_listener(self) -> None:
        end = time.monotonic() + self._patience
        while not self._sender.listens:
            if time.monotonic() > end:
                raise TimeoutError(f"{self._nobody()} (waited {self._patience:g} s)")
            self._sender.poll(SLICE)
            self._hear()

    def _look_up(self) -> None:
        """Raise if there is nobody to wait for any more."""
        self._hear()
        broken, self._broken = self._broken, ""
        if broken and self._block:
            raise ConnectionError(broken)

    # Sending

    def _packed(self, name: str, doc: Mapping[str, Any]) -> list[Buffer]:
        header = b"%b %b " % (self._prefix, name.encode())
        wire: Wire = self._wire if self._sender.has_our_proxy else "single"  # whatever was there when this was made
        message = pack(header, doc, self._serializer, wire)
        if (nbytes := sum(map(len, message))) > self._max_bytes:
            raise ValueError(f"it has {nbytes} bytes: no more than max_bytes={self._max_bytes} are sent")
        return message
