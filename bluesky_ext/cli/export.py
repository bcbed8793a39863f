"""``bluesky-ext export``: files in other formats, from recorded runs."""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bluesky_ext.documents import Recording, as_source

Pair = tuple[str, dict[str, Any]]


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "export",
        help="write recorded runs to files of another format",
        description="Write recorded runs to files of another format.",
    )
    formats = parser.add_subparsers(dest="format", required=True, metavar="FORMAT")
    nxstxm = formats.add_parser(
        "nxstxm",
        help="NXstxm, the NeXus files of STXM beamlines",
        description="""Write the scans of an STXM to NXstxm files, one for each scan, which Mantis, silx and NeXpy open.
            The runs of a stack go into one file, in whatever order they come. While a file is under construction its
            name ends with .tmp; a scan that is not complete stays so, with all that was measured.""",
        epilog="""Exit codes: 0 all scans are written; 1 a scan is not, and why is said; 2 the command was not
            understood.""",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    nxstxm.add_argument(
        "sources",
        nargs="+",
        type=Path,
        metavar="SOURCE",
        help="""a recording, a directory of recordings, or a JSON file of the documents of some runs by their uids""",
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


def run_nxstxm(options: argparse.Namespace) -> int:
    """Write the scans, and say where they are."""
    # By the name under which Bluesky finds suitcases: it is a package of its own, that can be had without this one.
    suitcase = importlib.import_module("suitcase.nxstxm")
    given = {name: getattr(options, name) for name in ("source_name", "scan_type") if hasattr(options, name)}
    runs = list(_runs(options))
    with (
        suitcase.NXstxmWriter(options.directory, options.prefix, overwrite=options.overwrite, **given) as writer,
        tqdm(total=_events(runs), unit="event", unit_scale=True, desc="export") as bar,
    ):
        for run in runs:
            for name, document in run:
                writer(name, document)
                bar.update(len(document["seq_num"]) if name == "event_page" else name == "event")
        writer.finish()
    for path in _paths(writer.artifacts):
        print(path)
    return 0


def _runs(options: argparse.Namespace) -> Iterator[Iterable[Pair]]:
    """The runs of all sources, each an iterable of its documents."""
    for path in options.sources:
        if path.is_dir():
            recordings = Recording.find(path)
            if not recordings:
                raise FileNotFoundError(f"there is no recording in {path}")
            yield from map(as_source, recordings)
        else:
            yield from _dumped(path) or [as_source(path)]


def _dumped(path: Path) -> list[list[Pair]]:
    """The runs of a JSON file that has their documents by uids, as databroker is dumped; none if it is no such file."""
    if path.suffix != ".json":
        return []
    with path.open("rb") as file:
        # The JSON of a recording is a list, or a document a line; this one is one object, or that in a string again.
        if file.read(64).lstrip()[:1] not in (b"{", b'"'):
            return []
        file.seek(0)
        try:
            found = json.load(file)
        except ValueError:
            return []
    if isinstance(found, str):
        found = json.loads(found)
    if not isinstance(found, dict) or not all(isinstance(documents, list) for documents in found.values()):
        return []
    return [[(name, document) for name, document in documents] for documents in found.values()]


def _events(runs: Iterable[Iterable[Pair]]) -> int | None:
    """How many events the runs have, as far as their stop documents say it; None if one does not."""
    total = 0
    for run in runs:
        stop = run.stop if isinstance(run, Recording) else _last(run)
        if stop is None:
            return None
        total += sum(stop.get("num_events", {}).values())
    return total


def _last(run: Iterable[Pair]) -> dict[str, Any] | None:
    return next((document for name, document in run if name == "stop"), None)


def _paths(artifacts: dict[str, list[Any]]) -> list[Any]:
    return [path for paths in artifacts.values() for path in paths]
