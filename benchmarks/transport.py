"""Documents from process to process: images a second, a flood into a slow server, and a slow callback beside a scan."""

from __future__ import annotations

import multiprocessing
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import bluesky.callbacks.zmq as theirs
import event_model
import numpy as np
import zmq
from bluesky import RunEngine
from bluesky.plans import count
from ophyd.sim import det

from benchmarks.runner import Figure, at_least, at_most, is_so
from bluesky_ext.transport import Proxy, Publisher, RemoteDispatcher, background, dumps

IMAGES, ROUNDS = 60, 5
CONTEXT = multiprocessing.get_context("spawn")


def documents(events, images, shape):
    """The documents of a run of scalars, with an image in every so many."""
    run = event_model.compose_run(validate=False)
    keys = {"x": {"source": "sim", "dtype": "number", "shape": []}}
    image_key = {"source": "sim", "dtype": "array", "shape": list(shape), "dtype_numpy": "<u2"}
    scalars = run.compose_descriptor(name="primary", data_keys=keys, validate=False)
    frames = run.compose_descriptor(name="images", data_keys={"image": image_key}, validate=False)
    yield "start", run.start_doc
    yield "descriptor", scalars.descriptor_doc
    yield "descriptor", frames.descriptor_doc
    image = np.random.default_rng(0).poisson(100, shape).astype(np.uint16)
    every = max(1, events // images)
    for number in range(max(events, images)):
        if number < events:
            yield "event", scalars.compose_event(data={"x": 1.0}, timestamps={"x": 1.0}, validate=False)
        if number % every == 0 and number // every < images:
            yield "event", frames.compose_event(data={"image": image}, timestamps={"image": 1.0}, validate=False)
    yield "stop", run.compose_stop(validate=False)


# One end a process, in the way of Bluesky's users, in ours, and with nothing but 0MQ


def pass_on(connection, kind, options):
    if kind == "raw":
        with zmq.Context() as context, context.socket(zmq.XSUB) as into, context.socket(zmq.XPUB) as out:
            ports = [f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}" for socket in (into, out)]
            connection.send(tuple(ports))
            zmq.proxy(into, out)
    proxy = theirs.Proxy("127.0.0.1", "127.0.0.1") if kind == "theirs" else Proxy(**options)
    connection.send((proxy.in_port, proxy.out_port))
    proxy.start()


def send(connection, kind, address, run, options):
    run = [*documents(*run)]
    if kind == "raw":
        messages = [b"raw %b " % name.encode() + dumps(doc) for name, doc in run]
        context = zmq.Context()
        socket = context.socket(zmq.XPUB)
        socket.connect(address)
        socket.recv()
        for message in messages:
            socket.send(message, copy=False)
        connection.recv()
        return
    if kind == "theirs":
        publisher = theirs.Publisher(address, prefix=b"raw")
        time.sleep(1.0)  # its listeners can't be known
    else:
        publisher = Publisher(address, prefix=b"raw", wait=10.0, **options)
    for name, doc in run:
        publisher(name, doc)
    if kind != "theirs" and (publisher.stats.dropped or publisher.stats.failed):
        print(publisher.stats)
    connection.recv()
    publisher.close()


@contextmanager
def process(target, *arguments):
    here, there = CONTEXT.Pipe()
    one = CONTEXT.Process(target=target, args=(there, *arguments), daemon=True)
    one.start()
    try:
        yield here
    finally:
        one.kill()
        one.join()


def rate(kind, images=IMAGES):
    """Images a second that arrive in this process."""
    times = []
    # Ours waits, so that none is lost; Bluesky's keeps 1000 images in memory.
    with process(pass_on, kind, {"block": True}) as proxy, ExitStack() as stack:
        into, out = proxy.recv()
        run = (0, images, (2048, 2048))
        options = {"block": True} if kind == "ours" else {}

        def begin():
            return stack.enter_context(process(send, kind, into, run, options))

        if kind == "raw":
            with zmq.Context() as context, context.socket(zmq.SUB) as socket:
                socket.subscribe(b"raw")
                socket.connect(out)
                begin()
                while len(times) < images:
                    if socket.recv(copy=False).buffer[:10] == b"raw event ":
                        times.append(time.perf_counter())
        else:
            make = theirs.RemoteDispatcher if kind == "theirs" else RemoteDispatcher
            dispatcher = make(out, prefix=b"raw")
            done = threading.Event()

            def note(name, doc):
                doc["data"]["image"][0, 0]
                times.append(time.perf_counter())
                if len(times) == images:
                    done.set()

            dispatcher.subscribe(note, "event")
            thread = threading.Thread(target=dispatcher.start, daemon=True)
            thread.start()
            begin()
            if not done.wait(120):
                raise RuntimeError(f"{kind}: {len(times)} of {images} images arrived")
            if kind == "theirs":
                dispatcher.loop.call_soon_threadsafe(dispatcher._task.cancel)  # noqa: SLF001 - it has no other way
            else:
                dispatcher.stop()
    return (images - 1) / (times[-1] - times[0])


def rates() -> Iterator[Figure]:
    kinds = {"Bluesky's, pickle": "theirs", "ours": "ours", "raw 0MQ": "raw"}
    found = {name: [] for name in kinds}
    threading.excepthook = lambda args: None  # Bluesky's dispatcher ends by an exception
    for _ in range(ROUNDS):
        for name, kind in kinds.items():
            found[name].append(rate(kind))
    threading.excepthook = threading.__excepthook__
    for name, values in found.items():
        yield Figure(f"2048 x 2048 uint16 through a proxy, {name}", statistics.median(values), "images/s")
    pairs = [zip(found["ours"], found[other], strict=True) for other in ("Bluesky's, pickle", "raw 0MQ")]
    plain, raw = (statistics.median(ours / other for ours, other in pair) for pair in pairs)
    yield at_least("images of 2048 x 2048 through a proxy, against Bluesky's ends", plain, "x", 2.0)
    yield at_least("images of 2048 x 2048 through a proxy, against raw 0MQ", raw, "x", 0.5)


def flood(block, events=50_000, images=500) -> Iterator[Figure]:
    """Into a callback of 2 ms; whether what did not arrive was counted."""
    run = (events, images, (512, 512))
    options = {"block": True, "patience": 600.0} if block else {}
    with process(pass_on, "ours", {"block": block}) as proxy:
        into, out = proxy.recv()
        came = 0
        dispatcher = RemoteDispatcher(out, prefix=b"raw", max_queue=2**26, max_documents=20_000, stale_after=5.0)

        def slow(name, doc):
            nonlocal came
            came += name == "event"
            time.sleep(0.002)

        dispatcher.subscribe(slow)
        dispatcher.subscribe(lambda name, doc: dispatcher.stop(), "stop")
        with process(send, "ours", into, run, options):
            dispatcher.start()
    stats = dispatcher.stats
    what = f"of a flood of {events} events and {images} images, {'block=True' if block else 'plain'}"
    yield Figure(f"{what}, arrived", came, "documents")
    whole = came + stats.lost == events + images
    yield is_so(
        "  nothing is lost" if block else "  what was lost is counted", came == events + images if block else whole
    )


def latency() -> Iterator[Figure]:
    def scan(callback):
        RE = RunEngine(call_returns_result=False)
        if callback is not None:
            RE.subscribe(callback)
        began = time.perf_counter()
        RE(count([det], 10))
        return time.perf_counter() - began

    ratios, inline = [], scan(lambda name, doc: time.sleep(0.1))
    for _ in range(7):
        alone = scan(None)
        with background(lambda name, doc: time.sleep(0.1)) as slow:
            ratios.append(scan(slow) / alone)
    ratio = statistics.median(ratios)
    yield Figure("a count of 10 points with a callback of 100 ms inline", inline, "s")
    yield at_most("  in the background, against none", ratio, "x", 1.5)


def main() -> Iterator[Figure]:
    yield from latency()
    yield from rates()
    for block in (True, False):
        yield from flood(block)
