"""``bluesky-ext record``: recordings of what comes over 0MQ."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bluesky_ext.cli import connection
from bluesky_ext.cli.usage import Defaults


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "record",
        help="write the documents that come from 0MQ to files",
        description="""Receive documents from a 0MQ proxy and write each run to a file of its own, until Ctrl-C or
            SIGTERM. A file can be read up to its last whole document whatever happens to the machine; `bluesky-ext
            replay` plays it again. What is lost on the way is counted, and said.""",
        epilog="Exit codes: 0 all that came is recorded; 1 something could not be written; 2 wrong usage.",
        formatter_class=Defaults,
    )
    parser.add_argument("-d", "--directory", type=Path, required=True, help="where the recordings go")
    parser.add_argument("--file-prefix", default="{uid}", help="their names: a template on the start document")
    connection.add_receiver_to(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Record until it is told to stop, and say which files there are."""
    received = connection.received_by(options)
    from bluesky_ext import Recorder
    from bluesky_ext.server import serve

    with Recorder(options.directory, file_prefix=options.file_prefix, on_error="raise") as recorder:
        dispatcher = serve(
            recorder,
            options.address,
            ready=lambda dispatcher: connection.say_listening(options, dispatcher),
            # A recording has what came, and no stop that nobody sent.
            close_incomplete=False,
            readable_roots=None,  # none is read here
            name="record",
            **received,
        )
    connection.say_received(options, dispatcher.stats)
    for path in recorder.artifacts:
        print(path)
    return 1 if dispatcher.stats.subscriber_failures else 0
