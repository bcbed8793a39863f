"""The pending requests of a client: once they are shut none begins, and those that have begun are waited for."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

__all__ = ["PendingRequests", "directory_of"]


class PendingRequests:
    """The method ``send`` of a client, through which all its requests go, until it is shut.

    The app of an embedded catalogue lives in a thread. A request that is under way when this ends never comes back,
    and one that begins after that starts the app again, without what it needs.

    Parameters
    ----------
    client : httpx.Client
        The client.
    directory : path
        Of the catalogue.
    """

    def __init__(self, client: Any, directory: Path) -> None:
        self.directory = directory
        self._client = client
        self._changed = threading.Condition()
        self._under_way = 0
        self._shut = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Send a request; raise RuntimeError if it is shut."""
        with self._changed:
            if self._shut:
                raise RuntimeError("the catalogue has been closed: open it again with open_catalog")
            self._under_way += 1
        try:
            return type(self._client).send(self._client, *args, **kwargs)
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def shut(self, timeout: float) -> bool:
        """Let no request begin any more; return whether those under way have ended within so many seconds."""
        with self._changed:
            self._shut = True
            return self._changed.wait_for(lambda: not self._under_way, timeout)


def directory_of(client: Any) -> Path | None:
    """The directory of an embedded catalogue, of which this is a client; None for those of servers."""
    send = client.context.http_client.send
    return send.directory if isinstance(send, PendingRequests) else None
