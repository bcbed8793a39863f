"""Connections: no more than the process can spare, and none that says nothing."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol


class Connection(H11Protocol):
    """Speaks HTTP over a connection, unless there are twice as many as get answers: each takes a file of the process.

    It is closed if no request has come when an idle one would be. h11 bounds what comes before a body.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Begin, or end at once."""
        super().connection_made(transport)
        if len(self.connections) > 2 * (self.limit_concurrency or 0):
            transport.abort()
        else:
            self.loop.call_later(self.timeout_keep_alive, self._end_silence)

    def _end_silence(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()
