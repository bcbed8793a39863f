"""``bluesky-ext export crystal-maps``: crystal maps, grains and peaks of stored runs, for other programs."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

from bluesky_ext.cli import site
from bluesky_ext.cli.sources import runs_of
from bluesky_ext.cli.usage import Defaults
from bluesky_ext.engine.documents.printable import printable
from bluesky_ext.engine.documents.provenance import analysis_of


def add_to(formats: Any) -> None:
    """Add the format to those of the command."""
    parser = formats.add_parser(
        "crystal-maps",
        help="crystal maps, reflections, grains and peaks: NeXus, CSV, DIALS",
        description="""Write the crystal maps of scans, with their reflections, grains and peaks, to files: NeXus, which
            silx and NeXpy open; CSV; a reflection table of DIALS. Of a scan, the peaks are read that were found while
            it ran.""",
        epilog="Exit codes: 0 all are written; 1 some are not, and which is said; 2 the command was not understood.",
        formatter_class=Defaults,
    )
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="""a recording of peaks, a directory of recordings, a .nc file of a CrystalMap (which has no peaks), or,
            with --catalog, a scan or the run of its peaks: a uid or six characters of it, a scan_id, or -1 for the last
            one""",
    )
    parser.add_argument("--catalog", metavar="CATALOG", help="where the runs are, as for export nxstxm")
    parser.add_argument("-d", "--directory", type=Path, default=Path(), help="where the files go")
    parser.add_argument(
        "-f", "--formats", default="nexus,csv,dials", help="which of nexus, csv and dials, with commas between them"
    )
    parser.add_argument("--overwrite", action="store_true", help="write over files that are there")
    parser.add_argument("--threshold", type=float, default=0.65, help="how much the maps of a grain overlap")
    parser.add_argument("--max-maps", type=int, default=1000, help="maps of so many reflections, the brightest")
    parser.add_argument(
        "--poni", type=Path, help="the geometry of the detector: q, two_theta, chi and d of peaks and reflections"
    )
    parser.add_argument(
        "--search-range",
        type=float,
        metavar="PIXELS",
        help="link the peaks anew: how far one may move from a frame to the next",
    )
    parser.add_argument(
        "--memory", type=int, default=0, help="for how many frames it may be gone, if they are linked anew"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the files, and say where they are."""
    from bluesky_ext.live.processed.crystal_maps import export_crystal_maps

    failed = False
    with ExitStack() as stack:
        said = stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always", UserWarning)
        catalog = stack.enter_context(site.opened(options.catalog)) if options.catalog else None
        for name, mapped in _mapped(options, catalog):
            try:
                dataset, peaks = mapped if isinstance(mapped, tuple) else _maps_of(name, mapped, options)
                given = {"formats": options.formats.split(","), "overwrite": options.overwrite, "poni": options.poni}
                for path in export_crystal_maps(
                    dataset, options.directory, name, peaks=peaks, threshold=options.threshold, **given
                ):
                    print(path)
            except (LookupError, OSError, TypeError, ValueError) as error:
                failed = True  # the others are written all the same
                _say(str(error))
            for warning in said:
                _say(f"{name}: {warning.message}")
            said.clear()
    return int(failed)


def _say(what: str) -> None:
    print(f"bluesky-ext export: {printable(' '.join(what.split()))}", file=sys.stderr)


def _mapped(options: argparse.Namespace, catalog: Any) -> Iterator[tuple[str, Any]]:
    """Of each scan its short name, and its runs by stage; or a dataset and no peaks."""
    import xarray as xr

    for source in options.sources:
        if source.endswith(".nc"):
            yield Path(source).stem, (xr.load_dataset(source, engine="h5netcdf"), None)
    sources = [source for source in options.sources if not source.endswith(".nc")]
    scans: dict[str, dict[str, Any]] = {}
    for _, found in runs_of(sources, catalog) if sources else ():
        for start, one in _derived(found, catalog):
            runs = scans.setdefault(str(start.get("original_run_uid", start["uid"])), {})
            if analysis_of(start):
                runs[start["analysis_stage"]] = one
    yield from ((uid[:8], runs) for uid, runs in scans.items())


def _derived(run: Any, catalog: Any) -> Iterator[tuple[Mapping[str, Any], Any]]:
    """A run with its start document, or those that were made of it in the catalogue."""
    from bluesky_ext.storage import as_source
    from bluesky_ext.storage.find import find_derived

    start = next(document for name, document in as_source(run) if name == "start")
    if catalog is None or "original_run_uid" in start:
        yield start, run
    else:
        yield from ((one.metadata["start"], one) for one in find_derived(catalog, start["uid"]))


def _maps_of(name: str, runs: Mapping[str, Any], options: argparse.Namespace) -> tuple[Any, Any]:
    """The dataset and the peaks of a scan, from the rows of its peaks."""
    from bluesky_ext import CrystalMap
    from bluesky_ext.storage import as_source

    rows: dict[bool, Any] = {}  # by whether they are linked
    record = None
    for one in runs.values():
        for kind, document in as_source(one):
            if kind == "start" and document["analysis"].get("class", "").endswith(":CrystalMap"):
                record = document["analysis"]
            elif kind == "descriptor" and {"frame", "y", "x", "mass"} <= document["data_keys"].keys():
                rows["particle" in document["data_keys"]] = one
    if not rows:
        there = ", ".join(sorted(runs)) or "nothing"
        raise LookupError(f"of {name} there is {there}, and no peaks: give the run of its PeakTracker")
    parameters = {} if record is None else record["parameters"]
    links = options.search_range is not None or parameters.get("search_range") is not None
    if not links and True not in rows:
        raise LookupError(f"the peaks of {name} are not linked: give --search-range, or the run of its TrackLinker")
    if options.search_range is None and record is not None:
        from bluesky_ext.server.materials import Materials

        made = Materials((), changes={record["stage"]: {"max_maps": options.max_maps}}).stage(record)
        cm = cast("CrystalMap", made)
    else:
        cm = CrystalMap(
            options.search_range, max_maps=options.max_maps, **({"memory": options.memory} if links else {})
        )
    for kind, document in as_source(rows.get(not links, next(iter(rows.values())))):
        cm(kind, document)
    return cm.dataset, cm.tracks
