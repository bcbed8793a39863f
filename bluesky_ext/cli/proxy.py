"""``bluesky-ext proxy``: what is between the publishers of documents and those who listen."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bluesky_ext.cli.usage import UsageError
from bluesky_ext.transport.address import bind_address


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "proxy",
        help="pass on documents from publishers to those who listen",
        description="""Pass on documents from publishers (in a RunEngine, or a replay) to all who listen (servers,
            viewers, recorders), of this package or Bluesky's own, until SIGINT or SIGTERM. Publishers connect to
            the first address, listeners to the second.""",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--in-address", default="localhost:5567", metavar="ADDRESS", help="where publishers connect to; *:5567 for all"
    )
    parser.add_argument("--out-address", default="localhost:5568", metavar="ADDRESS", help="where listeners connect to")
    parser.add_argument(
        "--block",
        action="store_true",
        help="have publishers that ask for it wait for slow listeners, as replays do, instead of dropping documents",
    )
    parser.add_argument(
        "--stall-limit",
        type=_seconds,
        default=30.0,
        metavar="SECONDS",
        help="with --block, go on without a listener that takes nothing for so long",
    )
    for end, those in (("in", "publishers"), ("out", "listeners")):
        keys = parser.add_argument_group(f"CURVE keys for {those}")
        keys.add_argument(f"--{end}-curve-secret", type=Path, metavar="FILE", help="the secret key of the proxy")
        keys.add_argument(
            f"--{end}-curve-client-keys", type=Path, metavar="FOLDER", help=f"public keys of the {those} to let in"
        )
        keys.add_argument(
            f"--{end}-curve-allow",
            nargs="+",
            metavar="IP",
            help=f"addresses of the {those} to let in; all unless given",
        )
    parser.set_defaults(run=run)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: give a number of seconds above 0")
    return seconds


def run(options: argparse.Namespace) -> int:
    """Pass on documents until it is stopped."""
    from bluesky_ext.transport import Proxy

    proxy = Proxy(
        _address(options.in_address),
        _address(options.out_address),
        in_curve=_curve(options, "in"),
        out_curve=_curve(options, "out"),
        block=options.block,
        stall_limit=options.stall_limit,
    )
    print(f"documents in: {proxy.in_address}, out: {proxy.out_address}", flush=True)
    proxy.start()
    return 0


def _address(text: str) -> str | int:
    address = int(text) if text.isdigit() else text
    try:
        bind_address(address)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return address


def _curve(options: argparse.Namespace, end: str) -> Any:
    from bluesky_ext.transport import ServerCurve

    secret, keys, allow = (getattr(options, f"{end}_curve_{what}") for what in ("secret", "client_keys", "allow"))
    if secret is None:
        if keys is not None or allow is not None:
            raise UsageError(f"--{end}-curve-client-keys and --{end}-curve-allow need --{end}-curve-secret")
        return None
    return ServerCurve(secret, keys, set(allow) if allow else None)
