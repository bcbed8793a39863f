"""Simulated scans in front of a live server: ``python tests/view/live_scan.py crystal --rate 20``, until Ctrl-C."""

from __future__ import annotations

import argparse
import itertools
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import bluesky.plans as bp
import numpy as np
from bluesky import RunEngine

from bluesky_ext import (
    AzimuthalIntegrator,
    CrystalMap,
    Diffractograms,
    FluorescenceFit,
    FluorescenceMap,
    LiveServer,
    PeakTracker,
    RegionMaps,
)
from bluesky_ext.sim import beamline, powder_beamline
from bluesky_ext.sim.fluorescence import fluorescence_beamline

Documents = list[tuple[str, dict[str, Any]]]


class Analysis(NamedTuple):
    """What documents go to, what is shown of it, and the documents of a scan."""

    first: Any
    shown: tuple[Any, ...]
    docs: Documents


def documents_of(plan: Any) -> Documents:
    """Run a plan, and keep its documents."""
    docs: Documents = []
    RunEngine({})(plan, lambda name, doc: docs.append((name, doc)))
    return docs


def plan(b: Any, how: str, ny: int, nx: int) -> Any:
    """A scan over the sample: a snaked grid, a line, or a spiral, whose points are scattered."""
    if how == "line":
        return bp.scan([b.detector], b.x, -0.5, 0.5, ny * nx)
    if how == "spiral":
        return bp.spiral([b.detector], b.x, b.y, 0, 0, 1.0, 1.0, 1.3 / max(ny, nx), 5)
    return bp.grid_scan([b.detector], b.y, -0.5, 0.5, ny, b.x, -0.5, 0.5, nx, snake_axes=True)


def crystal(how: str = "grid", ny: int = 15, nx: int = 20, size: int = 256) -> Analysis:
    """Peaks, and a crystal map."""
    b = beamline(1, (size, size), n_grains=5)
    pt, cm = PeakTracker("dexela_image", 11, minmass=700), CrystalMap(search_range=3, memory=10_000)
    pt.subscribe(cm)
    rm = RegionMaps("dexela_image")

    def first(name: str, doc: dict[str, Any]) -> None:
        pt(name, doc)
        rm(name, doc)

    return Analysis(first, (cm, pt, rm), documents_of(plan(b, how, ny, nx)))


def fluorescence(how: str = "grid", ny: int = 15, nx: int = 20, size: int = 0) -> Analysis:
    """Spectra, and maps of elements."""
    b = fluorescence_beamline(1, extents=((-0.6, 0.6), (-0.6, 0.6)))
    key, cfg = "xspress3_spectra", b.sample.cfg
    fit, maps = FluorescenceFit(key, cfg), FluorescenceMap(key, cfg)
    rm = RegionMaps(key, kinds=("range",))
    fit.subscribe(maps)
    fit.subscribe(rm)
    return Analysis(fit, (maps, fit, rm), documents_of(plan(b, how, ny, nx)))


def powder(how: str = "grid", ny: int = 15, nx: int = 20, size: int = 256) -> Analysis:
    """Diffractograms, and maps of two regions of them."""
    b = powder_beamline(1, (size, size))
    ai = AzimuthalIntegrator("dexela_image", b.powder.poni, 500, "2th_deg", error_model="poisson")
    middle = float(np.median(ai.integrator.radial))
    dg = Diffractograms("dexela_image", rois={"low": (middle - 2, middle), "high": (middle, middle + 2)})
    rm = RegionMaps("dexela_image_intensity", kinds=("range",))
    ai.subscribe(dg)
    ai.subscribe(rm)
    return Analysis(ai, (dg, ai, rm), documents_of(plan(b, how, ny, nx)))


def again(docs: Documents) -> Iterator[tuple[str, dict[str, Any]]]:
    """The same scan once more: with uids and times of its own."""
    scan = str(uuid.uuid4())
    old, shift = docs[0][1]["uid"], time.time() - docs[0][1]["time"]
    streams: dict[str, str] = {}
    for name, doc in docs:
        new = {**doc, "time": doc["time"] + shift, "uid": scan if name == "start" else str(uuid.uuid4())}
        if name == "descriptor":
            streams[doc["uid"]] = new["uid"]
        if doc.get("run_start") == old:
            new["run_start"] = scan
        if "descriptor" in doc:
            new["descriptor"] = streams[doc["descriptor"]]
        if name == "event":
            new["time"] = time.time()
        yield name, new


def paced(docs: Iterator[tuple[str, dict[str, Any]]], rate: float) -> Iterator[tuple[str, dict[str, Any]]]:
    """Documents with so many events a second."""
    due = time.monotonic()
    for name, doc in docs:
        if name == "event":
            due += 1 / rate
            time.sleep(max(0.0, due - time.monotonic()))
            if "time" in doc:
                doc["time"] = time.time()
        yield name, doc


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("crystal", "fluorescence", "powder"))
    parser.add_argument("--how", choices=("grid", "line", "spiral"), default="grid")
    parser.add_argument("--rate", type=float, default=20.0, help="events a second")
    parser.add_argument("--points", default="15x20", metavar="NYxNX")
    parser.add_argument("--size", type=int, default=256, help="rows and columns of the images")
    parser.add_argument("--address", default="127.0.0.1:8888")
    parser.add_argument("--scans", type=int, default=0, help="so many scans; without end unless given")
    parser.add_argument("--rest", type=float, default=3.0, help="seconds between two scans")
    given = parser.parse_args()
    ny, nx = map(int, given.points.split("x"))
    first, shown, docs = globals()[given.what](given.how, ny, nx, given.size)
    with LiveServer(*shown, address=given.address) as server:
        sys.stdout.write(f"{server}\n")
        sys.stdout.flush()
        for number in itertools.count(1) if not given.scans else range(1, given.scans + 1):
            for name, doc in paced(again(docs), given.rate):
                first(name, {**doc, "scan_id": number} if name == "start" else doc)
            time.sleep(given.rest)
        while True:
            time.sleep(1)


if __name__ == "__main__":
    main()
