"""The documents of a day: short runs with images in their events, and a long one whose frames are in a file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import event_model
import h5py
import numpy as np

NUMBER = {"source": "sim", "dtype": "number", "shape": []}
SIDE, SMALL = 5, (128, 128)  # points along an axis of a short run, and its images
FRAMES = 50  # of the long run that are different


@dataclass(frozen=True)
class Day:
    """How long it is.

    Parameters
    ----------
    runs : int
        How many runs, beside a long one and those while there is a fault.
    seconds, rate : int
        How long that would last, and frames in a second.
    size : int
        Height and width of its frames, in pixels.
    fault : float
        For how long the disk is full, and the network gone, in s.
    pause : float
        What is between two runs then, in s.
    """

    runs: int = 1000
    seconds: int = 3600
    rate: int = 100
    size: int = 1024
    fault: float = 60.0
    pause: float = 5.0


def spots(rng: np.random.Generator, shape: tuple[int, int], count: int) -> np.ndarray:
    """An image of a few spots on a background, uint16."""
    rows, columns = np.indices(shape)
    image = rng.poisson(20.0, shape).astype(float)
    for number in range(count):
        y, x = (12 + (length - 24) * (number + 0.5) / count for length in shape)
        image += 2000 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 8)
    return image.astype(np.uint16)


def write_frames(path: Path, day: Day) -> None:
    """The file of the long run: a few frames, again and again, so that it takes no more disk than these."""
    rng = np.random.default_rng(1)
    count, shape = day.seconds * day.rate, (day.size, day.size)
    layout = h5py.VirtualLayout((count, *shape), "u2")
    image = spots(rng, shape, 4)
    with h5py.File(path, "w") as file:
        file["some"] = np.stack([image + rng.integers(0, 5, shape, np.uint16) for _ in range(FRAMES)])
        source = h5py.VirtualSource(file["some"])
        for first in range(0, count, FRAMES):
            last = min(first + FRAMES, count)
            layout[first:last] = source[: last - first]
        file.create_virtual_dataset("frames", layout)


def short_run(images: list[np.ndarray], number: int) -> Iterator[tuple[str, Any]]:
    """A grid of images in the events."""
    md = {"scan_id": number, "shape": [SIDE, SIDE], "motors": ["y", "x"], "num_points": SIDE * SIDE}
    run = event_model.compose_run(metadata=md, validate=False)
    yield "start", run.start_doc
    keys = {"y": NUMBER, "x": NUMBER, "image": {**NUMBER, "dtype": "array", "shape": [*SMALL], "dtype_numpy": "<u2"}}
    stream = run.compose_descriptor(name="primary", data_keys=keys, validate=False)
    yield "descriptor", stream.descriptor_doc
    for point in range(SIDE * SIDE):
        data = {"y": float(point // SIDE), "x": float(point % SIDE), "image": images[point % len(images)]}
        yield "event", stream.compose_event(data=data, timestamps=dict.fromkeys(data, time.time()), validate=False)
    yield "stop", run.compose_stop(validate=False)


def long_run(path: Path, day: Day, number: int) -> Iterator[tuple[str, Any]]:
    """A line of frames in the file of a detector, said once a second."""
    count = day.seconds * day.rate
    run = event_model.compose_run(metadata={"scan_id": number, "motors": ["x"], "num_points": count}, validate=False)
    yield "start", run.start_doc
    image = {**NUMBER, "dtype": "array", "shape": [1, day.size, day.size], "dtype_numpy": "<u2", "external": "STREAM:"}
    stream = run.compose_descriptor(name="primary", data_keys={"x": NUMBER, "image": image}, validate=False)
    yield "descriptor", stream.descriptor_doc
    frames = run.compose_stream_resource(
        mimetype="application/x-hdf5",
        uri=f"file://localhost{path}",
        data_key="image",
        parameters={"dataset": "frames", "chunk_shape": [1, day.size, day.size]},
        validate=False,
    )
    yield "stream_resource", frames.stream_resource_doc
    for second in range(day.seconds):
        first, last = second * day.rate, (second + 1) * day.rate
        yield (
            "stream_datum",
            frames.compose_stream_datum(
                indices={"start": first, "stop": last},
                seq_nums={"start": first + 1, "stop": last + 1},
                descriptor=stream.descriptor_doc,
                validate=False,
            ),
        )
        for frame in range(first, last):
            yield "event", stream.compose_event(data={"x": float(frame)}, timestamps={"x": time.time()}, validate=False)
    yield "stop", run.compose_stop(validate=False)
