"""The pending requests of a client: once they are shut none begins, and those that have begun are waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["PendingRequests", "directory_of"]


_PATIENCE, _PAUSE = 10.0, 0.05  # s, with a database that another process writes to

T = TypeVar("T")


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
    tree : CatalogAdapter
        What the app serves.
    """

    def __init__(self, client: Any, directory: Path, tree: Any) -> None:
        self.directory, self.tree = directory, tree
        self._client = client
        self._changed = threading.Condition()
        self._under_way = 0
        self._shut = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Send a request; raise RuntimeError if it is shut."""
        with self._counted():
            return type(self._client).send(self._client, *args, **kwargs)

    def call(self, function: Callable[[], Awaitable[T]]) -> T:
        """Call a function where the app runs, and return what it gives; raise RuntimeError if this is shut.

        A database that another process writes to is tried again, for ten seconds; after that, and if it cannot be
        written, this raises OSError.
        """
        from sqlalchemy.exc import DBAPIError  # pyright: ignore[reportMissingImports]

        until = time.monotonic() + _PATIENCE
        with self._counted():
            while True:
                try:
                    return self._client.portal.call(function)
                except DBAPIError as error:
                    if "database is locked" not in str(error.orig) or time.monotonic() > until:
                        raise OSError(f"{self.directory}: {error.orig}") from error
                time.sleep(_PAUSE)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._changed:
            if self._shut:
                raise RuntimeError("the catalogue has been closed: open it again with open_catalog")
            self._under_way += 1
        try:
            yield
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
