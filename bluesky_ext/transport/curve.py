"""CURVE keys on sockets, from the configurations that Bluesky's own ends take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator

if TYPE_CHECKING:
    from bluesky.callbacks.zmq import ClientCurve, ServerCurve

__all__ = ["refusal", "set_client_keys", "set_server_keys"]


def set_client_keys(socket: zmq.Socket[Any], curve: ClientCurve | None) -> None:
    """Set the keys of a socket that will connect."""
    if curve is None:
        return
    if not hasattr(curve, "server_public_key"):
        raise TypeError(f"{type(curve).__name__} is for an end that binds: to connect, give a ClientCurve")
    socket.curve_publickey, socket.curve_secretkey = _pair(curve.secret_path, "client")
    socket.curve_serverkey = _load(curve.server_public_key)[0]


def set_server_keys(socket: zmq.Socket[Any], curve: ServerCurve | None) -> ThreadAuthenticator | None:
    """Set the keys of a socket that will bind; return the thread that lets clients in, which must be stopped.

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


def refusal(event: zmq.Event, address: str, curve: Any) -> str:
    """What is wrong with the keys of a client, in one line, after one of `socket.REFUSED`."""
    if curve is None:
        return f"{address} is a proxy with CURVE keys, or none at all: for keys, give curve_config=ClientCurve(...)"
    if event == zmq.Event.HANDSHAKE_FAILED_AUTH:
        return (
            f"{address} does not let in the client key {curve.secret_path}: put its public key into the folder that "
            "the proxy was given, and this machine's address on its list, if it has one"
        )
    # Which of the other two it is does not tell one from the other.
    return (
        f"{address} has another key than {curve.server_public_key}, or none: give the public key of the proxy there, "
        "or leave curve_config out"
    )


def _pair(path: Path, role: str) -> tuple[bytes, bytes]:
    public, secret = _load(path)
    if secret is None:
        raise ValueError(f"{path} has no secret key: give the file of the {role} that ends in .key_secret")
    return public, secret


def _load(path: Path) -> tuple[bytes, bytes | None]:
    if not Path(path).is_file():
        raise FileNotFoundError(f"no key in {path}: make a pair with zmq.auth.create_certificates(folder, name)")
    return zmq.auth.load_certificate(str(path))
