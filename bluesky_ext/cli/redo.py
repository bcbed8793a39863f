"""``bluesky-ext redo``: derived runs made again from what they say of themselves, and compared."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bluesky_ext.cli import site
from bluesky_ext.cli.sources import runs_of
from bluesky_ext.cli.usage import Defaults, UsageError
from bluesky_ext.server.executors import executor_of


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "redo",
        help="make the results of an analysis again, and say whether they are the same",
        description="""Make derived runs again: the stages that a run went through are made anew from its documents,
            with the masks and arrays that they had then, the raw run is replayed through them, and what comes out is
            compared with what came out then. What is different is said, a line each: versions, masks, options, events
            that are not there.""",
        epilog="""Exit codes: 0 all came out the same; 1 something did not, or can't be made again, and why is said; 2
            the command was not understood.""",
        formatter_class=Defaults,
    )
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="""the last run of a chain of stages: a recording, a directory of them, or, with --catalog, a uid or six
            characters of it; or a scan of the catalogue, a scan_id, or -1 for the last one: all that was made of it""",
    )
    parser.add_argument(
        "--catalog",
        metavar="CATALOG",
        help="""where the runs are: the directory of a catalogue (with a slash: ./runs), the address of a Tiled server
            (with its key in TILED_API_KEY), or a profile of Tiled""",
    )
    parser.add_argument(
        "--from",
        dest="source",
        metavar="SOURCE",
        help="""where the raw runs are: a recording, a directory of recordings, or a catalogue; the place of the run
            itself unless given""",
    )
    parser.add_argument(
        "--masks", metavar="CATALOG", help="the catalogue that has the masks; that of --catalog unless given"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="changes",
        metavar="STAGE.PARAMETER=VALUE",
        help="another value of a parameter, as in PeakTracker.diameter=13, to see what it changes; several times",
    )
    parser.add_argument(
        "--known",
        action="append",
        default=[],
        metavar="MODULE:NAME",
        help="""a stage of your own, or a function that is a parameter; it is imported, also from the working directory.
            What a document names is not""",
    )
    parser.add_argument("--into", metavar="CATALOG", help="the catalogue in which what is made is saved")
    parser.add_argument("--record", type=Path, metavar="DIRECTORY", help="where what is made is recorded")
    parser.add_argument(
        "--executor",
        type=site.executor,
        metavar="WHERE",
        help="where events are worked on: threads:2, processes:2 or dask:tcp://host:8786; one after another by default",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Make the runs again, and say of each what came of it."""
    from bluesky_ext.server import redo
    from bluesky_ext.server.registry import UnknownPipeline, load

    changes = _changes(options.changes)
    try:
        known = [load(name) for name in options.known]
    except UnknownPipeline as error:
        raise UsageError(f"--known: {error}") from error
    different = 0
    with ExitStack() as stack:
        catalog = stack.enter_context(site.opened(options.catalog)) if options.catalog else None
        masks = stack.enter_context(site.opened(options.masks)) if options.masks else catalog
        sinks: list[Any] = [options.record] if options.record is not None else []
        if options.into is not None:
            from bluesky_ext.storage import save

            into = stack.enter_context(site.opened(options.into))
            sinks.append(stack.enter_context(save(into, on_error="raise")))
        executor = stack.enter_context(executor_of(options.executor))
        source = _source(options, stack, catalog)
        runs = [made for run in runs_of(options.runs, catalog) for made in _made_of(run, catalog)]
        for number, (name, one) in enumerate(runs, 1):
            try:
                redone = redo(
                    one,
                    getattr(one, "path", Path()).parent if source is None else source,
                    *sinks,
                    registry=masks,
                    known=known,
                    changes=changes,
                    executor=executor,
                    progress=f"run {name} ({number} of {len(runs)})",
                )
            except (LookupError, OSError, ValueError) as error:
                if options.verbose:
                    raise
                print(f"bluesky-ext redo: run {name}: {' '.join(str(error).split())}", file=sys.stderr)
                different += 1
            else:
                print(redone)
                different += not redone.agrees
    return 1 if different else 0


def _made_of(named: tuple[str, Any], catalog: Any) -> list[tuple[str, Any]]:
    """The run itself, or those that were made of it, if it is a scan of the catalogue."""
    from bluesky_ext.storage import find_derived

    start = getattr(named[1], "metadata", {}).get("start")
    if not start or "original_run_uid" in start:
        return [named]
    derived = find_derived(catalog, start["uid"])
    if not derived:
        raise LookupError(f"nothing that was made of run {start['uid']} is in the catalogue")
    return [(run.metadata["start"]["uid"][:8], run) for run in derived]


def _source(options: argparse.Namespace, stack: ExitStack, catalog: Any) -> Any:
    """Where the raw runs are; None for the directory of a recording."""
    where = options.source
    if where is None:
        return catalog
    path = Path(where).expanduser()
    if path.exists() and not (path / "catalog.db").exists():
        return path
    return stack.enter_context(site.opened(where))


def _changes(texts: list[str]) -> dict[str, dict[str, Any]]:
    """The parameters that are to be others."""
    changes: dict[str, dict[str, Any]] = {}
    for text in texts:
        where, equals, value = text.partition("=")
        stage, dot, name = where.rpartition(".")
        if not (equals and dot and stage and name):
            raise UsageError(f"--set {text}: give STAGE.PARAMETER=VALUE, as in PeakTracker.diameter=13")
        try:
            changes.setdefault(stage, {})[name] = json.loads(value)
        except ValueError:  # a word without quotes
            changes.setdefault(stage, {})[name] = value
    return changes
