"""Options of commands about their 0MQ connection: address, prefix, keys, and how documents become bytes."""

from __future__ import annotations

import argparse
import sys
import threading
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bluesky_ext.cli.usage import UsageError
from bluesky_ext.engine.frames.limits import Limits
from bluesky_ext.transport.address import connect_address
from bluesky_ext.transport.wire import check_prefix

if TYPE_CHECKING:
    from bluesky.callbacks.zmq import ClientCurve

    from bluesky_ext.transport import RemoteDispatcher
    from bluesky_ext.transport.receiver import Received


def address(text: str) -> str:
    """An address that one can connect to, as it was given."""
    try:
        connect_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def prefix(text: str) -> bytes:
    """A prefix of messages."""
    try:
        return check_prefix(text.encode())
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_wire_to(parser: argparse.ArgumentParser, codec: str) -> None:
    """Add what a sender and a receiver are both told: keys, and the ``serializer`` or ``deserializer``."""
    group = parser.add_argument_group("keys and bytes")
    group.add_argument(
        "--curve-secret", type=Path, metavar="FILE", help="for a proxy with CURVE keys: our own, *.key_secret"
    )
    group.add_argument("--curve-server", type=Path, metavar="FILE", help="and the proxy's public key, *.key")
    group.add_argument(
        f"--{codec}",
        choices=("msgpack", "pickle"),
        default="msgpack",
        help="""pickle is what Bluesky's own ends use unless told otherwise, and lets whoever can send there run any
            program here; better give them bluesky_ext.transport.dumps or loads""",
    )


def add_receiver_to(parser: argparse.ArgumentParser) -> None:
    """Add what a receiver is told."""
    parser.add_argument(
        "--address",
        type=address,
        default="localhost:5568",
        help="where a proxy gives out documents, such as localhost:5568 or ipc:///tmp/socket",
    )
    parser.add_argument(
        "--prefix", type=prefix, default="raw", help="of the documents that are wanted; '' for those of all publishers"
    )
    parser.add_argument(
        "--policy",
        choices=("block", "drop"),
        default="block",
        help="when documents come faster than they are worked on: take no more from the proxy, or drop and count them",
    )
    parser.add_argument(
        "--limit",
        type=limit,
        action="append",
        metavar="NAME=NUMBER",
        help="the most that a document may ask for; one beyond it is refused, counted and said: "
        + ", ".join(f"{field.name}={field.default}" for field in fields(Limits)),
    )
    add_wire_to(parser, "deserializer")


def limit(text: str) -> tuple[str, int]:
    """The name of a limit, and its value."""
    name, _, number = text.partition("=")
    names = [field.name for field in fields(Limits)]
    if name not in names or not number.isdecimal() or not int(number):
        raise argparse.ArgumentTypeError(f"{text!r}: give NAME=NUMBER, with a name of {', '.join(names)}")
    return name, int(number)


def curve_of(options: argparse.Namespace) -> ClientCurve | None:
    """The CURVE keys, if there are some."""
    if options.curve_secret is None and options.curve_server is None:
        return None
    if options.curve_secret is None or options.curve_server is None:
        raise UsageError("CURVE keys come in pairs: give both --curve-secret and --curve-server")
    from bluesky.callbacks.zmq import ClientCurve

    for path in (options.curve_secret, options.curve_server):
        if not path.is_file():
            raise UsageError(f"no key in {path}: make a pair with zmq.auth.create_certificates(folder, name)")
    return ClientCurve(options.curve_secret, options.curve_server)


def received_by(options: argparse.Namespace) -> dict[str, Any]:
    """What a dispatcher is made with."""
    return {
        "prefix": options.prefix,
        "deserializer": options.deserializer,
        "curve_config": curve_of(options),
        "policy": options.policy,
        "limits": Limits(**dict(options.limit or ())),
    }


def say(options: argparse.Namespace, text: str) -> None:
    """Tell whoever looks at a server what it is doing; scripts may wait for it."""
    print(f"bluesky-ext {options.command}: {text}", file=sys.stderr, flush=True)


def say_listening(options: argparse.Namespace, dispatcher: RemoteDispatcher) -> None:
    """Say what is listened to, and that Ctrl-C ends it; and later, that nothing is missed from now on."""
    which = f"prefix {options.prefix.decode()}" if options.prefix else "any prefix"
    say(options, f"listening at {dispatcher.address} for {which}; Ctrl-C stops it")

    def announce() -> None:
        dispatcher.listening.wait()
        say(options, "connected: it gets what is published from now on")

    threading.Thread(target=announce, daemon=True).start()


def say_received(options: argparse.Namespace, stats: Received) -> None:
    """Say what came, and every kind of loss that happened."""
    counts = asdict(stats)
    losses = [f"{counts[name]} {what}" for name, what in _LOSSES.items() if counts[name]]
    came = f"{stats.received} documents of {stats.runs} runs came"
    say(options, f"stopped: {came}; {', '.join(losses) or 'nothing was lost'}")


#: The counts of a dispatcher that are losses, in words.
_LOSSES = {
    "lost": "events never came",
    "dropped": "documents were dropped",
    "malformed": "messages were no documents",
    "refused": "documents were refused",
    "unknown": "documents had unknown names",
    "orphaned": "events were of unknown runs",
    "joined": "runs were joined in the middle",
    "incomplete": "runs were not over",
    "subscriber_failures": "documents were not worked on because of errors",
}
