"""The thread of a dispatcher that takes messages from its socket and puts them into its queue."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import zmq

from bluesky_ext.engine.documents.complaints import Complaints
from bluesky_ext.engine.documents.stats import Stats
from bluesky_ext.transport.queue import DocumentQueue
from bluesky_ext.transport.signals import StopPipe
from bluesky_ext.transport.socket import Socket, poller
from bluesky_ext.transport.wire import ALL, LISTENER, MARK, NAMES, PROBES, READY

if TYPE_CHECKING:
    from bluesky.callbacks.zmq import ClientCurve

__all__ = ["Message", "Received", "Receiver"]

log = logging.getLogger(__name__)

_SETTLE = 1.0  # s, in which a proxy of ours answers
_TICK = 5.0  # s


@dataclass
class Received(Stats):
    """Counts of a dispatcher over all its runs; they only grow.

    Beside those of `bluesky_ext.engine.Stats`: the ``messages`` that came, and how many of them were ``foreign``
    (of another prefix), ``malformed``, of an ``unknown`` name, or ``dropped`` because the callbacks did not keep up;
    the ``pickles`` among the malformed; the runs ``joined`` in the middle, and those of them ``replayed`` from the
    store; the ``connections`` that were made. ``received`` counts documents, ``lost`` the events that never came.
    """

    messages: int = 0
    foreign: int = 0
    malformed: int = 0
    pickles: int = 0
    unknown: int = 0
    dropped: int = 0
    joined: int = 0
    replayed: int = 0
    connections: int = 0


class Message(NamedTuple):
    """A document as it came: its name, and its payload with the parts that may follow it."""

    name: str
    payload: Sequence[memoryview]


class Receiver(threading.Thread):
    """Takes messages from a proxy into a queue, and says what is odd about the connection.

    Parameters
    ----------
    queue : DocumentQueue of Message
        Where messages go.
    stats : Received
        Where they are counted.
    label : str
        What the proxy is told about who listens.
    address, prefix, curve, max_bytes, patience, high_water
        See `bluesky_ext.transport.RemoteDispatcher`.

    Attributes
    ----------
    failure : Exception or None
        Why it gave up, if it did.
    listening : threading.Event
        Set while the proxy knows what it wants.
    """

    def __init__(
        self,
        address: str,
        prefix: bytes,
        queue: DocumentQueue[Message],
        stats: Received,
        *,
        curve: ClientCurve | None,
        label: str,
        max_bytes: int,
        patience: float,
        high_water: int,
    ) -> None:
        super().__init__(name=f"receiver of {address}", daemon=True)
        self.failure: Exception | None = None
        self.listening = threading.Event()
        self._question = b""
        self._asked = 0.0
        self._address = address
        self._prefix = prefix
        self._queue = queue
        self._stats = stats
        self._patience = patience
        self._complaints = Complaints(log)
        self._stopping = StopPipe()
        self._others: set[bytes] = set()
        self._others_since = float("inf")
        self._unanswered_since = time.monotonic()
        self._probing = False
        self._socket = Socket(zmq.SUB, max_bytes)
        try:
            self._socket.zmq.rcvhwm = high_water
            self._socket.set_keys(curve)
        except BaseException:
            self.close()
            raise
        self._socket.zmq.subscribe(LISTENER + label.encode())
        self._socket.zmq.subscribe(prefix + b" " if prefix else ALL)
        self._probe(True)
        self._probing = bool(prefix)

    def run(self) -> None:
        """Take messages until it is stopped, or the queue is closed."""
        try:
            self._socket.connect(self._address)
            self._unanswered_since = time.monotonic()
            self._take_all()
        except Exception as error:
            self.failure = error
        finally:
            self.listening.clear()
            self._queue.close()
            self._socket.close()

    def stop(self) -> None:
        """Have it take no more messages, from any thread or signal handler."""
        self._stopping.set()
        self._queue.close()

    def close(self) -> None:
        """Give everything back, once it has ended or if it was never started."""
        if self.is_alive():
            self.stop()
            self.join()
        self._stopping.close()
        self._socket.close()

    def _take_all(self) -> None:
        sources = poller(self._socket, self._stopping.fd)
        while not self._stopping.is_set:
            ready = dict(sources.poll(round(min(self._patience, _SETTLE if self._question else _TICK) * 250)))
            self._note_events()
            if self._socket.zmq in ready:
                for _ in range(100):
                    try:
                        parts = self._socket.zmq.recv_multipart(zmq.NOBLOCK, copy=False)
                    except zmq.Again:
                        break
                    if parts[0].buffer[: len(MARK)] == MARK:
                        self._note_answer(parts[0].bytes)
                        continue
                    self._take([part.buffer for part in parts])
                    if self._stopping.is_set:
                        return
            self._look_around()

    def _take(self, parts: Sequence[memoryview]) -> None:
        self._stats.messages += 1
        first = parts[0]
        head = bytes(first[:300])
        try:
            prefix, name, _ = head.split(b" ", 2)
        except ValueError:
            self._stats.malformed += 1
            self._complaints("malformed", "%s: a message that is no document came: %r", self._address, head[:40])
            return
        if self._prefix and prefix != self._prefix:
            self._stats.foreign += 1
            self._note_other(prefix)
            return
        if self._probing:
            self._probe(False)
        if name not in NAMES:
            self._stats.unknown += 1
            self._complaints("unknown", "%s: there are no documents named %r: it is left out", self._address, name[:40])
            return
        message = Message(NAMES[name], [first[len(prefix) + len(name) + 2 :], *parts[1:]])
        if not self._queue.put(message.name, message, sum(map(len, parts))) and not self._stopping.is_set:
            self._stats.dropped += 1
            self._complaints(
                "dropped", "%s: the callbacks do not keep up: documents are dropped, and counted", self._address
            )

    # What is odd

    def _note_other(self, prefix: bytes) -> None:
        if not self._probing:
            return
        self._others.add(prefix[:40])
        self._others_since = min(self._others_since, time.monotonic())
        if len(self._others) > 10:
            self._others.pop()

    def _look_around(self) -> None:
        now = time.monotonic()
        if self._question and now - self._asked > _SETTLE:
            log.info("%s: the proxy does not say whether it knows what is wanted: taken for granted", self._address)
            self._note_answer(self._question)
        if now - self._others_since > self._patience:
            log.warning(
                "%s: documents come with prefix %s, but none with %r, which was asked for",
                *(self._address, " or ".join(map(repr, sorted(self._others))), self._prefix),
            )
            self._probe(False)
        if now - self._unanswered_since > self._patience:
            self._unanswered_since = float("inf")
            self._complaints("nobody", "nothing answers at %s: is the proxy running? It is tried again", self._address)

    def _ask(self) -> None:
        """Have the proxy say that it has heard all that is wanted, which it does if it is one of ours."""
        self._question = READY + uuid.uuid4().hex.encode()
        self._asked = time.monotonic()
        self._socket.zmq.subscribe(self._question)

    def _note_answer(self, message: bytes) -> None:
        if message == self._question:
            self._socket.zmq.unsubscribe(message)
            self._question = b""
            self.listening.set()
            log.info("listening at %s", self._address)

    def _probe(self, on: bool) -> None:
        """Begin or end to take documents of any prefix, to say so if the wrong one was asked for."""
        self._probing = on
        self._others_since = float("inf")
        for topic in PROBES:
            self._socket.zmq.subscribe(topic) if on else self._socket.zmq.unsubscribe(topic)

    def _note_events(self) -> None:
        for event in self._socket.events():
            if event == zmq.Event.HANDSHAKE_SUCCEEDED:
                log.info("connected to %s", self._address)
                self._stats.connections += 1
                self._unanswered_since = float("inf")
                self._ask()
            elif event == zmq.Event.DISCONNECTED and self._unanswered_since == float("inf"):
                log.warning("%s went away: until it is back, documents are lost", self._address)
                self._unanswered_since = time.monotonic()
                self._question = b""
                self.listening.clear()
        if self._socket.refused is not None:
            reason = self._socket.refusal(self._address)
            if not self._stats.connections:
                raise ConnectionError(reason)
            self._complaints("refused", "%s", reason)
