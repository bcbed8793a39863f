"""``bluesky-ext export``: files in other formats, from stored runs."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bluesky_ext.cli import export_crystal_maps, site
from bluesky_ext.cli.sources import runs_of
from bluesky_ext.cli.usage import Defaults


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "export",
        help="write stored runs to files of another format",
        description="Write stored runs to files of another format.",
    )
    formats = parser.add_subparsers(dest="format", required=True, metavar="FORMAT")
    nxstxm = formats.add_parser(
        "nxstxm",
        help="NXstxm, the NeXus files of STXM beamlines",
        description="""Write the scans of an STXM to NXstxm files, one for each scan, which Mantis, silx and NeXpy open.
            The runs of a stack go into one file, in whatever order they come. While a file is under construction its
            name ends with .tmp; a scan that is not complete stays so, with all that was measured.""",
        epilog="""Exit codes: 0 all scans are written; 1 a scan is not, or lacks a run, and which is said; 2 the command
            was not understood.""",
        formatter_class=Defaults,
    )
    nxstxm.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="""a recording, a directory of recordings, a JSON file of the documents of some runs by their uids, or,
            with --catalog, a run: a uid or six characters of it, a scan_id, or -1 for the last one""",
    )
    nxstxm.add_argument(
        "--catalog",
        metavar="CATALOG",
        help="""where the runs are: the directory of a catalogue (with a slash: ./runs), the address of a Tiled server
            (with its key in TILED_API_KEY), or a profile of Tiled""",
    )
    nxstxm.add_argument("-d", "--directory", type=Path, default=Path(), help="where the files go")
    nxstxm.add_argument(
        "-p",
        "--prefix",
        default="{uid}",
        help="""name of the files without .hdf5; {uid}, {scan_id}, {plan_name} and other keys of the start document of
            the first run of a scan are put in""",
    )
    nxstxm.add_argument("--overwrite", action="store_true", help="write over files that are there")
    nxstxm.add_argument("--source-name", default=argparse.SUPPRESS, metavar="NAME", help="name of the facility")
    nxstxm.add_argument(
        "--scan-type", default=argparse.SUPPRESS, metavar="TYPE", help="type of the scans that do not say it themselves"
    )
    nxstxm.set_defaults(run=run_nxstxm)
    export_crystal_maps.add_to(formats)


def run_nxstxm(options: argparse.Namespace) -> int:
    """Write the scans, and say where they are."""
    from bluesky_ext.server.playback import expected_events
    from bluesky_ext.storage import as_source
    from suitcase_nxstxm import NXstxmWriter

    given = {name: getattr(options, name) for name in ("source_name", "scan_type") if hasattr(options, name)}
    said: list[str] = []

    def say(what: object) -> None:
        line = " ".join(str(what).split())
        if line not in said:  # that a name is taken is so for each run of a scan
            said.append(line)
            tqdm.write(f"bluesky-ext export: {line}", file=sys.stderr)

    with ExitStack() as stack:
        catalog = stack.enter_context(site.opened(options.catalog)) if options.catalog else None
        # By the time, so that a scan that was broken off and begun again is two, whatever order they are given in.
        runs = sorted((source for _, source in runs_of(options.sources, catalog)), key=_time)
        counts = [expected_events(source) for source in runs]
        total = None if None in counts else sum(count or 0 for count in counts)
        bar = stack.enter_context(tqdm(total=total, unit="event", unit_scale=True, desc="export", disable=None))
        writer = stack.enter_context(
            NXstxmWriter(options.directory, options.prefix, overwrite=options.overwrite, on_error="raise", **given)
        )
        for source in runs:
            try:
                for name, document in _filled(as_source(source)):
                    writer(name, document)
                    bar.update(len(document["seq_num"]) if name == "event_page" else name == "event")
            except (ArithmeticError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
                say(error)  # the others are written all the same
        try:
            writer.finish()
        except (OSError, RuntimeError, ValueError) as error:
            say(error)
        for path in writer.incomplete:
            say(f"{path} is of a scan that isn't complete: give all its runs")
    for paths in writer.artifacts.values():
        for path in paths:
            print(path)
    return int(bool(said))


def _filled(documents: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """The documents with their images; a run some of whose images can't be read ends without its stop document.

    Its file stays under construction then, with what there is.
    """
    from bluesky_ext.engine import FrameNotAvailable
    from bluesky_ext.server.filling import Filling

    filling = Filling()
    for taken in documents:
        for name, document in filling(*taken):
            if name == "stop" and filling.failures:
                raise FrameNotAvailable(
                    f"{len(filling.failures)} images of run {document['run_start']} can't be read, so its file stays "
                    f"under construction: put the files to where the documents say; the first: {filling.failures[0]}"
                )
            yield name, document


def _time(source: Any) -> float:
    """When a run began; those that don't say it come last."""
    from bluesky_ext.storage import as_source

    start = getattr(source, "start", None)
    if not isinstance(start, Mapping):
        start = next((document for name, document in as_source(source) if name == "start"), {})
    time = start.get("time")
    return float(time) if isinstance(time, int | float) else math.inf
