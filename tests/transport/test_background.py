from __future__ import annotations

import logging
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.plans import count
from ophyd.sim import det
from runs import feed

from bluesky_ext.engine import Map
from bluesky_ext.transport import background
from bluesky_ext.transport._background import copied, is_frozen


class Gate:
    """A callback that waits until it is let go."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.documents: list = []

    def __call__(self, name, doc) -> None:
        assert self.open.wait(60)
        self.documents.append((name, doc))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.documents]


def test_a_scan_does_not_wait_for_it() -> None:
    gate = Gate()
    RE = RunEngine()
    with background(gate) as slow:
        RE.subscribe(slow)
        RE(count([det], 10))  # with the callback still at its first document
        assert gate.documents == []
        assert not slow.wait(0.01)
        gate.open.set()
        assert slow.wait(60)
        assert gate.names == ["start", "descriptor", *["event"] * 10, "stop"]
        assert slow.stats.done == slow.stats.received == 13


@pytest.mark.parametrize("share_arrays", [False, True])
def test_documents_are_as_they_were_when_they_came_but_for_arrays_that_are_shared(share_arrays) -> None:
    gate = Gate()
    image, frozen = np.zeros(4), np.zeros(4)
    frozen.flags.writeable = False
    doc = {"data": {"image": image, "frozen": frozen, "list": [1, [2]]}, "seq_num": 1}
    with background(gate, share_arrays=share_arrays) as slow:
        slow("event", doc)
        image[:] = 7
        doc["data"]["list"][1].append(3)
        doc["data"]["more"] = 1
        gate.open.set()
    (_, came), *_ = gate.documents
    assert came["data"].keys() == {"image", "frozen", "list"}
    assert came["data"]["image"].any() == (came["data"]["image"] is image) == share_arrays
    assert came["data"]["frozen"] is frozen
    assert came["data"]["list"] == [1, [2]]


def test_what_can_not_be_written_to_is_told() -> None:
    assert not is_frozen(np.zeros(3))
    window = np.zeros(3)[:]
    window.flags.writeable = False
    assert not is_frozen(window)  # what it is a part of can be
    assert is_frozen(np.frombuffer(b"abc", np.uint8))
    assert not is_frozen(np.frombuffer(bytearray(b"abc"), np.uint8))


def test_the_bytes_of_a_document_are_those_of_its_arrays_and_a_little() -> None:
    _, nbytes = copied({"data": {"image": np.zeros(10**6, np.uint8), "list": [[0] * 100] * 100}})
    assert 10**6 + 8 * 10**4 < nbytes < 1.5 * 10**6


@pytest.mark.parametrize("limit", [{"max_documents": 5}, {"max_bytes": 5_500}])
def test_a_full_queue_has_the_scan_wait(limit) -> None:
    gate = Gate()
    passed = []
    with background(gate, **limit) as slow:

        def feed() -> None:
            for number in range(20):
                slow("event", {"image": np.zeros(1000, np.uint8)})
                passed.append(number)

        thread = threading.Thread(target=feed)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        assert len(passed) <= 6
        gate.open.set()
        thread.join(60)
        assert slow.wait(60)
    assert len(gate.documents) == 20


def test_a_full_queue_drops_events_and_counts_them(caplog) -> None:
    gate = Gate()
    with background(gate, policy="drop", max_documents=5) as slow:
        for name in ("start", "descriptor", *["event"] * 100, "stop"):
            slow(name, {})
        gate.open.set()
        assert slow.wait(60)
    assert slow.stats.dropped >= 95
    assert slow.stats.done + slow.stats.dropped == 103
    assert gate.names[0] == "start"
    assert gate.names[-1] == "stop"
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len([record for record in warnings if "does not keep up" in record.getMessage()]) == 1
    assert [record for record in warnings if f"{slow.stats.dropped} were dropped" in record.getMessage()]


def fail(name, doc):
    if name == "event":
        raise ValueError("no good")


def test_failures_are_loud_and_the_scan_goes_on(caplog) -> None:
    RE = RunEngine()
    with background(fail) as slow:
        RE.subscribe(slow)
        RE(count([det], 3))
        assert slow.wait(60)
        assert isinstance(slow.failure, ValueError)
    assert slow.stats.failed == 3
    (first, *_) = [record for record in caplog.records if "no good" in record.getMessage()]
    assert first.levelno == logging.WARNING
    assert first.exc_info


def test_failures_stop_the_scan_when_asked_for(run_of, until) -> None:
    slow = background(fail, on_error="raise")
    slow("event", {})
    with pytest.raises(RuntimeError, match="failed: no good"):
        slow.wait(60)
    slow.close()
    stage = Map(lambda data, seq_num: {"x": data["x"]}, parameters={}, data_keys=("x",))
    behind = background(fail, on_error="raise")
    stage.subscribe(behind)
    *before, last, _ = run_of(events=2)
    feed(stage, before)
    until(lambda: behind.failure)
    with pytest.raises(RuntimeError, match="failed: no good"):
        stage(*last)
    behind.close()


def test_closing_does_what_is_left_or_says_what_it_drops() -> None:
    gate = Gate()
    slow = background(gate)
    for _ in range(10):
        slow("event", {})
    slow.close(timeout=0.05)
    assert slow.stats.dropped >= 9
    gate.open.set()
    with pytest.raises(RuntimeError, match="has been closed"):
        slow("event", {})


def test_it_can_not_wait_for_itself() -> None:
    failures = []

    def callback(name, doc):
        try:
            slow.wait()
        except RuntimeError as error:
            failures.append(str(error))

    slow = background(callback)
    slow("event", {})
    slow.close()
    assert "can't wait for itself" in failures[0]


PROGRAM = """
import time
from concurrent.futures import ThreadPoolExecutor
from bluesky_ext.engine import Map
from bluesky_ext.transport import background
pool = ThreadPoolExecutor(1)
def callback(name, doc):
    time.sleep(0.01)
    print(pool.submit(lambda: doc["n"]).result(), flush=True)
slow = background(callback, name="slow")
for n in range(20):
    slow("event", {"n": n})
{end}
"""


@pytest.mark.parametrize(("end", "code"), [("", 0), ("raise SystemExit(3)", 3), ("raise ValueError('x')", 1)])
def test_the_end_of_the_process_waits_for_it_and_for_the_pools_that_it_uses(end, code) -> None:
    program = PROGRAM.replace("{end}", end)
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert answer.stdout.split() == [str(n) for n in range(20)], answer.stderr
    assert answer.returncode == code
    assert "documents are left to do before this process ends" in answer.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [({"policy": "lose"}, "give 'block'"), ({"on_error": "x"}, "give 'log'"), ({"max_bytes": 0}, "above 0")],
)
def test_what_makes_no_sense_is_refused_when_it_is_made(options, message) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        background(fail, **options)
    with pytest.raises(TypeError, match="can't be called"):
        background(3)  # type: ignore[arg-type]
