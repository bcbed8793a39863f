"""``bluesky-ext demo``: simulated beamlines, scanned and analysed live, with a summary of what came out and where."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from bluesky_ext.cli import live
from bluesky_ext.cli.demo.report import Report
from bluesky_ext.cli.usage import Defaults, UsageError

if TYPE_CHECKING:
    from bluesky_ext.cli.demo.demonstration import Demonstration
    from bluesky_ext.cli.demo.store import Store

#: Points of the grids, along y and x, and pixels of the detector of the crystal: in full, and quickly.
FULL: dict[str, int] = {"crystal": 15, "fluorescence": 21, "stxm": 51}
QUICK: dict[str, int] = {"crystal": 9, "fluorescence": 9, "stxm": 15}
SIZE, QUICK_SIZE = 512, 256


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "demo",
        help="scan simulated samples and analyse them, live",
        description="""Scan simulated samples on a real RunEngine, and analyse them while the scans run: a polycrystal
            in an X-ray beam, with a dark first, whose peaks become maps of its grains; a film whose fluorescence
            becomes a map of each element; and particles in an STXM across an absorption edge, which become an NXstxm
            file. A browser shows it meanwhile: the address is printed, and stays until Ctrl-C, unless there is no
            terminal. The runs are kept in an embedded catalogue, maps are made again from it, and all that is found is
            compared with the samples. What is not installed is said and left out. At the end it says how long each step
            took, and what was written where. The exit code is 0 if what was found is what is there.""",
        formatter_class=Defaults,
    )
    parser.add_argument("what", nargs="?", choices=("all", *FULL), default="all", help="what to scan")
    parser.add_argument("-d", "--directory", type=Path, default=Path("bluesky-ext-demo"), help="where the results go")
    parser.add_argument("--quick", action="store_true", help="scan less: everything in less than half a minute")
    parser.add_argument("--points", type=_points, metavar="NYxNX", help="points of each grid, such as 15x15")
    parser.add_argument(
        "--size",
        type=_size,
        metavar="PIXELS",
        help=f"height and width of the detector of the crystal; {SIZE}, quickly {QUICK_SIZE}",
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed is another sample")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument(
        "--keep",
        action=argparse.BooleanOptionalAction,
        help="keep showing it until Ctrl-C; without either, where there is a terminal",
    )
    shown.add_argument("--no-serve", action="store_true", help="show nothing in a browser, and end with the scans")
    parser.set_defaults(run=run)


def _points(text: str) -> tuple[int, int]:
    try:
        ny, nx = (int(number) for number in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no grid: give two numbers, such as 15x15") from None
    if min(ny, nx) < 2:
        raise argparse.ArgumentTypeError(f"{text!r} is too small a grid: give at least 2x2")
    return ny, nx


def _size(text: str) -> int:
    if not text.isdigit() or not 128 <= int(text) <= 4096:
        raise argparse.ArgumentTypeError(f"{text!r} is no detector: give a number of pixels from 128 to 4096")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Scan, analyse, compare with the truth, and say where the results are."""
    report = Report()
    directory = options.directory.absolute()
    report.say(f"simulated beamlines, scanned and analysed live; results go to {directory}")
    logging.getLogger("bluesky_ext._compile").setLevel(logging.INFO)  # how long it takes
    with ExitStack() as stack:
        with report.step("load the analyses, and compile their kernels if they are not in the cache"):
            from bluesky import RunEngine

            from bluesky_ext.cli.demo.store import opened_store

            demonstrations = _made(options, directory, report)
            directory.mkdir(parents=True, exist_ok=True)
            store = stack.enter_context(opened_store(directory, report))
        shown = [stage for one in demonstrations for stage in one.shown]
        server = None if options.no_serve or not shown else _server(shown, report)
        if server is not None:
            stack.callback(server.close)
        RE = RunEngine(call_returns_result=False)
        is_true = [_show(one, RE, store, report) for one in demonstrations]
        report.wrote({store.directory: "documents of all runs"})
        report.summary()
        if server is not None and _keeps(options):
            live.keep(options)
    return 0 if all(is_true) else 1


def _keeps(options: argparse.Namespace) -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty() if options.keep is None else options.keep


def _made(options: argparse.Namespace, directory: Path, report: Report) -> list[Demonstration]:
    """The demonstrations; of one for which something is not installed that is said."""
    from bluesky_ext.cli.demo.crystal import CrystalMapping
    from bluesky_ext.cli.demo.demonstration import Settings
    from bluesky_ext.cli.demo.fluorescence import ElementMapping
    from bluesky_ext.cli.demo.stxm import EnergyStack, TooFewPointsError

    makers = {"crystal": CrystalMapping, "fluorescence": ElementMapping, "stxm": EnergyStack}
    size = options.size or (QUICK_SIZE if options.quick else SIZE)
    made: list[Demonstration] = []
    for name in makers if options.what == "all" else (options.what,):
        number = (QUICK if options.quick else FULL)[name]
        try:
            made.append(makers[name](Settings(directory, options.points or (number, number), size, options.seed)))
        except TooFewPointsError as error:
            raise UsageError(f"--points: {error}") from None
        except ImportError as error:
            if options.what != "all":
                raise
            report.say(f"left out: {error}")
    return made


def _server(stages: Sequence[Any], report: Report) -> Any:
    """A live server of stages, whose address is said; None if what it takes is not installed."""
    from bluesky_ext import LiveServer

    try:
        server = LiveServer(*stages)
    except ImportError as error:
        report.say(f"left out: {error}")
        return None
    report.say(f"watch it at {server.url}")
    return server


def _show(demonstration: Demonstration, RE: Any, store: Store, report: Report) -> bool:
    """Scan and say what came out; whether that is true, and comes out of what is kept once more."""
    for stage in demonstration.kept:
        stage.subscribe(store.sink)
    with report.step(demonstration.title):
        with tqdm(total=demonstration.total, unit=demonstration.unit, leave=False, disable=None) as bar:
            subscribers = demonstration.subscribers(bar.update)
            uids = _scanned(RE, demonstration.plan(), {**subscribers, "all": [store.sink, *subscribers["all"]]})
        outcome = demonstration.outcome(uids)
    report.say(*(f"    {line}" for line in outcome.found))
    report.wrote({**outcome.files, **dict.fromkeys(outcome.pictures, "picture")})
    if not demonstration.kept:
        return outcome.is_true
    with report.step(f"the same maps once more, from {store.directory.name}/"):
        agrees = store.again(uids[0])
    report.say("    bit for bit the same came out" if agrees else "    something else came out")
    return outcome.is_true and agrees


def _scanned(RE: Any, plan: Any, subscribers: dict[str, list[Any]]) -> Sequence[str]:
    """The uids of the runs of a plan. Ctrl-C ends it, and the program."""
    from bluesky.utils import RunEngineInterrupted

    try:
        return RE(plan, subscribers)
    except RunEngineInterrupted:
        logging.getLogger("bluesky").setLevel(logging.CRITICAL)  # it logs where the plan was ended, at length
        RE.abort("Ctrl-C")
        raise KeyboardInterrupt from None
