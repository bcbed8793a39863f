"""``bluesky-ext replay -w module:Worker -r module:Reducer``: a user's own analysis, run on what is recorded."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bluesky_ext.cli import connection, live, site
from bluesky_ext.cli.sources import runs_of
from bluesky_ext.cli.usage import UsageError

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

_PICKLES = (".pkl", ".pkls", ".pickle")

log = logging.getLogger(__name__)


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the options of this form of the command."""
    own = parser.add_argument_group(
        "your own analysis",
        """Run a worker and a reducer of yours on a run, on captures of dranspose, or on what a class of yours makes,
        instead of sending runs somewhere: -w src.worker:Worker -r src.reducer:Reducer. Modules in the working directory
        are found. The first event goes to all workers, the others to one each.""",
    )
    own.add_argument("-w", "--worker", metavar="MODULE:CLASS", help="the worker: process_event(event, parameters)")
    own.add_argument("-r", "--reducer", metavar="MODULE:CLASS", help="the reducer: process_result(result, parameters)")
    own.add_argument(
        "-f",
        "--files",
        nargs="+",
        default=[],
        metavar="FILE",
        help="recordings, or captures (.cbors, .cbors.gz), whose events with the same number are one",
    )
    own.add_argument(
        "-s",
        "--source",
        metavar="MODULE:CLASS",
        help="a class whose get_source_generators() returns generators of messages, or of (name, document)",
    )
    own.add_argument(
        "-p", "--parameters", type=Path, metavar="FILE", help="values of parameters: .json, .toml, .yaml or .cbor"
    )
    own.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter; may be given several times"
    )
    own.add_argument(
        "--set-file", action="append", default=[], metavar="NAME=FILE", help="a parameter that is what a file holds"
    )
    own.add_argument(
        "--nworkers",
        type=int,
        default=2,
        metavar="N",
        help="how many workers there are, in threads, unless --executor says where and how many",
    )
    own.add_argument(
        "--join", action="store_true", help="have events of several runs or streams with one number be one"
    )
    own.add_argument("--save", type=Path, metavar="FILE.h5", help="save what the reducer publishes at the end")
    own.add_argument(
        "--output-dir",
        type=Path,
        metavar="DIRECTORY",
        help="save that as a processed file (NeXus) too, named as the raw file",
    )
    own.add_argument(
        "--unsafe-pickle",
        action="store_true",
        help="read captures and parameters that are pickles: they can do anything",
    )
    own.add_argument(
        "--log-level",
        type=str.upper,
        choices=LEVELS,
        default=os.environ.get("LOG_LEVEL", "INFO").upper(),
        help="what of your logging is shown; by default what LOG_LEVEL says",
    )


def run(options: argparse.Namespace) -> int:
    """Run the pair, and say how many events there were."""
    _check(options)
    here = str(Path.cwd())
    if here not in sys.path:  # a console script does not look where it is called
        sys.path.insert(0, here)
    handler = logging.StreamHandler(_AboveTheBar())
    handler.addFilter(_OfUser([options.worker, options.reducer, options.source or ""]))
    form = "%(levelname)s:%(name)s:%(message)s"
    logging.basicConfig(level=options.log_level, format=form, handlers=[handler], force=True)
    try:
        return _run(options)
    except Exception as error:
        return _explained(error)


class _OfUser(logging.Filter):
    """Passes the log of the user's modules, and of all others what is a warning or worse."""

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__()
        self._packages = {name.partition(":")[0].partition(".")[0] for name in classes}

    def filter(self, record: logging.LogRecord) -> bool:
        from bluesky_ext.live.errors import is_users

        if record.levelno >= logging.WARNING or record.name.partition(".")[0] in self._packages:
            return True
        return is_users(record.pathname)


class _AboveTheBar:
    """Where stderr is, but a progress bar is not torn by it."""

    def write(self, text: str) -> None:
        tqdm.write(text, file=sys.stderr, end="")

    def flush(self) -> None:
        sys.stderr.flush()


