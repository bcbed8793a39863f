"""Reading the command line, and what every command does alike: errors of one line, exit codes for scripts."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from bluesky_ext import __version__
from bluesky_ext.cli import demo, export, masks, proxy, record, redo, replay, serve
from bluesky_ext.cli.usage import Parser, UsageError

COMMANDS = (demo, export, masks, proxy, serve, replay, redo, record)

USAGE_ERROR, FAILURE = 2, 1


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
    logging.basicConfig(
        level=logging.INFO if options.verbose else logging.WARNING, format="%(levelname)s: %(message)s", force=True
    )
    try:
        return options.run(options)
    except KeyboardInterrupt:
        print("bluesky-ext: interrupted", file=sys.stderr)
        return 130
    except UsageError as error:
        print(f"bluesky-ext {options.command}: {' '.join(str(error).split())}", file=sys.stderr)
        return USAGE_ERROR
    except (OSError, ValueError, TypeError, LookupError, ImportError, RuntimeError) as error:
        if options.verbose:
            raise
        print(f"bluesky-ext {options.command}: {' '.join(str(error).split())}", file=sys.stderr)
        return FAILURE
