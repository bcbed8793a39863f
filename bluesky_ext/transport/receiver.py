"""The thread of a dispatcher that takes messages from its socket and puts them into its queue."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import zmq
from event_model import DocumentNames

from bluesky_ext.engine.documents.complaints import Complaints
from bluesky_ext.engine.documents.stats import Stats
from bluesky_ext.transport.queue import DocumentQueue
from bluesky_ext.transport.socket import Socket, wait_for
from bluesky_ext.transport.stops import Again
from bluesky_ext.transport.wire import AGAIN, ALL, ECHO, MARK

log = logging.getLogger(__name__)

_NAMES = {name.name.encode(): name.name for name in DocumentNames}

_SETTLE = 1.0  # s, in which a proxy of ours answers
WARN_AFTER = 5.0  # s, in which nobody answers
_NEVER = float("inf")
_SAID = 1000


@dataclass
class Received(Stats):
    """Counts of a dispatcher over all its runs; they only grow.

    Beside those of `bluesky_ext.engine.Stats`: the ``messages`` that came, and how many of them were ``malformed``,
    ``refused`` (beyond the limits, or of files that may not be read), of an ``unknown`` name, or ``dropped``, since the
    callbacks did not keep up or the dispatcher was stopped; the ``pickles`` among the malformed; the runs ``joined`` in
    the middle, and those ``replayed`` from the store; the ``connections`` that were made. ``received`` counts the
    documents that came, without those of the store, ``lost`` the events that never came.
    """

    kind: ClassVar[str] = "dispatcher"

    messages: int = 0
    malformed: int = 0
    refused: int = 0
    pickles: int = 0
    unknown: int = 0
    dropped: int = 0
    joined: int = 0
    replayed: int = 0
    connections: int = 0


#: A document as it came: its name, its payload, and, if it is a stop document that was said again, whether its run must
#: have come.
Message: TypeAlias = tuple[str, memoryview, bool | None]


@dataclass(eq=False, repr=False)
class Receiver(threading.Thread):
    """Takes messages from a proxy into a queue, and says what is odd about the connection.

    ``failure`` is why it gave up, if it did; ``listening`` is set while the proxy knows what it wants.
    """

    socket: Socket
    address: str
    prefix: bytes
    queue: DocumentQueue[Message]
    stats: Received

    def __post_init__(self) -> None:
        super().__init__(name=f"receiver of {self.address}", daemon=True)
        self.failure: Exception | None = None
        self.listening = threading.Event()
        self._complaints = Complaints(log)
        self._stopping = False
        self._question = b""
        self._answer_by = _NEVER  # when to take the proxy's answer for granted
        self._nobody_at = _NEVER  # when to say that nobody answers
        ends = b" " if self.prefix else b""
        self._joined = b"", 0  # the proxy, and which stop document was the last there when this listened
        self._said: dict[tuple[bytes, int], None] = {}  # the stop documents that were said again
        documents = [self.prefix + ends] if self.prefix else ALL
        for topic in (*documents, AGAIN + self.prefix + ends):
            self.socket.zmq.subscribe(topic)

    def run(self) -> None:
        """Take messages until it is stopped."""
        try:
            self._nobody_at = time.monotonic() + WARN_AFTER
            self.socket.open(self.address)
            while not self._stopping:
                wait_for(self.socket)
                self._take_events()
                for frames in self.socket.messages(100):
                    if frames[0].buffer[: len(MARK)] == MARK:
                        self._take_answer(frames[0].bytes)
                    elif frames[0].buffer[: len(AGAIN)] == AGAIN:
                        self._take_again(Again.of(frames[0].bytes))
                    else:
                        self._take([frame.buffer for frame in frames])
                    if self._stopping:
                        break
                self._look_at_the_clock()
        except Exception as error:
            self.failure = error
        finally:
            self.listening.clear()
            self.queue.close()
            self.socket.close()

    def stop(self) -> None:
        """Have it take no more messages, from any thread or signal handler."""
        self._stopping = True
        self.queue.close()

    def close(self) -> None:
        """Give everything back, once it has ended or if it was never started."""
        if self.is_alive():
            self.stop()
            self.join()
        self.socket.close()

    def _take(self, parts: list[memoryview]) -> None:
        self.stats.messages += 1
        first = parts[0]
        head = bytes(first[:300])
        prefix, _, rest = head.partition(b" ")
        name, space, _ = rest.partition(b" ")
        if not space or len(parts) > 1:
            self.stats.malformed += 1
            self._complaints("malformed", "%s: a message that is no document came: %r", self.address, head[:40])
            return
        if name not in _NAMES:
            self.stats.unknown += 1
            self._complaints("unknown", "%s: there are no documents named %r: it is left out", self.address, name[:40])
            return
        payload = first[len(prefix) + len(name) + 2 :]
        if not self.queue.put(_NAMES[name], (_NAMES[name], payload, None), len(first)):
            self.stats.dropped += 1
            why = "it was stopped" if self._stopping else "the callbacks do not keep up"
            self._complaints("dropped", "%s: %s: documents are dropped, and counted", self.address, why)

    def _take_events(self) -> None:
        for event in self.socket.events():
            if event == zmq.Event.HANDSHAKE_SUCCEEDED:
                log.info("connected to %s", self.address)
                self.stats.connections += 1
                self._nobody_at = _NEVER
                # A proxy of ours answers when it knows all that was subscribed to before.
                self._question = ECHO + uuid.uuid4().hex.encode()
                self._answer_by = time.monotonic() + _SETTLE
                self.socket.zmq.subscribe(self._question)
            elif event == zmq.Event.DISCONNECTED and self._nobody_at == _NEVER:
                log.warning("%s went away: until it is back, documents are lost", self.address)
                self._nobody_at = time.monotonic() + WARN_AFTER
                self._question, self._answer_by = b"", _NEVER
                self.listening.clear()
        if self.socket.refused is not None:
            reason = self.socket.refusal(self.address)
            if not self.stats.connections:
                raise ConnectionError(reason)
            self._complaints("refused", "%s", reason)

    def _take_again(self, again: Again | None) -> None:
        """Take a stop document that is said again, once: behind the documents of its run."""
        if again is None or (again.proxy, again.number) in self._said:
            return
        self._said[again.proxy, again.number] = None
        if len(self._said) > _SAID:
            del self._said[next(iter(self._said))]
        proxy, last = self._joined
        is_due = again.proxy == proxy and again.number > last
        self.queue.put("stop", ("stop", memoryview(again.payload), is_due), len(again.payload))

    def _take_answer(self, message: bytes) -> None:
        question, *about = message.rsplit(b" ", 2)
        if not self._question or self._question not in (message, question):
            return
        if question == self._question and about[1].isdigit() and about[0] != self._joined[0]:
            self._joined = about[0], int(about[1])
        self.socket.zmq.unsubscribe(self._question)
        self._question = b""
        self._answer_by = _NEVER
        self.listening.set()
        log.info("listening at %s", self.address)

    def _look_at_the_clock(self) -> None:
        now = time.monotonic()
        if now > self._answer_by:
            log.info("%s: the proxy does not say whether it knows what is wanted: taken for granted", self.address)
            self._take_answer(self._question)
        if now > self._nobody_at:
            self._nobody_at = _NEVER
            self._complaints("nobody", "nothing answers at %s: is the proxy running? It is tried again", self.address)
