"""The listeners of a publisher, as far as the subscriptions that come from its proxy tell of them."""

from __future__ import annotations

import logging
import time

import zmq

from bluesky_ext.engine.documents.complaints import Complaints
from bluesky_ext.transport.socket import Socket, poller
from bluesky_ext.transport.topics import ALL, MARK, PASSING, PROXY, STALLED

log = logging.getLogger(__name__)


class Listeners:
    """The listeners to one prefix at a proxy, as they were when `update` was called last.

    ``topics`` are the beginnings of the messages that somebody wants; some are ``present``, or may be: behind a plain
    proxy one can't know. ``lost`` is how the last of them went away, if they did since somebody set it to "". They
    count the ``breaks`` of the connection, and the ``stalls`` in which the proxy went on without a listener that took
    nothing; it ``moved`` when it said last that it passes on documents. It has answered a ``question`` that is empty.
    """

    def __init__(self, socket: Socket, address: str, prefix: bytes) -> None:
        self.topics: set[bytes] = set()
        self.present = False
        self.lost = ""
        self.breaks = self.stalls = 0
        self.moved = 0.0
        self.question = b""
        self._wanted = False
        self._socket = socket
        self._poller = poller(socket)
        self._address = address
        self._header = prefix + b" "
        self._complaints = Complaints(log)

    @property
    def known(self) -> bool:
        """Whether there is a listener beyond doubt."""
        # A plain proxy subscribes to everything. Ours does it only if a listener does.
        return self.present and (self.has_our_proxy or any(topic and self._wants(topic) for topic in self.topics))

    @property
    def has_our_proxy(self) -> bool:
        """Whether the proxy is one of ours, which passes on what its listeners want."""
        return PROXY in self.topics

    @property
    def other_prefixes(self) -> list[bytes]:
        """The prefixes that are listened to, other than ours."""
        topics = [topic for topic in self.topics if len(topic) > 1 and topic[:1] != MARK[:1]]
        return sorted({topic.split(b" ")[0] for topic in topics if not self._wants(topic)})

    def wait(self, seconds: float) -> None:
        """Wait until there is something new about them, or so many seconds, and take note of it."""
        self._poller.poll(round(max(0.0, seconds) * 1000))
        self.update()

    def update(self) -> None:
        """Take note of the subscriptions that have come in, and of what happened to the connection."""
        before, breaks = self.present, self.breaks
        self.breaks += list(self._socket.events()).count(zmq.Event.DISCONNECTED)
        self._take_subscriptions()
        if self.breaks > breaks:
            # 0MQ takes back the subscriptions of a connection that ended, and gives those of the next, step by step.
            for _ in range(5):
                self._socket.zmq.poll(10)
                self._take_subscriptions()
        self.present = self._wanted and self._socket.connected
        if before and (self.breaks > breaks or not self.present):
            self.lost = "the last listener left" if self.topics else "the connection was lost"

    def _take_subscriptions(self) -> None:
        changed = False
        for wants, topic in self._socket.subscriptions():
            changed = True
            self.topics.add(topic) if wants else self.topics.discard(topic)
            if not wants:
                continue
            if topic == PASSING:
                self.moved = time.monotonic()
            elif topic == self.question:
                self.question = b""
            elif topic == STALLED:
                self.stalls += 1
                message = "%s: a listener took nothing for too long, and lost documents"
                self._complaints("stalled", message, self._address)
        if changed:
            wants_all = {ALL, self._header[:1]} <= self.topics
            self._wanted = wants_all or any(map(self._wants, self.topics))

    def _wants(self, topic: bytes) -> bool:
        # One byte is how listeners look whether there is anything at all: `topics.ANY`.
        if len(topic) == 1 and topic != self._header:
            return False
        return self._header.startswith(topic) or topic.startswith(self._header)
