"""What the listeners of a proxy want, as its publishers hear of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import zmq

from bluesky_ext.transport.listeners import Listeners
from bluesky_ext.transport.wire import BLOCKING, MARK, PROXY, READY

__all__ = ["Subscriptions"]


class Subscriptions:
    """The subscriptions of all listeners, each of which publishers are told of once.

    Parameters
    ----------
    frontend : zmq.Socket
        An XSUB socket, which leads to the publishers.
    backend : zmq.Socket
        An XPUB socket, which leads to the listeners, and gives every subscription and its end.
    listeners : Listeners
        Who they are.
    note_events : callable
        Brings `listeners` up to date.
    """

    def __init__(
        self,
        frontend: zmq.Socket[Any],
        backend: zmq.Socket[Any],
        listeners: Listeners,
        note_events: Callable[[], object],
    ) -> None:
        self._frontend = frontend
        self._backend = backend
        self._listeners = listeners
        self._note_events = note_events
        self._topics: Counter[bytes] = Counter()

    def introduce(self, block: bool) -> None:
        """Tell publishers that this is a proxy of ours, and whether it blocks."""
        self._frontend.send(b"\1" + PROXY)
        if block:
            self._frontend.send(b"\1" + BLOCKING)

    def pass_on(self) -> None:
        """Pass on what listeners want from now on, or no more; answer those who ask whether they have been heard."""
        questions: list[bytes] = []
        while True:
            try:
                message = self._backend.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            # An XPUB gives other messages too, if a listener sends some.
            said = message.bytes
            wants, topic = said[:1], said[1:]
            if wants not in (b"\0", b"\1"):
                continue
            if wants == b"\1":
                with suppress(zmq.ZMQError):
                    self._note_events()
                    self._listeners.subscribed(int(message.get(zmq.SRCFD)), topic)
                if topic.startswith(READY):
                    questions.append(topic)
            if topic.startswith((MARK, READY)):
                continue
            self._topics[topic] += 1 if wants == b"\1" else -1
            if self._topics[topic] == (1 if wants == b"\1" else 0):
                self._frontend.send(said)
            if self._topics[topic] <= 0:
                del self._topics[topic]
        for question in questions:
            # Those who take everything get the answer too, and Bluesky's own may not survive it.
            if self._topics[b""] <= self._listeners.ours_that_take_all:
                with suppress(zmq.Again):
                    self._backend.send(question, zmq.NOBLOCK)