def _check(options: argparse.Namespace) -> None:
    """Refuse what makes no sense, before anything is loaded."""
    if not (options.worker and options.reducer):
        raise UsageError("for an analysis of your own give both -w and -r")
    names = ("at", "to", "pipeline", "into", "config", "record", "speed")
    if odd := [f"--{name}" for name in names if getattr(options, name) is not None]:
        raise UsageError(f"{odd[0]} is not for an analysis of your own (-w)")
    if bool(options.source) == bool(options.sources or options.files):
        raise UsageError("it does not say what to replay: give -f FILE ..., -s MODULE:CLASS, or --catalog CATALOG RUN")
    if options.log_level not in LEVELS:
        raise UsageError(f"LOG_LEVEL={options.log_level}: give one of {', '.join(LEVELS)}")
    if options.nworkers < 1:
        raise UsageError(f"--nworkers {options.nworkers}: give a number above 0")


def _run(options: argparse.Namespace) -> int:
    from bluesky_ext.live.replay.replayed import Replayed
    from bluesky_ext.live.replay.run_pair import play
    from bluesky_ext.live.replay.sources import batches_of
    from bluesky_ext.server.executors import lanes_of
    from bluesky_ext.server.playback import expected_events

    with ExitStack() as stack:
        source = _source(options, stack)
        executor = stack.enter_context(lanes_of(options.executor, options.nworkers))
        analysis = stack.enter_context(
            Replayed(
                options.worker,
                options.reducer,
                parameters=_values(options),
                workers=options.nworkers,
                executor=executor,
            )
        )
        batches = batches_of(source, join=options.join, unsafe_pickle=options.unsafe_pickle)
        stack.enter_context(live.served(options, analysis))
        played = play(analysis, batches, total=expected_events(source) if sys.stderr.isatty() else None)
        _save(options, analysis, played)
        failed, lost = played.run.failed, played.lost
        said = f"{played.events} events"
        if failed:
            said += f", {failed} failed in the worker"
        if lost:
            said += f", {lost} never came"
        connection.say(options, said)
    return 1 if failed or lost else 0


def _save(options: argparse.Namespace, analysis: Any, played: Any) -> None:
    """Save what the reducer published, where that is asked for."""
    from bluesky_ext.live import ProcessedFile, save_tree

    if options.save is not None:
        connection.say(options, f"saved {save_tree(played.run.snapshot(), options.save)}")
    if options.output_dir is not None:
        start = dict(played.start)
        start.setdefault("filename", Path((options.files or ["replay"])[0]).name.partition(".")[0] + ".h5")
        about = {"program": f"{options.worker} and {options.reducer}"}
        file = ProcessedFile(start, analysis.settings, directory=options.output_dir, about=about)
        file.replace(played.run.snapshot(), analysis.settings)
        if (path := file.close()) is not None:
            connection.say(options, f"saved {path}")


def _source(options: argparse.Namespace, stack: ExitStack) -> Any:
    """What is to be replayed."""
    from bluesky_ext.live.classes import class_of
    from bluesky_ext.live.replay.sources import is_capture

    if options.source:
        return class_of(options.source, "get_source_generators", "self")
    names = [*options.files, *options.sources]
    if any(map(is_capture, names)):
        return names
    catalog = stack.enter_context(site.opened(options.catalog)) if options.catalog else None
    runs = [run for _, run in runs_of(names, catalog)]
    return runs[0] if len(runs) == 1 else runs


def _values(options: argparse.Namespace) -> dict[str, Any]:
    """The values of parameters that were given."""
    from bluesky_ext.live.files import read_parameters
    from bluesky_ext.live.replay.pickles import read_pickled_parameters

    values: dict[str, Any] = {}
    if options.parameters is not None and options.parameters.suffix in _PICKLES:
        if not options.unsafe_pickle:
            raise UsageError(
                f"{options.parameters} is a pickle, which can do anything: give --unsafe-pickle to read it"
            )
        values = read_pickled_parameters(options.parameters)
    elif options.parameters is not None:
        values = read_parameters(options.parameters)
    for text in options.set:
        name, value = _named(text, "--set")
        values[name] = value
    for text in options.set_file:
        name, file = _named(text, "--set-file")
        values[name] = Path(file).read_bytes()
    return values


def _named(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise UsageError(f"{option} {text}: give it as NAME=VALUE")
    return name, value


def _explained(error: Exception) -> int:
    """Show the lines of the user's code that an exception came through; if there are none, raise it again."""
    from bluesky_ext.live.errors import frames_of

    frames = frames_of(error)
    if not frames:
        raise error
    lines = [
        "Traceback (most recent call last):\n",
        *traceback.format_list(frames),
        *traceback.format_exception_only(error),
    ]
    sys.stderr.write("".join(lines))
    return 1
