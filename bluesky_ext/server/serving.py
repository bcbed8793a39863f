"""A callback at the end of a 0MQ proxy, until it is told to stop."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from bluesky_ext.storage import as_sink
from bluesky_ext.transport import RemoteDispatcher

if TYPE_CHECKING:
    from bluesky_ext.transport.address import Address

log = logging.getLogger(__name__)


def serve(
    callback: Any,
    address: Address = ("localhost", 5568),
    prefix: bytes = b"raw",
    *,
    ready: Callable[[RemoteDispatcher], object] | None = None,
    **options: Any,
) -> RemoteDispatcher:
    """Hand what is published to a callback until SIGINT or SIGTERM comes; a whole server script is this one call.

    What has come in by then is worked on for two seconds, and the run in flight is closed as incomplete. Half a second
    later no file and no executor is waited for, and no frame is read any more: those events have failed. Nothing that
    the callback raises ends the server: it is logged and counted.

    Parameters
    ----------
    callback : stage, callable, Broker, catalog or directory
        Who gets the documents; see `bluesky_ext.storage.as_sink`. If it has a ``close``, that is called at the end.
    address : str or tuple
        Where a proxy gives out documents.
    prefix : bytes
        Which documents: those that are published with this prefix, all of them if it is empty.
    ready : callable, optional
        Called with the dispatcher before it starts; its ``stop`` ends the server from another thread.
    **options
        As for `bluesky_ext.transport.RemoteDispatcher`: ``readable_roots`` (the directories of images that are in
        files), ``curve_config``, ``deserializer``, ``policy``, ``store``...

    Returns
    -------
    RemoteDispatcher
        Stopped; its ``stats`` say what came and what did not.

    Examples
    --------
    A server that maps crystals, in a file of its own::

        from bluesky_ext import CrystalMap, PeakTracker
        from bluesky_ext.server import serve
        pt = PeakTracker("dexela_image", diameter=11)
        pt.subscribe(CrystalMap(search_range=5, directory="maps"))
        serve(pt, ("localhost", 5568), prefix=b"raw")
    """
    with ExitStack() as stack:
        sink = as_sink(callback)
        # A sink that was made for a directory or a catalogue is ours to close.
        close = getattr(sink, "close", None) or getattr(callback, "close", None)
        if callable(close):
            stack.callback(close)
        dispatcher = RemoteDispatcher(address, prefix=prefix, **options)
        stack.callback(dispatcher.stop)  # also if it is never started
        dispatcher.subscribe(sink)
        if ready is not None:
            ready(dispatcher)
        log.info("listening at %s for prefix %r", dispatcher.address, prefix)
        dispatcher.start()
        with dispatcher.limit():
            stack.close()
    log.info("stopped: %s", dispatcher.stats)
    return dispatcher
