"""CURVE keys on sockets, from the configurations that Bluesky's own ends take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator

if TYPE_CHECKING:
    from bluesky.callbacks.zmq import ClientCurve, ServerCurve

__all__ = ["be_client", "be_server"]


def be_client(socket: zmq.Socket[Any], curve: ClientCurve | None) -> None:
    """Give a socket that will connect its keys."""
    if curve is None:
        return
    if not hasattr(curve, "server_public_key"):
        raise TypeError(f"{type(curve).__name__} is for an end that binds: to connect, give a ClientCurve")
    socket.curve_publickey, socket.curve_secretkey = _pair(curve.secret_path, "client")
    socket.curve_serverkey = _load(curve.server_public_key)[0]


def be_server(socket: zmq.Socket[Any], curve: ServerCurve | None) -> ThreadAuthenticator | None:
    """Give a socket that will bind its keys; return the thread that lets clients in, which must be stopped.

    There can be one such thread in a context (0MQ asks at one address of it, ``inproc://zeromq.zap.01``): a second
    socket with keys, and clients of its own, needs a second context.
    """
    if curve is None:
        return None
    if not hasattr(curve, "client_public_keys"):
        raise TypeError(f"{type(curve).__name__} is for an end that connects: to bind, give a ServerCurve")
    public, secret = _pair(curve.secret_path, "server")
    folder = curve.client_public_keys
    if folder is not None and not Path(folder).is_dir():
        raise NotADirectoryError(f"{folder} is no folder of public keys of clients; without one, give None")
    authenticator = ThreadAuthenticator(socket.context)
    authenticator.start()
    try:
        if curve.allow is not None:
            authenticator.allow(*curve.allow)
        authenticator.configure_curve(domain="*", location=zmq.auth.CURVE_ALLOW_ANY if folder is None else str(folder))
        socket.curve_publickey, socket.curve_secretkey = public, secret
        socket.curve_server = True
    except BaseException:
        authenticator.stop()
        raise
    return authenticator


def _pair(path: Path, whose: str) -> tuple[bytes, bytes]:
    public, secret = _load(path)
    if secret is None:
        raise ValueError(f"{path} has no secret key: give the file of the {whose} that ends in .key_secret")
    return public, secret


def _load(path: Path) -> tuple[bytes, bytes | None]:
    if not Path(path).is_file():
        raise FileNotFoundError(f"no key in {path}: make a pair with zmq.auth.create_certificates(folder, name)")
    return zmq.auth.load_certificate(str(path))
