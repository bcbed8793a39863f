"""``bluesky-ext demo``: a scan of a simulated crystal, analysed while it runs; or the demonstration of an STXM."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bluesky_ext.cli import connection, live
from bluesky_ext.cli.usage import UsageError

log = logging.getLogger(__name__)


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "demo",
        help="scan a simulated sample and analyse it, live",
        description="""Scan a simulated polycrystalline sample in an X-ray beam on a real RunEngine, with
            a dark exposure first, and analyse it while the scan runs: images are averaged and freed of
            their background, peaks located and linked to tracks, and each track becomes a map of a
            grain. Everything is written to a directory: the maps (NetCDF, and crystal_maps.png), the
            tracks as a table (tracks.csv), the peaks of all images on one (peaks.png), and the documents of the
            analysis (recordings). The grains that were found are compared with those in the sample. Or scan a
            simulated sample in an STXM across an absorption edge, and write an NXstxm file while the scan runs; the map
            of the particles in it is compared with those in the sample. The analysis of the crystal can be watched in a
            browser: the address is printed, and stays until Ctrl-C, unless there is no terminal.""",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("what", nargs="?", choices=("crystal", "stxm"), default="crystal", help="what to scan")
    parser.add_argument("-d", "--directory", type=Path, default=Path("bluesky-ext-demo"), help="where the results go")
    parser.add_argument("--points", type=_points, default=(15, 15), metavar="NYxNX", help="points of the grid")
    parser.add_argument(
        "--size", type=_size, default=512, metavar="PIXELS", help="height and width of the detector of the crystal"
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed is another sample")
    parser.add_argument("--no-serve", action="store_true", help="show nothing in a browser, and end with the scan")
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
    if options.what == "stxm":
        return _stxm(options)

    from bluesky import RunEngine

    from bluesky_ext import CrystalMap, ImageProcessor, PeakTracker, Recorder, RegionMaps, TrackLinker
    from bluesky_ext.plans import grid_scan_nd
    from bluesky_ext.sim import beamline

    ny, nx = options.points
    b: Any = beamline(options.seed, (options.size, options.size))
    key = f"{b.detector.name}_image"
    link = {"search_range": 3, "memory": ny * nx}
    ip = ImageProcessor(key, subtrahend="dark")
    pt = PeakTracker(key, diameter=11, minmass=1000)
    tl = TrackLinker(**link)
    cm = CrystalMap(**link, directory=options.directory)
    ip.subscribe(pt)
    rm = RegionMaps(key)  # regions are drawn in the browser
    pt.subscribe(tl)
    pt.subscribe(cm)
    ip.subscribe(rm)

    brightest = _Brightest(key)
    ip.subscribe(brightest, "event")

    (y0, y1), (x0, x1) = b.crystal.extents
    axes = (b.y, y0, y1, ny, b.x, x0, x1, nx)
    exposure = {"time_per_point": 0.2, "time_per_frame": 0.1}
    shutter = {"shutter": b.shutter, "shutter_open": "open", "shutter_close": "closed"}
    RE = RunEngine(call_returns_result=False)
    server = None if options.no_serve else _server(options, cm, tl, pt, ip, rm)
    recorder = Recorder(options.directory / "recordings", on_error="raise")
    with tqdm(total=ny * nx, unit="point", desc="scan") as bar, recorder:
        for stage in (pt, tl, cm):
            stage.subscribe(recorder)
        RE.subscribe(lambda name, doc: bar.update(b.x.name in doc["data"]), "event")
        RE.subscribe(ip)
        uids: Any = RE(grid_scan_nd([b.detector], *axes, **exposure, **shutter, snake=True))

    options.directory.mkdir(parents=True, exist_ok=True)
    table = options.directory / "tracks.csv"
    tl.tracks.to_csv(table, index=False)
    found = _grains_found(b.crystal, cm.dataset)
    print(f"{len(tl.tracks)} peaks in {ny * nx} images, {tl.tracks['particle'].nunique()} tracks")
    print(f"grains with a map of each of their spots: {sum(found)} of {len(found)}")
    pictures = _draw(options.directory, brightest.image, cm.dataset)
    for path in (table, options.directory / f"{uids[0]}.nc", *pictures, *recorder.artifacts):
        print(path)
    if server is not None:
        if sys.stdin.isatty() and sys.stdout.isatty():
            live.keep(options)
        server.close()
    return 0 if all(found) else 1


def _stxm(options: argparse.Namespace) -> int:
    """Scan across an absorption edge, compare with the truth, and say where the file is."""
    from bluesky_ext.stxm.demo import ENERGIES, TooFewPointsError, scan_edge

    ny, nx = options.points
    with tqdm(total=len(ENERGIES), unit="image", desc="scan", delay=0.1) as bar:  # what is refused has no bar
        try:
            path, likeness = scan_edge(options.directory, ny, nx, options.seed, bar.update)
        except TooFewPointsError as error:
            raise UsageError(f"--points: {error}") from None
    print(f"{len(ENERGIES)} images of {ny}x{nx} points across the edge")
    print(f"map of the particles and the truth: correlation {likeness:.3f}")
    print(path)
    return 0 if likeness > 0.9 else 1


def _server(options: argparse.Namespace, *stages: Any) -> Any:
    """A live server of stages, whose address is printed; None if what it takes is not installed."""
    from bluesky_ext import LiveServer

    try:
        server = LiveServer(*stages)
    except ImportError as error:
        connection.say(options, str(error))
        return None
    print(f"watch it at {server.url}", flush=True)
    return server


def _grains_found(crystal: Any, dataset: Any) -> list[bool]:
    """For each grain of the truth, whether each of its spots has a map that looks like the grain."""
    import numpy as np

    positions = np.stack([dataset["y"].values, dataset["x"].values], axis=1)
    places = np.meshgrid(*(dataset[name].values for name in dataset["maps"].dims[1:]), indexing="ij")

    def is_mapped(grain: Any, spot: Any) -> bool:
        distances = np.hypot(*(positions - spot).T)
        nearest = int(np.argmin(distances))
        likeness = np.corrcoef(dataset["maps"].values[nearest].ravel(), grain.intensity(*places).ravel())[0, 1]
        return bool(distances[nearest] < 1.0 and likeness > 0.8)

    return [all(is_mapped(grain, spot) for spot in grain.spots) for grain in crystal.grains]


class _Brightest:
    """The highest value that each pixel of the images has been: an image with all the spots of a scan."""

    def __init__(self, data_key: str) -> None:
        self._data_key = data_key
        self.image: Any = 0.0

    def __call__(self, name: str, doc: Any) -> None:
        import numpy as np

        if f"{self._data_key}_dark" in doc["data"]:  # not the dark itself
            self.image = np.maximum(self.image, doc["data"][self._data_key])


def _draw(directory: Path, brightest: Any, dataset: Any) -> list[Path]:
    """Draw the maps, and where their peaks are, on the brightest that each pixel has been."""
    import pandas as pd

    from bluesky_ext.plots import annotate, plot_crystal_maps

    peaks = pd.DataFrame({"y": dataset["y"].values, "x": dataset["x"].values, "mass": dataset["total"].values})
    figures = {"crystal_maps.png": plot_crystal_maps(dataset), "peaks.png": annotate(brightest, peaks)}
    for name, figure in figures.items():
        figure.savefig(directory / name, dpi=150)
    return [directory / name for name in figures]
