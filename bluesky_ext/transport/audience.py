"""Who listens to a publisher: what reaches it of the subscriptions of others."""

from __future__ import annotations

from typing import Any

import zmq

from bluesky_ext.transport.wire import BLOCKING, MARK, PROXY

__all__ = ["Audience"]


class Audience:
    """The subscriptions that a socket has heard of.

    Parameters
    ----------
    socket : zmq.Socket
        An XPUB socket.
    prefix : bytes
        Of the documents that it will send.

    Attributes
    ----------
    topics : set of bytes
        What is subscribed to: the beginnings of the messages that someone wants.
    """

    def __init__(self, socket: zmq.Socket[Any], prefix: bytes) -> None:
        self._socket = socket
        self._header = prefix + b" "
        self.topics: set[bytes] = set()
        self.listens = False
        """Whether somebody wants documents, or may: behind a plain proxy one can't know."""

    def hear(self) -> None:
        """Take note of the subscriptions that have come in."""
        changed = False
        while True:
            try:
                message = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
            changed = True
            if message[:1] == b"\1":
                self.topics.add(message[1:])
            elif message[:1] == b"\0":
                self.topics.discard(message[1:])
        if changed:
            self.listens = any(map(self._is_ours, self.topics))

    def forget(self) -> None:
        """Take note that the connection is no more."""
        self.hear()  # 0MQ has taken the subscriptions back already
        self.topics.clear()
        self.listens = False

    @property
    def is_known(self) -> bool:
        """Whether there is a listener beyond doubt."""
        # A plain proxy subscribes to everything. Ours does it only if a listener does.
        return self.listens and (self.has_our_proxy or any(topic and self._is_ours(topic) for topic in self.topics))

    @property
    def has_our_proxy(self) -> bool:
        """Whether the proxy is one of ours, which passes on what its listeners want."""
        return PROXY in self.topics

    @property
    def has_blocking_proxy(self) -> bool:
        """Whether the proxy is one of ours, and waits for its listeners."""
        return BLOCKING in self.topics

    @property
    def others(self) -> list[bytes]:
        """The prefixes that are listened to, other than ours."""
        topics = [topic for topic in self.topics if len(topic) > 1 and topic[:1] != MARK[:1]]
        return sorted({topic.split(b" ")[0] for topic in topics if not self._is_ours(topic)})

    def _is_ours(self, topic: bytes) -> bool:
        # One byte is how listeners look whether there is anything at all: `wire.PROBES`.
        if len(topic) == 1 and topic != self._header:
            return False
        return self._header.startswith(topic) or topic.startswith(self._header)
