"""The end that sends: a callback that publishes documents to a proxy."""

from __future__ import annotations

import logging
import pickle
import weakref
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from bluesky_ext.engine.codec.documents import dumps
from bluesky_ext.engine.documents.complaints import OnError, check_on_error
from bluesky_ext.engine.documents.open_runs import plain_name
from bluesky_ext.transport.address import Address, connect_address
from bluesky_ext.transport.connection import Connection
from bluesky_ext.transport.queue import MANY
from bluesky_ext.transport.wire import MAX_BYTES, Serializer, check_prefix, codec_of, pack

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
        self.raises = check_on_error(on_error or ("raise" if block else "log")) == "raise"
        self._prefix = check_prefix(prefix)
        self._serializer = codec_of(serializer, dumps, pickle.dumps, self.address)
        self._blocks = block
        self._max_bytes = max_bytes
        self._connection = connection = Connection(
            *(self.address, prefix, curve_config),
            patience=patience if block else None,
            max_queue=max_queue,
            high_water=high_water or (100 if block else 1000),
            linger=linger if linger is not None else patience if block else 2.0,
            wait=wait,
            settle=settle,
        )
        self.stats = connection.stats
        # At exit too, since what was sent last would die with the thread of 0MQ that sends it.
        self._finalize = weakref.finalize(self, connection.close)

    def __call__(self, name: str | DocumentNames, doc: Mapping[str, Any]) -> None:
        """Send a document."""
        name = plain_name(name)
        connection, complaints = self._connection, self._connection.complaints
        with connection.lock:
            if not self._finalize.alive:
                raise RuntimeError(f"the publisher to {self.address} has been closed: make a new one")
            connection.update()
            if name == "start":
                connection.runs.begin(str(doc.get("uid")))
            is_heard = connection.wait_for_listener()
            if is_heard:
                complaints.counts.pop("unheard", None)
                connection.say_stops()
            else:
                self.stats.unheard += 1
                complaints("unheard", "%s", connection.why_nobody())
                if name != "stop":
                    return
            try:
                message = pack(b"%b %b " % (self._prefix, name.encode()), doc, self._serializer)
                if len(message) > self._max_bytes:
                    raise ValueError(f"it has {len(message)} bytes: no more than max_bytes={self._max_bytes} are sent")
            except Exception as error:  # whatever a serializer raises: the scan goes on
                self.stats.failed += is_heard
                if self.raises:
                    raise
                complaints(f"{name} {type(error).__name__}", "%s: a document %r: %s", self.address, name, error)
                return
            if name == "stop":
                connection.runs.end(str(doc.get("run_start")), message.split(b" ", 2)[2], is_heard=is_heard)
            if is_heard:
                connection.send(message, keep=name not in MANY)

    def close(self, linger: float | None = None) -> None:
        """Send what is waiting for as long as it was made for, or ``linger`` seconds, and close the connection.

        It does nothing if that has been done.
        """
        if not self._finalize.alive:
            return
        if linger is not None:
            self._connection.linger = linger
        arrived = self._finalize()
        stats = self.stats
        if stats.unheard or stats.dropped or stats.failed:
            log.warning(
                "%s: %d documents were sent; nobody listened to %d, there was no room for %d, %d failed",
                *(self.address, stats.sent, stats.unheard, stats.dropped, stats.failed),
            )
        if self._blocks and not arrived:
            raise ConnectionError(f"{self.address}: the last documents did not arrive: replay the last run")
        if self._blocks and self._connection.stalls:
            message = "a listener took nothing for too long, and lost documents: replay the runs for it"
            raise ConnectionError(f"{self.address}: {message}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *exc_info: object) -> None:
        # After a failure (or Ctrl-C) nobody wants to wait for what a stuck proxy does not take, nor to hear of it.
        with suppress(*() if kind is None else (ConnectionError,)):
            self.close(None if kind is None else min(self._connection.linger, 2.0))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address!r}, prefix={self._prefix!r})"
