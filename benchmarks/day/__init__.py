"""A day at a beamline: many runs, one of them an hour long, the servers up all the time, and what fails meanwhile.

The beamline is a process that saves its runs in a catalogue and publishes them; a proxy passes them on, and a server
maps crystals, saves the maps in the same catalogue and shows them live. Meanwhile the server is killed and started
again, no file can grow for a while, as on a full disk, and the proxy stands still, as when the network is gone. At the
end each run is looked for; what the server did not get is analysed from the catalogue.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.day.beamline import Beamline, is_mapped
from benchmarks.day.documents import Day, write_frames
from benchmarks.day.losses import SILENT, WHOLE, losses_of_analysis, losses_of_saving
from benchmarks.day.servers import PATIENCE, Servers
from bluesky_ext import Publisher, open_catalog, save
from bluesky_ext.storage import close_catalog


def figures(day: Day, directory: Path) -> dict[str, Any]:
    """Play a day in a directory, and say what came of it."""
    frames = directory / "frames.h5"
    write_frames(frames, day)
    began = time.perf_counter()
    with ExitStack() as stack:
        catalog = open_catalog(directory / "runs")
        stack.callback(close_catalog, catalog)
        saver = stack.enter_context(save(catalog, backup=directory / "backup"))
        servers = Servers(directory)
        stack.callback(servers.close)
        publisher = stack.enter_context(Publisher(servers.address, prefix=b"raw", wait=PATIENCE))
        beamline = Beamline(day, saver, publisher, servers, frames)
        beamline.play()
        last = list(beamline.runs)[-1]
        servers.wait_for(lambda: is_mapped(catalog, last), "the maps of the last run")
        peak = servers.peak()
        servers.close()  # what it has is saved, and what it misses said
        saved = losses_of_saving(beamline.runs, catalog, saver)
        became = losses_of_analysis(beamline.runs, catalog, servers.log("server"))
        again = [uid for uid, what in became.items() if what != WHOLE and uid in catalog and catalog[uid].stop]
        if again:
            servers.replay(again)
        after = losses_of_analysis(beamline.runs, catalog, "")
        published = asdict(publisher.stats)
    return {
        "day": asdict(day),
        "runs": len(beamline.runs),
        "images": sum(run.events for run in beamline.runs.values()),
        "s in all": round(time.perf_counter() - began, 1),
        **_times(beamline),
        **_memory(beamline),
        "MB of the server, at most": round(peak, 1),
        "published": published,
        **saved,
        **{f"runs {what}": number for what, number in Counter(became.values()).items()},
        "runs lost in silence": Counter(became.values())[SILENT],
        "runs analysed whole after a replay": Counter(after.values())[WHOLE],
    }


def _times(beamline: Beamline) -> dict[str, float]:
    """How long runs without a fault took, and how fast the long one was."""
    short = [run.took for run in beamline.runs.values() if not run.fault]
    tenth = max(1, len(short) // 10)
    (long,) = (run for run in beamline.runs.values() if run.fault == "long")
    return {
        "images/s in the long run": round(long.events / long.took, 1),
        "ms a run, first tenth": round(1e3 * median(short[:tenth]), 1),
        "ms a run, last tenth": round(1e3 * median(short[-tenth:]), 1),
    }


def _memory(beamline: Beamline) -> dict[str, float]:
    """What the two processes had in memory early and late; before and after the kill the server is not the same."""
    found = {}
    fifth = max(1, len(beamline.memory) // 5)
    for name, part in (("first", beamline.memory[:fifth]), ("last", beamline.memory[-fifth:])):
        for process, values in zip(("beamline", "server"), zip(*part, strict=True), strict=True):
            found[f"MB of the {process}, {name} fifth"] = round(median(values), 1)
    return found


def main(arguments: Sequence[str] = ()) -> bool:
    """Play a day and print its figures; whether nothing was lost in silence."""
    default = Day()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.day", description=__doc__)
    for name in ("runs", "seconds", "rate", "size"):
        parser.add_argument(f"--{name}", type=int, default=getattr(default, name))
    for name in ("fault", "pause"):
        parser.add_argument(f"--{name}", type=float, default=getattr(default, name))
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args(arguments)
    day = Day(options.runs, options.seconds, options.rate, options.size, options.fault, options.pause)
    with tempfile.TemporaryDirectory() as directory:
        found = figures(day, Path(directory))
    for name, value in found.items():
        print(f"{name:<68} {value}")
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    return not found["runs lost in silence"] and not found["events that were not saved and not counted"]


def program() -> int:
    """``python -m benchmarks.day``."""
    return 0 if main(sys.argv[1:]) else 1
