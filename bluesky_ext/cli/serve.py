"""``bluesky-ext serve``: a pipeline at the end of a 0MQ proxy."""

from __future__ import annotations

import argparse
import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bluesky_ext.cli import connection, live, site
from bluesky_ext.cli.sources import store_of
from bluesky_ext.cli.usage import Defaults, UsageError

log = logging.getLogger(__name__)


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "serve",
        help="run an analysis beside the beamline, on documents from 0MQ",
        description="""Receive documents from a 0MQ proxy and analyse them, until Ctrl-C or SIGTERM: what has come in by
            then is worked on, and the run in flight is closed as incomplete. What is lost on the way is counted, and
            said.""",
        epilog="""Exit codes: 0 stopped as asked; 1 it failed, as with wrong keys; 2 the command or its settings were
            not understood.""",
        formatter_class=Defaults,
    )
    parser.add_argument(
        "pipeline",
        metavar="PIPELINE",
        help="azimuthal, crystal-mapping, fluorescence, masks, nxstxm, one of another package, or module:factory "
        "(bluesky_ext:ImageProcessor)",
    )
    site.add_to(parser, "where the runs that the pipeline makes are saved, and where masks are")
    parser.add_argument(
        "--write-config",
        type=Path,
        metavar="FILE.toml",
        help="write the settings that there are, with what they mean, to a file, and do nothing else",
    )
    connection.add_receiver_to(parser)
    parser.add_argument(
        "--store",
        metavar="WHERE",
        help="""take runs that were joined in the middle from here when they are over: from a directory of recordings,
            or a catalogue""",
    )
    parser.add_argument(
        "--readable-root",
        type=readable_root,
        action="append",
        metavar="DIRECTORY",
        help="""read images from files below this directory, where detectors write; may be given several times. No file
            that documents name is read otherwise""",
    )
    live.add_to(parser)
    parser.set_defaults(run=run)


def readable_root(text: str) -> str:
    """A directory that images may be read from; it need not be mounted yet."""
    from bluesky_ext.engine.frames.readable import Readable

    try:
        Readable.below([text])
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def run(options: argparse.Namespace) -> int:
    """Serve until it is told to stop."""
    if options.write_config is not None:
        return _write_config(options)
    pipeline = site.pipeline_of(options.pipeline, options.config)
    received = connection.received_by(options)
    from bluesky_ext.server import serve
    from bluesky_ext.transport import RemoteDispatcher

    with ExitStack() as stack:
        callback, where = stack.enter_context(site.built(pipeline, options))
        store = stack.enter_context(store_of(options.store)) if options.store else None

        def ready(dispatcher: RemoteDispatcher) -> None:
            for root in options.readable_root or ():
                if not Path(root).expanduser().is_dir():
                    connection.say(options, f"there is no directory {root} at present")
            if said := site.destinations(where, options):
                connection.say(options, said)
            stack.enter_context(live.served(options, *where.stages, dispatcher))
            connection.say_listening(options, dispatcher)

        dispatcher = serve(
            callback,
            options.address,
            ready=ready,
            store=store,
            readable_roots=options.readable_root or (),
            name=f"serve {options.pipeline}",
            **received,
        )
        connection.say_received(options, dispatcher.stats)
    return 0


def _write_config(options: argparse.Namespace) -> int:
    from bluesky_ext.server.config import template
    from bluesky_ext.server.registry import UnknownPipeline, find

    try:
        text = template(find(options.pipeline))
    except (UnknownPipeline, TypeError) as error:
        raise UsageError(str(error)) from error
    try:
        with options.write_config.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{options.write_config} is there already: give another name") from None
    print(options.write_config)
    return 0
