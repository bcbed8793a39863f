"""What a map costs beside its work, against Bluesky's LiveDispatcher; and what a long run costs in memory."""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import event_model
import numpy as np
from bluesky.callbacks.stream import LiveDispatcher

from benchmarks.runner import Figure, Pair, at_most, run
from bluesky_ext.engine import Map, Reduce


def double(data, seq_num):
    return {"s0": data["s0"] * 2}


class Double(Map):
    """Ours: one key changed."""

    def __init__(self, **options):
        super().__init__(double, parameters={}, data_keys=("s0",), **options)


class LiveDouble(LiveDispatcher):
    """The same as Bluesky's users write it."""

    def event(self, doc):
        self.process_event({**doc, "data": double(doc["data"], doc["seq_num"]) | doc["data"]})


def documents(count, image=None):
    """A run of nine scalars an event, with an image if there is one."""
    bundle = event_model.compose_run(validate=False)
    keys = {f"s{i}": {"source": "sim", "dtype": "number", "shape": []} for i in range(9)}
    data = {f"s{i}": float(i) for i in range(9)}
    if image is not None:
        keys["image"] = {"source": "sim", "dtype": "array", "shape": [*image.shape], "dtype_numpy": image.dtype.str}
        data["image"] = image
    stream = bundle.compose_descriptor(name="primary", data_keys=keys, validate=False)
    events = [
        stream.compose_event(data=dict(data), timestamps=dict.fromkeys(data, 1.0), validate=False) for _ in range(count)
    ]
    return bundle.start_doc, stream.descriptor_doc, events, bundle.compose_stop(validate=False)


def begun(stage, docs):
    """The stage after the start, the descriptor and the first event; and the other events."""
    start, descriptor, events, _ = docs
    stage.subscribe(lambda name, doc: None)
    for name, doc in (("start", start), ("descriptor", descriptor), ("event", events[0])):
        stage(name, doc)
    return stage, events[1:]


def feed(begun_stage):
    stage, events = begun_stage
    for event in events:
        stage("event", event)


def overhead(name, image, count, target):
    docs = documents(count + 1, image)
    return Pair(
        name,
        ours=lambda _: feed(begun(Double(), docs)),
        theirs=lambda _: feed(begun(LiveDouble(), docs)),
        per_call=count,
        target=target,
        prepare=lambda: None,
    )


class Last(Reduce):
    """A reduce that keeps next to nothing."""

    def begin(self, start):
        return {}

    def reduce(self, state, stream, event):
        state["last"] = event["data"]["s0"]

    def finish(self, state, derived, start):
        derived.event("primary", None, state)


def peak_rss(count, answer):
    """Three stages in a chain, fed as a run comes, one event at a time; the peak RSS in MB at the end."""
    chain = [Double(), Double(), Last(parameters={})]
    for one, following in itertools.pairwise(chain):
        one.subscribe(following)
    start, descriptor, (event,), stop = documents(1)
    chain[0]("start", start)
    chain[0]("descriptor", descriptor)
    for seq_num in range(1, count + 1):
        chain[0]("event", {**event, "seq_num": seq_num, "uid": f"e{seq_num}"})
    chain[0]("stop", stop | {"num_events": {"primary": count}})
    assert chain[2].stats.received == count, chain[2].stats  # noqa: S101
    # Not ru_maxrss, which begins with what the parent has.
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    answer.put(int(line.split()[1]) / 1024)


def memory() -> Iterator[Figure]:
    """The peak RSS of processes that pass 1000 and 100 000 events through three stages."""
    context = multiprocessing.get_context("spawn")
    peaks = []
    for count in (1_000, 100_000):
        answer = context.Queue()
        process = context.Process(target=peak_rss, args=(count, answer))
        process.start()
        peaks.append(answer.get())
        process.join()
        yield Figure(f"the peak memory of {count} events through three stages", peaks[-1], "MB")
    yield at_most("  by how much the second is larger", max(peaks[1] - peaks[0], 0.0), "MB", 40)


def main() -> Iterator[Figure]:
    scalars = overhead("a map of 9 scalars, beside its work, against LiveDispatcher", None, 2000, 10)
    image = overhead("the same with a 1024 x 1024 image", np.zeros((1024, 1024), np.uint16), 300, 5)
    yield from run([scalars, image])
    yield from memory()
