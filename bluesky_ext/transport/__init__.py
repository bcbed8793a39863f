"""Documents between processes and threads: over 0MQ as Bluesky sends them, and in the background of a scan.

The ends here and those of `bluesky.callbacks.zmq` work together: same addresses, prefixes, frames and CURVE keys. What
they add: documents as msgpack instead of pickle, losses that are counted, and back-pressure where it is asked for.
"""

from typing import TYPE_CHECKING

from bluesky_ext._lazy import lazy
from bluesky_ext.engine.codec.documents import DecodeError, dumps, loads

if TYPE_CHECKING:
    from bluesky.callbacks.zmq import ClientCurve, ServerCurve

    from bluesky_ext.engine.frames.limits import Limits
    from bluesky_ext.transport._background import background
    from bluesky_ext.transport.dispatcher import RemoteDispatcher
    from bluesky_ext.transport.proxy import Proxy
    from bluesky_ext.transport.publisher import Publisher

__all__ = ["ClientCurve", "DecodeError", "Limits", "Proxy", "Publisher", "RemoteDispatcher", "ServerCurve"]
__all__ += ["background", "dumps", "loads"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        # Bluesky's own, so that a configuration made for one end fits the other.
        "bluesky.callbacks.zmq": ("ClientCurve", "ServerCurve"),
        "bluesky_ext.engine.frames.limits": ("Limits",),
        "bluesky_ext.transport._background": ("background",),
        "bluesky_ext.transport.dispatcher": ("RemoteDispatcher",),
        "bluesky_ext.transport.proxy": ("Proxy",),
        "bluesky_ext.transport.publisher": ("Publisher",),
    },
)
