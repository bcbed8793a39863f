"""What commands are told about a live server, and the server."""

from __future__ import annotations

import argparse
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bluesky_ext.cli import connection
from bluesky_ext.cli.usage import UsageError


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the options of a live server to those of a command."""
    parser.add_argument(
        "--live",
        metavar="ADDRESS",
        help="""show what the analysis makes while it runs, to browsers and h5pyd, at this address, as 127.0.0.1:8888.
            Where others reach it, they can read; to change something takes the token in BLUESKY_EXT_TOKEN""",
    )
    parser.add_argument(
        "--live-name",
        action="append",
        default=[],
        metavar="NAME",
        help="a name by which others call this machine, beside its own; may be given several times",
    )
    parser.add_argument(
        "--live-directory",
        metavar="DIRECTORY",
        help="where layouts of the page and parameters that are set on it, such as regions, are kept for the next time",
    )


def add_port_to(parser: argparse.ArgumentParser) -> None:
    """Add the options of a live server to those of a command that comes to an end."""
    add_to(parser)
    parser.add_argument("--port", metavar="PORT", help="the same as --live 127.0.0.1:PORT")
    parser.add_argument("--keep-alive", action="store_true", help="keep showing it at the end, until Ctrl-C")


@contextmanager
def served(options: argparse.Namespace, *shown: Any) -> Iterator[None]:
    """Show stages, if that is asked for; at the end of a command with ``--keep-alive`` wait until Ctrl-C."""
    from bluesky_ext.engine import Stage

    port = getattr(options, "port", None)
    if options.live is not None and port is not None:
        raise UsageError("--live and --port are two names of one thing: give one")
    address = f"127.0.0.1:{port}" if port is not None else options.live
    keeps = getattr(options, "keep_alive", False)
    if address is None:
        if keeps:
            raise UsageError("--keep-alive is for a live server: give --live too")
        yield
        return
    if not any(isinstance(one, Stage) for one in shown):
        raise UsageError("there is no stage to show: leave --live out")
    from bluesky_ext import LiveServer

    try:
        token = os.environ.get("BLUESKY_EXT_TOKEN") or None
        server = LiveServer(
            *shown, address=address, token=token, hosts=options.live_name, directory=options.live_directory
        )
    except ValueError as error:
        raise UsageError(f"--live: {error}") from error
    with server:
        connection.say(options, f"shown at {server.url}")
        yield
        if keeps:
            keep(options)


def keep(options: argparse.Namespace) -> None:
    """Wait until Ctrl-C."""
    from bluesky_ext.transport.signals import interruptible

    connection.say(options, "Ctrl-C ends it")
    over = threading.Event()
    with interruptible(over.set):
        over.wait()
