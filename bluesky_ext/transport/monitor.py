"""What a socket hears of its connections: who is there, who went away, and whose keys were wrong."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import zmq
from zmq.utils.monitor import parse_monitor_message

__all__ = ["FAILED", "Event", "Monitor", "refusal"]

FAILED = {
    zmq.Event.HANDSHAKE_FAILED_NO_DETAIL,
    zmq.Event.HANDSHAKE_FAILED_PROTOCOL,
    zmq.Event.HANDSHAKE_FAILED_AUTH,
}

_HEARD = (
    zmq.EVENT_ACCEPTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_MONITOR_STOPPED
    | sum(FAILED)
)

#: How often it must happen to mean something: this one also comes when the other end is just going away.
_PATIENCE = {zmq.Event.HANDSHAKE_FAILED_NO_DETAIL: 3}


class Event(NamedTuple):
    """What happened: an event of 0MQ, and its value (a file descriptor where there is one)."""

    kind: zmq.Event
    value: int


class Monitor:
    """The events of the connections of a socket, as they happen.

    Parameters
    ----------
    socket : zmq.Socket
        The socket, before it connects or binds.

    Attributes
    ----------
    socket : zmq.Socket
        Where the events come in, to poll.
    connected : bool
        For a socket that connects: whether it is.
    refused : zmq.Event or None
        For a socket that connects: why that failed, once it is beyond doubt that its keys are not right.
    """

    def __init__(self, socket: zmq.Socket[Any]) -> None:
        self._watched = socket
        where = f"inproc://monitor-{uuid.uuid4()}"
        socket.monitor(where, _HEARD)
        # Without a limit: 0MQ waits in the thread that sends and receives, should its events not be heard.
        self.socket: zmq.Socket[Any] = socket.context.socket(zmq.PAIR)
        self.socket.rcvhwm = 0
        self.socket.connect(where)
        self.connected = False
        self.refused: zmq.Event | None = None
        self._failures = 0

    def events(self) -> Iterator[Event]:
        """Yield what has happened since the last time."""
        while True:
            try:
                message = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            parsed = parse_monitor_message(message)
            event = Event(zmq.Event(parsed["event"]), int(parsed["value"]))
            self._note(event)
            yield event

    def _note(self, event: Event) -> None:
        if event.kind == zmq.Event.HANDSHAKE_SUCCEEDED:
            self.connected = True
            self._failures, self.refused = 0, None
        elif event.kind == zmq.Event.DISCONNECTED:
            self.connected = False
        elif event.kind in FAILED:
            self._failures += 1
            if self._failures >= _PATIENCE.get(event.kind, 1):
                self.refused = event.kind

    def close(self) -> None:
        """Hear no more."""
        if not self.socket.closed:
            if not self._watched.closed:
                self._watched.disable_monitor()
            self.socket.close(0)


def refusal(kind: zmq.Event, address: str, curve: Any) -> str:
    """What a client did wrong, in one line, when its handshake failed so."""
    if curve is None:
        return f"{address} is a proxy with CURVE keys, or none at all: for keys, give curve_config=ClientCurve(...)"
    if kind == zmq.Event.HANDSHAKE_FAILED_AUTH:
        return (
            f"{address} does not let in the client key {curve.secret_path}: put its public key into the folder that "
            "the proxy was given, and this machine's address on its list, if it has one"
        )
    # Which of the other two it is does not tell one from the other.
    return (
        f"{address} has another key than {curve.server_public_key}, or none: give the public key of the proxy there, "
        "or leave curve_config out"
    )
