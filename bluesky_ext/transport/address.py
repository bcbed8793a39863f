"""Addresses of 0MQ sockets, in all the forms in which Bluesky takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

Address: TypeAlias = str | Sequence[str | int] | int

_LOOPBACK = "127.0.0.1"


def connect_address(address: Address, port: int | None = None) -> str:
    """Return where to connect to, as ``tcp://host:port`` or ``ipc://path``; else TypeError or ValueError.

    They are ``"localhost:5567"``, ``"tcp://localhost:5567"``, ``"ipc:///tmp/socket"``, ``("localhost", 5567)``,
    ``("tcp", "localhost", 5567)``, ``("ipc", "/tmp/socket")``, a port of this machine, or a machine and its port.
    """
    protocol, place = _split(address, port)
    if protocol == "tcp":
        host, number = _host_and_port(place, address)
        if number == "*":
            raise ValueError(f"address {address!r} has no port: give one, as in '{host or 'localhost'}:5567'")
        if host in ("*", ""):
            raise ValueError(f"address {address!r} names no machine: give one, as in 'localhost:{number}'")
    return f"{protocol}://{place}"


def bind_address(address: Address | None) -> str:
    """Return where to bind a socket; without a port it is one that is free, without a machine it is this one only.

    Bluesky binds a port that is given alone on all interfaces; here it is ``"*:5567"`` that says so.
    """
    protocol, place = _split(_LOOPBACK if address is None else address, None)
    if protocol == "tcp":
        place = ":".join(_host_and_port(place, address))
    return f"{protocol}://{place}"


def _split(address: Address, port: int | None) -> tuple[str, str]:
    """The protocol, and what comes after it."""
    if port is not None:
        if not isinstance(address, str) or ":" in address:
            raise ValueError(f"address {address!r} and port {port!r}: give the name of a machine and its port")
        return "tcp", f"{address}:{port}"
    if isinstance(address, str):
        protocol, mark, rest = address.partition("://")
        return (protocol, rest) if mark else ("tcp", address)
    if isinstance(address, int) and not isinstance(address, bool):
        return "tcp", f"{_LOOPBACK}:{address}"
    if isinstance(address, Sequence) and not isinstance(address, bytes):
        protocol, *place = address if address and address[0] in ("tcp", "ipc") else ("tcp", *address)
        if 1 <= len(place) <= (2 if protocol == "tcp" else 1):
            return str(protocol), ":".join(map(str, place))
    raise TypeError(f"address {address!r}: give 'localhost:5567', ('localhost', 5567) or a port")


def _host_and_port(place: str, address: object) -> tuple[str, str]:
    """The machine, and its port or ``"*"``."""
    host, mark, port = place.rpartition(":")
    if not mark or place.endswith("]"):  # [::1] is a machine without a port
        return place, "*"
    if port != "*" and not (port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"address {address!r} has the port {port!r}: give a number from 1 to 65535")
    return host, port
