"""One side of a proxy: a socket, and what belongs to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import zmq

from bluesky_ext.transport.address import Address, bind_address, connect_address
from bluesky_ext.transport.curve import be_client, be_server
from bluesky_ext.transport.farewell import SLICE
from bluesky_ext.transport.monitor import Monitor

if TYPE_CHECKING:
    from bluesky.callbacks.zmq import ClientCurve, ServerCurve
    from zmq.auth.thread import ThreadAuthenticator

__all__ = ["End"]


class End:
    """Where publishers, or listeners, meet a proxy.

    Parameters
    ----------
    kind : int
        ``zmq.XSUB`` for publishers, ``zmq.XPUB`` for listeners.
    address : str, tuple or int, optional
        See `bluesky_ext.transport.Proxy`.
    curve : ServerCurve or ClientCurve, optional
        The keys.
    bind : bool
        Whether it binds the address, or connects to it.
    block : bool
        Whether sending waits for listeners that do not keep up.
    max_bytes : int
        The largest message that it takes.
    high_water : int
        The most messages that wait here for each connection.

    Attributes
    ----------
    socket : zmq.Socket
        Of that kind.
    monitor : Monitor
        What happens to its connections.
    address : str
        Where it is.

    Raises
    ------
    OSError
        If the address is in use, or is none.
    """

    def __init__(
        self,
        kind: int,
        address: Address | None,
        curve: ServerCurve | ClientCurve | None,
        *,
        bind: bool,
        block: bool,
        max_bytes: int,
        high_water: int,
    ) -> None:
        if not bind and address is None:
            raise ValueError("an end that connects needs an address: give one, as in 'localhost:5567'")
        where = bind_address(address) if bind else connect_address(address or "")
        self._authenticator: ThreadAuthenticator | None = None
        # A context for each end: there can be one authenticator in a context, and both ends may have keys.
        self._context = zmq.Context()
        self.socket: zmq.Socket[Any] = self._context.socket(kind)
        self.monitor = Monitor(self.socket)
        try:
            self.socket.rcvhwm = high_water
            # Subscriptions must not be dropped, of which many come at once.
            self.socket.sndhwm = high_water if kind == zmq.XPUB else 0
            self.socket.sndtimeo = round(SLICE * 1000)
            self.socket.setsockopt(zmq.MAXMSGSIZE, max_bytes)
            self.socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
            self.socket.ipv6 = "[" in where
            if kind == zmq.XPUB:
                self.socket.setsockopt(zmq.XPUB_VERBOSER, 1)  # every subscription, so that one knows whose it is
                self.socket.setsockopt(zmq.XPUB_NODROP, int(block))
            self._join(where, curve, bind)
            self.address = self.socket.get_string(zmq.LAST_ENDPOINT)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give everything back; what was not sent by then is dropped."""
        self.monitor.close()
        self.socket.close(0)
        if self._authenticator is not None:
            self._authenticator.stop()
            self._authenticator = None
        self._context.term()

    def _join(self, where: str, curve: Any, bind: bool) -> None:
        try:
            if bind:
                self._authenticator = be_server(self.socket, curve)
                self.socket.bind(where)
            else:
                be_client(self.socket, curve)
                self.socket.connect(where)
        except zmq.ZMQError as error:
            if error.errno == zmq.EADDRINUSE:
                raise OSError(f"{where} is in use: is there a proxy already? Else choose another address") from error
            raise OSError(f"{where} can't be {'bound' if bind else 'connected to'}: {error}") from error
