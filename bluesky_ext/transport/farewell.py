"""The end of a socket: what was sent leaves it, or somebody hears that it did not."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import zmq

from bluesky_ext.transport.monitor import Event, Monitor

__all__ = ["SLICE", "farewell"]

SLICE = 0.1  # s, after which one who waits looks up
_GRACE = 0.5  # s, in which 0MQ closes what has been cut off, and notices that there is nothing to send


def farewell(
    socket: zmq.Socket[Any],
    monitor: Monitor,
    end: Callable[[], float],
    *,
    happened: Callable[[Event], object] = lambda event: None,
    looked: Callable[[], object] = lambda: None,
    given_up: Callable[[], object] = lambda: None,
) -> bool:
    """Close a socket; return whether all that was sent had left it in time.

    0MQ itself drops the rest in silence. The monitor of the socket is heard till its end, and closed.

    Parameters
    ----------
    end : callable
        Returns when time is up, as `time.monotonic` has it; it may come to be earlier.
    happened : callable
        Called with what happens to connections meanwhile: one that ends now ends with something to send.
    looked : callable
        Called again and again.
    given_up : callable
        Called when time is up, before 0MQ drops the rest.
    """
    began = time.monotonic()
    seconds = max(0.0, end() - began)
    # What happens to connections is told until the last of them is over. (It is not once the context is terminated.)
    socket.close(round((seconds + 2 * _GRACE) * 1000))
    in_time = True
    while not _is_over(monitor, happened):
        looked()
        if in_time and time.monotonic() > max(end(), began + SLICE):
            in_time = False
            given_up()
        if time.monotonic() > max(end(), began) + 4 * _GRACE:
            break
    monitor.close()
    return in_time


def _is_over(monitor: Monitor, happened: Callable[[Event], object]) -> bool:
    monitor.socket.poll(round(SLICE * 1000))
    for event in monitor.events():
        if event.kind == zmq.Event.MONITOR_STOPPED:
            return True
        happened(event)
    return False
