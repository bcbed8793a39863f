"""What a stack of images costs on its way into an NXstxm file, against h5py writing the same chunks; and its memory."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import event_model
import h5py
import numpy as np

from benchmarks.runner import Figure, at_least, at_most, is_so

SHAPE = (500, 500)
ENERGIES = 200
SPEED, POINTS, MEMORY = 0.75, 25_000, 100
KEY = {"source": "sim", "dtype": "array", "shape": [*SHAPE], "object_name": "counter0", "units": "counts"}


def planes():
    """A few different planes of counts, which are what a detector gives; float32."""
    rng = np.random.default_rng(0)
    return [rng.poisson(1000, SHAPE).astype("f4") for _ in range(4)]


def start(plane, energies):
    """The metadata of one run of the stack."""

    def roi(points, name):
        return {"SETPOINTS": list(map(float, points)), "NPOINTS": len(points), "POSITIONER": name}

    region = {"X": roi(range(SHAPE[1]), "SampleX"), "Y": roi(range(SHAPE[0]), "SampleY")}
    single = {"EV_ROIS": [700.0 + i for i in range(energies)], "DWELL": [1.0] * energies, "SP_ROIS": [region]}
    return {
        "scan_type": 7,
        "rois": {"0": region},
        "sp_id_lst": [0],
        "primary_det": "counter0",
        "dwell": 1.0,
        "wdg_com": json.dumps({"SPATIAL_ROIS": {"0": region}, "SINGLE_LST": single}),
        "img_idx_map": json.dumps({"e_idx": plane, "entry": "entry0", "sp_id": 0, "sp_idx": 0, "pol_idx": 0}),
    }


def documents(energies, images, lines):
    """The documents of a stack, a run for each energy."""
    for plane in range(energies):
        bundle = event_model.compose_run(metadata={"metadata": json.dumps(start(plane, energies))}, validate=False)
        stream = bundle.compose_descriptor(name="primary", data_keys={"counter0_image": KEY}, validate=False)
        yield "start", bundle.start_doc
        yield "descriptor", stream.descriptor_doc
        image = images[plane % len(images)]
        for value in image if lines else [image]:
            data = {"counter0_image": value}
            yield "event", stream.compose_event(data=data, timestamps={"counter0_image": 1.0}, validate=False)
        yield "stop", bundle.compose_stop(validate=False)


def ours(directory, energies, images, lines):
    """Seconds of CPU that the writer takes for a stack, from its start to its final name, without making documents."""
    from suitcase_nxstxm import NXstxmWriter

    took = 0.0
    writer = NXstxmWriter(directory, "scan", overwrite=True)
    for name, doc in documents(energies, images, lines):
        began = time.thread_time()
        writer(name, doc)
        took += time.thread_time() - began
    began = time.thread_time()
    (path,) = writer.finish()
    return took + time.thread_time() - began, path


def theirs(directory, energies, images, like):
    """Seconds of CPU that h5py takes for the chunks of the same dataset, and to bring them to the disk."""
    began = time.thread_time()
    with h5py.File(directory / "plain.h5", "w") as file:
        options = {name: like[name] for name in ("chunks", "compression", "compression_opts", "shuffle")}
        data = file.create_dataset("data", (energies, *SHAPE), "f4", **options)
        for plane in range(energies):
            data[plane] = images[plane % len(images)]
    with open(directory / "plain.h5", "rb+") as file:
        os.fsync(file.fileno())
    return time.thread_time() - began


def points(sizes, directory, **options):
    """Events per second of CPU of a scan point by point, its finish included; and the calls that an event passes.

    `sizes` has the number of points of each motor, the slowest first.
    """
    from suitcase_nxstxm import NXstxmWriter

    names = [*sizes, "counter0", *(f"{name}_setpoint" for name in sizes)]
    key = {"source": "sim", "dtype": "number", "shape": []}
    shape, number = [*sizes.values()], math.prod(sizes.values())
    start = {"motors": [*sizes], "detectors": ["counter0"], "shape": shape, "num_points": number}
    start["extents"] = [[0, size - 1] for size in shape]
    bundle = event_model.compose_run(metadata=start, validate=False)
    stream = bundle.compose_descriptor(name="primary", data_keys=dict.fromkeys(names, key), validate=False)
    writer = NXstxmWriter(directory, on_error="raise", **options)
    writer("start", bundle.start_doc)
    writer("descriptor", stream.descriptor_doc)
    took, calls = 0.0, []
    for event, place in enumerate(np.ndindex(*shape)):
        where = [float(step) for step in place]
        data = dict(zip(names, (*where, 1.0 * event, *where), strict=True))
        doc = stream.compose_event(data=data, timestamps=data, validate=False)
        if event == 100:
            sys.setprofile(lambda frame, what, argument: calls.append(what) if "call" in what else None)
        began = time.thread_time()
        writer("event", doc)
        took += time.thread_time() - began
        sys.setprofile(None)
    began = time.thread_time()
    writer("stop", bundle.compose_stop(validate=False))
    return number / (took + time.thread_time() - began), len(calls) - 3  # those of the measurement


def stack(energies, lines, directory):
    ours(Path(directory), energies, planes()[:1], lines)


def innermost(energies, side, directory):
    points({"sample_y": side, "sample_x": side, "energy": energies}, directory, scan_type=7)


def peak(write, *args):
    """Have a process write a scan, and put its peak resident memory in MB to the queue that is the last argument."""
    write(*args[:-1])
    # Not ru_maxrss, which begins with what the parent has.
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    args[-1].put(int(line.split()[1]) / 1024)


def memory(*args):
    """The peak memory of a process of its own that calls a function with these arguments."""
    context = multiprocessing.get_context("spawn")
    report = context.Queue()
    process = context.Process(target=peak, args=(*args, report))
    process.start()
    found = report.get(timeout=600)
    process.join()
    return found


def main() -> Iterator[Figure]:
    images = planes()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        ratios = []
        for _ in range(2):
            took, path = ours(directory, ENERGIES, images, lines=False)
            with h5py.File(path) as file:
                data = file["entry0/counter0/data"]
                names = ("chunks", "compression", "compression_opts", "shuffle")
                like = {name: getattr(data, name) for name in names}
                exact = all(np.array_equal(data[i], images[i % len(images)]) for i in (0, 1, ENERGIES - 1))
            plain = theirs(directory, ENERGIES, images, like)
            ratios.append(plain / took)
        size = f"{ENERGIES} x {SHAPE[0]} x {SHAPE[1]} float32"
        yield at_least(f"{size}, an event for each plane, against plain h5py", float(np.median(ratios)), "x", SPEED)
        yield is_so("  the numbers in the file are those of the documents", exact)
        energies = 20
        took, _ = ours(directory, energies, images, lines=True)
        events = energies * SHAPE[0]
        yield Figure("an event for each line", events / took, "events/s")
        speed, calls = points({"sample_y": 200, "sample_x": 250}, name)
        yield at_least("an event for each point", speed, "events/s", POINTS)
        yield Figure("  of Python for each of these", calls, "calls")
        for energies, lines in ((20, False), (ENERGIES, False), (ENERGIES // 4, True)):
            what = f"the peak memory of {energies} energies, an event for each {'line' if lines else 'plane'}"
            yield at_most(what, memory(stack, energies, lines, name), "MB", MEMORY)
        speed, _ = points({"sample_y": 40, "sample_x": 40, "energy": 40}, name, scan_type=7)
        yield Figure("an event for each point, the energies innermost", speed, "events/s")
        for energies in (20, ENERGIES):
            what = f"the peak memory of {energies} energies innermost, an event for each of 50 x 50 points"
            yield at_most(what, memory(innermost, energies, 50, name), "MB", MEMORY)
