"""``bluesky-ext tune``: settings for the peaks of some images."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from bluesky_ext.cli import site
from bluesky_ext.cli.sources import runs_of
from bluesky_ext.cli.usage import Defaults, UsageError


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "tune",
        help="suggest settings for PeakTracker and CrystalMap from a few images",
        description="""Try diameters on an image and suggest diameter, minmass and separation for PeakTracker, and from
            the images after it search_range for CrystalMap. Of a run, the image with the brightest spot is taken.""",
        formatter_class=Defaults,
    )
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="""files of images (.npy, TIFF, HDF5, EDF, CBF) in the order of the scan; or, with --key, a recording, or
            with --catalog a run: a uid, a scan_id, or -1 for the last one""",
    )
    parser.add_argument("--key", help="the key of the image in the events of a run")
    parser.add_argument("--subtrahend", help="what is taken away: a stream of the run, such as dark, or a file")
    parser.add_argument("--catalog", metavar="CATALOG", help="where the runs are, as for replay")
    parser.add_argument("--frames", type=int, default=50, help="so many events of a run are looked at, the first")
    parser.add_argument(
        "-o", "--picture", type=Path, help="where a picture of the image with its peaks is saved (.png)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Say the settings, and how the diameters did."""
    from bluesky_ext.peaks import suggest

    if options.key is None and options.catalog is not None:
        raise UsageError("--catalog has runs: give --key, the key of the image, too")
    images = list(_of_files(options) if options.key is None else _of_run(options))
    if not images:
        raise LookupError(f"there is no image in {options.sources[0]}: give --key, or other files")
    found = suggest(*images[:3])
    print(found.table.to_string(index=False, float_format="{:.3g}".format))
    print(found)
    if options.picture is not None:
        from matplotlib.figure import Figure

        from bluesky_ext.plots import annotate

        annotate(images[0], found.peaks, diameter=found.diameter, figure=Figure()).savefig(options.picture, dpi=150)
        print(options.picture)
    return 0


def _of_files(options: argparse.Namespace) -> Iterator[np.ndarray]:
    from bluesky_ext.images import mean_frame, read_image, subtract

    dark = None if options.subtrahend is None else mean_frame(read_image(options.subtrahend))
    for source in options.sources:
        image = mean_frame(read_image(source))
        yield image if dark is None else subtract(image, dark)


def _of_run(options: argparse.Namespace) -> list[np.ndarray]:
    """The image with the brightest spot of those looked at, and the two after it."""
    from bluesky_ext import ImageProcessor
    from bluesky_ext.storage import as_source

    images: dict[int, np.ndarray] = {}

    def keep(name: str, document: dict[str, Any]) -> None:
        # Of the dark stream, too, which has no number of a dark.
        if name == "event" and options.key in document["data"] and (dark is None or dark in document["data"]):
            images[document["seq_num"]] = np.asarray(document["data"][options.key])

    is_stream = options.subtrahend is not None and not Path(options.subtrahend).suffix
    dark = f"{options.key}_dark" if is_stream else None
    with ExitStack() as stack:
        catalog = stack.enter_context(site.opened(options.catalog)) if options.catalog else None
        ((_, source),) = runs_of(options.sources, catalog)[:1]
        ip = stack.enter_context(ImageProcessor(options.key, options.subtrahend, on_error="raise"))
        ip.subscribe(keep)
        for pair in as_source(source):
            ip(*pair)
            if len(images) >= options.frames:
                break
    if not images:
        return []
    best = max(images, key=lambda number: float(np.ptp(images[number])))
    return [images[number] for number in range(best, best + 3) if number in images]
