"""The live server: what stages show, for browsers and other programs, while the scan runs."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Collection
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

from bluesky_ext.engine import Stage

log = logging.getLogger(__name__)

_LOOPBACK = "127.0.0.1"
#: Connections at once that get answers; for how long one may be idle, and how long work is waited for at the end, in s.
_CONNECTIONS, _IDLE, _PATIENCE = 200, 60, 1


class LiveServer:
    """Shows stages over HTTP: what reduces publish, the latest images of maps, progress, losses, parameters.

    ``LiveServer(cm, pt)`` is enough: a browser at its ``url`` gets a page, and ``h5pyd.File(url)`` the arrays. It works
    in a thread of this process, never holds the scan up, and ends with the process, or by `close`.

    Parameters
    ----------
    *shown : Stage, or anything that counts in ``stats``
        Stages are shown: the tree of a single one as it is, those of several as groups with their names. Of
        dispatchers, recorders and the like there are the counts.
    address : str
        Where it listens, as ``"127.0.0.1:8888"``. By default this machine alone reaches it, at a port that is free;
        ``"0.0.0.0:8888"`` lets others read.
    token : str, optional
        Who changes something needs it. Without one nothing can be changed from other machines, nor from this one,
        unless this one alone reaches the server.
    hosts : collection of str
        The names by which others call this machine, beside its own name.
    keep : int
        Bytes for the images of points that are in no file, so that a click on a map shows them: the latest ones.
    directory : path, optional
        Where the layouts of the page are kept, and the parameters that were set on it, such as regions, for the next
        server of stages with these names. Without it they are those of this server alone.

    Examples
    --------
    >>> from bluesky_ext import CrystalMap, LiveServer
    >>> server = LiveServer(CrystalMap(search_range=5))
    >>> server.url  # doctest: +ELLIPSIS
    'http://127.0.0.1:...'
    >>> server.close()
    """

    def __init__(
        self,
        *shown: Any,
        address: str = _LOOPBACK,
        token: str | None = None,
        hosts: Collection[str] = (),
        keep: int = 256 << 20,
        directory: str | os.PathLike[str] | None = None,
    ) -> None:
        try:
            import uvicorn

            from bluesky_ext.view.app import application
            from bluesky_ext.view.connection import Connection
        except ImportError as error:
            raise ImportError("for a live server, install the extra: pip install 'bluesky-ext[live]'") from error
        for one in shown:
            if isinstance(one, type) or not hasattr(one, "stats"):
                raise TypeError(f"LiveServer can't show {one!r:.100}: give stages, as CrystalMap(...)")
        stages = [one for one in shown if isinstance(one, Stage)]
        if not stages:
            raise ValueError("LiveServer has nothing to show: give a stage, as LiveServer(cm)")
        if token is not None and not token:
            raise ValueError("token='': give one of several characters, or None")
        from bluesky_ext.view.log_lines import LogLines
        from bluesky_ext.view.requests import own_names

        host, port = _host_and_port(address)
        self._socket = _listening(host, port, address)
        bound, port = self._socket.getsockname()[:2]
        is_local = ip_address(bound).is_loopback
        names = {*(() if is_local else own_names()), *hosts}
        place = f"[{bound}]" if ":" in bound else bound
        #: Where it is.
        self.url = f"http://{socket.gethostname() if ip_address(bound).is_unspecified else place}:{port}/"
        self._shown = [getattr(one, "name", type(one).__name__) for one in shown]
        self._lines = LogLines()
        self._closing = asyncio.Event()
        others = [one for one in shown if not isinstance(one, Stage)]
        about: dict[str, Any] = {"names": names, "token": token, "is_local": is_local, "keep": keep}
        about["directory"] = None if directory is None else Path(directory)
        app, self._recorder = application(stages, others, self._lines, self._closing, **about)
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=Connection,
                loop="asyncio",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                limit_concurrency=_CONNECTIONS,
                timeout_keep_alive=_IDLE,
                timeout_graceful_shutdown=_PATIENCE,
            )
        )
        logging.getLogger().addHandler(self._lines)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="LiveServer", daemon=True)
        self._thread.start()
        log.info("%r", self)

    def close(self) -> None:
        """Stop serving."""
        if self._thread.is_alive():
            self._server.should_exit = True
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join()
        self._recorder.close()
        logging.getLogger().removeHandler(self._lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        closed = "" if self._thread.is_alive() else ", closed"
        return f"<LiveServer of {', '.join(self._shown)} at {self.url}{closed}>"

    def _serve(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._server.serve(sockets=[self._socket]))
        except Exception:
            log.exception("%s failed", self.url)
        finally:
            self._socket.close()


def _host_and_port(address: str) -> tuple[str, int]:
    """The machine and the port of an address; 0 where there is none."""
    host, mark, port = address.rpartition(":")
    if not mark or address.endswith("]"):
        host, port = address, "0"
    if not port.isdecimal() or int(port) > 65535 or not host:
        raise ValueError(f"address {address!r}: give a machine and a port, as in '127.0.0.1:8888'")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _listening(host: str, port: int, address: str) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=128)
        # Those that it accepts inherit this; without it the body of an answer waits for 40 ms behind its head.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        reason = error.strerror or error
        raise OSError(error.errno, f"can't listen at {address}: {reason}; give another address, or no port") from error
