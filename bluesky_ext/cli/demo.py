"""``bluesky-ext demo``: a scan of a simulated crystal, analysed while it runs."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

log = logging.getLogger(__name__)


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "demo",
        help="scan a simulated crystal and track its Bragg peaks, live",
        description="""Scan a simulated polycrystalline sample in an X-ray beam on a real RunEngine, with
            a dark exposure first, and analyse it while the scan runs: images are averaged and freed of
            their background, peaks located, and linked to tracks. Everything is written to a
            directory: the documents of the scan and of the analysis (recordings), the tracks as a
            table (tracks.csv), and a picture of them (tracks.png). The grains that were found are
            compared with those that are in the sample.""",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("-d", "--directory", type=Path, default=Path("bluesky-ext-demo"), help="where the results go")
    parser.add_argument("--points", type=_points, default=(15, 15), metavar="NYxNX", help="points of the grid")
    parser.add_argument("--size", type=_size, default=512, metavar="PIXELS", help="height and width of the detector")
    parser.add_argument("--seed", type=int, default=0, help="another seed is another crystal")
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
    import bluesky.plans as bp
    import bluesky.preprocessors as bpp
    from bluesky import RunEngine

    from bluesky_ext import ImageProcessor, PeakTracker, Recorder, TrackLinker
    from bluesky_ext.sim import beamline

    ny, nx = options.points
    b: Any = beamline(options.seed, (options.size, options.size), frames_per_point=2)
    key = f"{b.detector.name}_image"
    ip = ImageProcessor(key, subtrahend="dark")
    pt = PeakTracker(key, diameter=11, minmass=1000)
    tl = TrackLinker(search_range=3, memory=ny * nx)
    ip.subscribe(pt)
    pt.subscribe(tl)
    recorder = Recorder(options.directory / "recordings")
    for stage in (pt, tl):
        stage.subscribe(recorder)

    (y0, y1), (x0, x1) = b.crystal.extents
    scan = bp.grid_scan([b.detector], b.y, y0, y1, ny, b.x, x0, x1, nx, snake_axes=True)
    RE = RunEngine()
    with tqdm(total=ny * nx, unit="point", desc="scan") as bar, recorder:
        RE.subscribe(lambda name, doc: bar.update("sample_x" in doc["data"]), "event")
        RE.subscribe(ip)
        RE(bpp.plan_mutator(scan, _dark_first(b.detector, b.shutter)))

    tracks = tl.tracks
    options.directory.mkdir(parents=True, exist_ok=True)
    tracks.to_csv(options.directory / "tracks.csv", index=False)
    picture = options.directory / "tracks.png"
    _draw(picture, tracks, options.size)
    found = _grains_found(b.crystal, tracks)
    print(f"{len(tracks)} peaks in {ny * nx} images, {tracks['particle'].nunique()} tracks")
    print(f"grains with all their spots tracked: {sum(found)} of {len(found)}")
    for path in (options.directory / "tracks.csv", picture, *recorder.artifacts):
        print(path)
    return 0 if all(found) else 1


def _dark_first(detector: Any, shutter: Any) -> Any:
    """What puts an exposure with the shutter closed before the first point of a plan."""
    import bluesky.plan_stubs as bps

    def dark() -> Iterator[Any]:
        yield from bps.mv(shutter, "closed")
        yield from bps.trigger_and_read([detector], name="dark")
        yield from bps.mv(shutter, "open")

    def after_the_start(message: Any) -> tuple[None, Any]:
        return None, dark() if message.command == "open_run" else None

    return after_the_start


def _grains_found(crystal: Any, tracks: Any) -> list[bool]:
    """For each grain, whether all of its spots have a track within a pixel."""
    import numpy as np

    means = tracks.groupby("particle")[["y", "x"]].mean().to_numpy()
    return [
        all(np.hypot(*(means - spot).T).min(initial=np.inf) < 1.0 for spot in grain.spots) for grain in crystal.grains
    ]


def _draw(path: Path, tracks: Any, size: int) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.add_subplot(aspect="equal", title="Bragg peaks by track", xlabel="x (pixels)", ylabel="y (pixels)")
    brightest = tracks["mass"].max()
    dots = axes.scatter(
        tracks["x"], tracks["y"], c=tracks["particle"] % 20, s=60 * tracks["mass"] / brightest, cmap="tab20", alpha=0.6
    )
    dots.set_linewidth(0)
    axes.set(xlim=(0, size), ylim=(size, 0))
    figure.savefig(path, dpi=150)
