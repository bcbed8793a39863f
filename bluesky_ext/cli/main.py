"""Reading the command line, and what every command does alike: errors of one line, exit codes for scripts."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
from collections.abc import Sequence
from typing import Any, NoReturn

from bluesky_ext import __version__
from bluesky_ext.cli import demo, export, masks, proxy, record, recover, redo, replay, serve, tune, view, warmup
from bluesky_ext.cli.usage import Parser, UsageError
from bluesky_ext.engine.documents.printable import printable
from bluesky_ext.server.executors import still_at_work

log = logging.getLogger(__name__)

COMMANDS = (demo, export, masks, proxy, serve, replay, redo, record, recover, tune, view, warmup)

USAGE_ERROR, FAILURE = 2, 1


class _Formatter(logging.Formatter):
    """Messages are a line each, and tracebacks are indented: no text of a document looks like a line of the log."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - as the base has it
        return printable(super().formatMessage(record), 10_000)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - as the base has it
        return "\n".join(f"    {printable(line)}" for line in super().formatException(ei).splitlines())


def parser() -> argparse.ArgumentParser:
    """The command line's grammar; each command adds its own part."""
    top = Parser(prog="bluesky-ext", description="Live analysis for Bluesky beamlines.")
    top.add_argument("--version", action="version", version=f"bluesky-ext {__version__}")
    top.add_argument("-v", "--verbose", action="store_true", help="say what is done, and give tracebacks")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_to(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 if it did its work, 1 if it failed, 2 if it was not asked for rightly."""
    options = parser().parse_args(arguments)
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, handlers=[handler], force=True)
    try:
        return options.run(options)
    except KeyboardInterrupt:
        print("bluesky-ext: interrupted", file=sys.stderr)
        return 130
    except UsageError as error:
        print(f"bluesky-ext {options.command}: {printable(' '.join(str(error).split()))}", file=sys.stderr)
        return USAGE_ERROR
    except (OSError, ValueError, TypeError, LookupError, ImportError, RuntimeError) as error:
        if options.verbose:
            raise
        print(f"bluesky-ext {options.command}: {printable(' '.join(str(error).split()))}", file=sys.stderr)
        return FAILURE


def program() -> NoReturn:
    """The command as a program: it ends also when a task on an executor does not, since nobody waits for its result."""
    code = main()
    stuck = still_at_work(1.0)
    if stuck:
        log.warning("%d workers are in the middle of a task, and are ended", len(stuck))
    for worker in stuck:
        if not isinstance(worker, threading.Thread):
            worker.kill()
    if any(isinstance(worker, threading.Thread) for worker in stuck):  # Python would wait for it
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
