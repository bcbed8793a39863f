"""``bluesky-ext replay``: stored runs played again, into a server, a pipeline, a catalogue or one's own analysis."""

from __future__ import annotations

import argparse
import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from bluesky_ext.cli import connection, live, replay_pair, site
from bluesky_ext.cli.sources import runs_of
from bluesky_ext.cli.usage import Defaults, UsageError

if TYPE_CHECKING:
    from bluesky_ext.transport import Proxy, Publisher

log = logging.getLogger(__name__)

#: How long what was published may take to arrive, in s: an analysis may be slow, and has Ctrl-C to be given up.
_LINGER = 86_400.0


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "replay",
        help="play stored runs again: into servers, an analysis or a catalogue",
        description="""Play stored runs again, one after another, as fast as they are taken. Where to is one of --at,
            --to, --pipeline and --into, or -w and -r for an analysis of your own. Over 0MQ nothing is lost: a server
            that does not keep up is waited for.""",
        epilog="""Exit codes: 0 all of it went through; 1 something did not, and why is said; 2 the command was not
            understood.""",
        formatter_class=Defaults,
    )
    parser.add_argument(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="""a recording (also of Bluesky's JSONWriter or suitcase-jsonl), a directory of recordings, or, with
            --catalog, a run: a uid or six characters of it, a scan_id, or -1 for the last one""",
    )
    where = parser.add_argument_group("where to")
    where.add_argument(
        "--at",
        type=connection.address,
        metavar="ADDRESS",
        help="have a proxy here, for this replay only, where servers listen: `bluesky-ext serve ... --address ADDRESS`",
    )
    where.add_argument(
        "--to",
        type=connection.address,
        metavar="ADDRESS",
        help="publish to a running proxy, as localhost:5567: one of `bluesky-ext proxy --block`, unless --no-block",
    )
    where.add_argument("--pipeline", metavar="PIPELINE", help="analyse them here: see `bluesky-ext serve --help`")
    where.add_argument(
        "--into",
        metavar="CATALOG",
        help="save the runs themselves in a catalogue, in the place of those that are there without a stop",
    )
    how = parser.add_argument_group("how")
    how.add_argument("--prefix", type=connection.prefix, default="raw", help="of the documents that are published")
    how.add_argument(
        "--no-block", action="store_true", help="go by any proxy, and lose what a listener does not take in time"
    )
    how.add_argument(
        "--patience", type=float, default=60.0, metavar="SECONDS", help="for how long a listener is waited for"
    )
    how.add_argument(
        "--speed",
        type=float,
        metavar="FACTOR",
        help="1 keeps the original rhythm, 10 is ten times as fast; by default as fast as it goes",
    )
    how.add_argument(
        "--no-fill", action="store_true", help="leave images in their files, and hand on references to them"
    )
    replay_pair.add_to(parser)
    site.add_to(parser, "where the runs of SOURCE are; and where those are saved that the pipeline makes")
    live.add_port_to(parser)
    connection.add_wire_to(parser, "serializer")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Replay the runs, and say how many there were."""
    if options.worker or options.reducer:
        return replay_pair.run(options)
    _check(options)
    from bluesky_ext.engine import FrameNotAvailable
    from bluesky_ext.server import replay

    failures = 0
    with ExitStack() as stack:
        catalog = stack.enter_context(site.opened(options.catalog)) if options.catalog else None
        runs = runs_of(options.sources, catalog)
        callback, where = _receiver(options, stack, catalog)
        fill = not (options.no_fill or options.into)
        stack.enter_context(live.served(options, *(() if where is None else where.stages)))
        for number, (name, source) in enumerate(runs, 1):
            title = f"run {name} ({number} of {len(runs)})"
            try:
                replay(source, callback, fill=fill, speed=options.speed, progress=title)
            except FrameNotAvailable as error:  # at its end: all else went through
                connection.say(options, f"{title}: {error}")
                failures += 1
        if callable(close := getattr(callback, "close", None)):
            close()
        failures += _failures(callback, where)
        said = f", {failures} failures (see above)" if failures else ""
        connection.say(options, f"{len(runs)} runs were replayed{said}")
    return 1 if failures else 0


def _check(options: argparse.Namespace) -> None:
    """Refuse what makes no sense, before anything is opened."""
    given = [name for name in ("at", "to", "pipeline", "into") if getattr(options, name) is not None]
    if len(given) != 1:
        said = f"{' and '.join(f'--{name}' for name in given)} were given" if given else "it does not say where to"
        raise UsageError(f"{said}: give one of --at, --to, --pipeline and --into, or -w and -r")
    if not options.sources:
        raise UsageError("it does not say what to replay: give a SOURCE")
    if options.pipeline is None and (options.config or options.executor or options.record):
        raise UsageError("--config, --executor and --record are for a --pipeline")
    if options.pipeline is None and (options.live or options.port or options.keep_alive):
        raise UsageError("--live, --port and --keep-alive are for a --pipeline, or -w and -r")
    if options.no_block and options.to is None:
        raise UsageError("--no-block is for a proxy that runs already (--to)")
    if options.at is not None and (options.curve_secret or options.curve_server):
        raise UsageError("the proxy of a replay (--at) has no CURVE keys: start `bluesky-ext proxy`, and give --to")
    if not options.patience > 0:
        raise UsageError(f"--patience {options.patience:g}: give a time above 0")
    if options.speed is not None and not 0 < options.speed < float("inf"):
        raise UsageError(f"--speed {options.speed:g}: give a number above 0")


def _receiver(options: argparse.Namespace, stack: ExitStack, catalog: Any) -> tuple[Any, Any]:
    """Who gets the documents, and the site of a pipeline."""
    if options.pipeline is not None:
        pipeline = site.pipeline_of(options.pipeline, options.config)
        callback, where = stack.enter_context(site.built(pipeline, options, catalog))
        if said := site.destinations(where, options):
            connection.say(options, said)
        return callback, where
    if options.into is not None:
        from bluesky_ext.storage import save

        into = stack.enter_context(site.opened(options.into))
        return save(into, replace_incomplete=True, on_error="raise"), None
    return _sender(options, stack), None


class _Sender:
    """A publisher, and the proxy that it has for itself, if it has one."""

    def __init__(self, publisher: Publisher, proxy: Proxy | None) -> None:
        self._publisher = publisher
        self._proxy = proxy

    def __call__(self, name: str, document: dict[str, Any]) -> None:
        self._publisher(name, document)

    def close(self) -> None:
        """Wait until all has been sent on."""
        self._publisher.close()
        if self._proxy is not None:
            self._proxy.close()

    @property
    def failures(self) -> int:
        """How many documents were not sent, and how many listeners have not taken all that was."""
        published = self._publisher.stats.unheard + self._publisher.stats.dropped
        if self._proxy is None:
            return published
        passed = self._proxy.stats
        return published + passed.lost + passed.unfinished + passed.stalls


def _sender(options: argparse.Namespace, stack: ExitStack) -> _Sender:
    from bluesky_ext.transport import Proxy, Publisher

    address, proxy = options.to, None
    if address is None:
        # Of its own, so that a listener that does not keep up holds up this replay, and no scan.
        proxy = stack.enter_context(Proxy(None, options.at, block=True, linger=_LINGER))
        connection.say(options, f"servers may listen at {proxy.out_address}; the replay begins with the first of them")
        address = proxy.in_address
    publisher = Publisher(
        address,
        prefix=options.prefix,
        serializer=options.serializer,
        curve_config=connection.curve_of(options),
        block=not options.no_block,
        patience=options.patience,
        on_error="raise",
        linger=_LINGER,
    )
    return _Sender(stack.enter_context(publisher), proxy)


def _failures(callback: Any, where: Any) -> int:
    """What went wrong at the other end, as far as it is known here."""
    if where is not None:
        stats = [stage.stats for stage in where.stages if hasattr(stage, "stats")]
        unsaved = sum(len(getattr(sink, "backups", ())) for sink in where.sinks)
        return unsaved + sum(one.failed + one.subscriber_failures for one in stats)
    if hasattr(callback, "backups"):  # of runs that could not be saved
        return len(callback.backups)
    return callback.failures if isinstance(callback, _Sender) else 0
