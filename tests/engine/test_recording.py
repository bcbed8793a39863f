from __future__ import annotations

import errno
import gc
import json
import logging
import os
import resource
import shutil
import signal
import stat
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bluesky.callbacks.json_writer import JSONLinesWriter, JSONWriter
from bluesky.plans import count, scan
from event_model import DocumentNames
from ophyd.sim import SynAxis, SynSignal, hw
from runs import Docs, assert_same, feed, images, referring_run, run_of

from bluesky_ext.engine.recording.recorder import Recorder
from bluesky_ext.engine.recording.recording import Recording
from bluesky_ext.engine.recording.records import checksum

MAGIC_SIZE = HEADER_SIZE = 16


def assert_holds(recording: Recording | Path, documents: Docs) -> None:
    assert_same(documents, list(recording if isinstance(recording, Recording) else Recording(recording)))


def camera(shape: tuple[int, int] = (64, 128)) -> SynSignal:
    rng = np.random.default_rng(0)
    return SynSignal(func=lambda: rng.poisson(100, shape).astype(np.uint16), name="camera")


def run_documents(uid: str = "run", n_events: int = 3, size: int = 40, **options: Any) -> Docs:
    """The documents of a run, with an image of `size` bytes in each event that does not compress."""
    return run_of([{"image": images("u1", n, (size,))} for n in range(n_events)], uid=uid, **options)


def record(directory: Path, documents: Docs, **options: Any) -> Path:
    with Recorder(directory, **options) as recorder:
        feed(recorder, documents)
    (path,) = recorder.artifacts
    return path


def offsets(path: Path) -> list[int]:
    """Where the records of a recording begin, and its end, by the description of the format."""
    content = path.read_bytes()
    found = [MAGIC_SIZE]
    while found[-1] < len(content):
        length = int.from_bytes(content[found[-1] : found[-1] + 8], "little")
        found.append(found[-1] + HEADER_SIZE + length)
    return found


def test_a_run_of_the_run_engine_comes_back(tmp_path, run_engine) -> None:
    received: list = []
    motor = SynAxis(name="motor")
    with Recorder(tmp_path) as recorder:
        run_engine(
            scan([camera(), hw().det], motor, 0, 1, 4, md={"sample": "LaB6", "nested": {"tuple": (1, 2)}}),
            [recorder, lambda name, document: received.append((name, document))],
        )
    (path,) = recorder.artifacts
    assert path == tmp_path / f"{received[0][1]['uid']}.bsrec"
    assert [name for name, _ in received] == ["start", "descriptor", *["event"] * 4, "stop"]
    assert received[2][1]["data"]["camera"].dtype == np.uint16
    assert_holds(path, received)
    recording = Recording(path)
    assert (recording.start, recording.stop) == (received[0][1], received[-1][1])
    assert recording.complete
    assert recording.truncated_bytes == 0
    assert recorder.stats.orphaned == 0


def test_every_kind_of_document_finds_its_run(tmp_path) -> None:
    one, two = referring_run("one"), referring_run("two")
    with Recorder(tmp_path) as recorder:
        for pair in zip(one, two, strict=True):
            feed(recorder, pair)
    assert_holds(tmp_path / "one.bsrec", one)
    assert_holds(tmp_path / "two.bsrec", two)
    assert recorder.stats.orphaned == 0


def test_a_resource_that_names_no_run_goes_to_every_open_one(tmp_path) -> None:
    one, two = run_documents("one"), run_documents("two")
    old = {"uid": "r", "spec": "S", "root": "/", "resource_path": "p", "resource_kwargs": {}}
    datum = {"resource": "r", "datum_id": "r/0", "datum_kwargs": {}}
    with Recorder(tmp_path) as recorder:
        feed(recorder, [one[0], two[0], ("resource", old), ("datum", datum), one[-1], ("datum", datum), two[-1]])
    assert [name for name, _ in Recording(tmp_path / "one.bsrec")] == ["start", "resource", "datum", "stop"]
    assert [name for name, _ in Recording(tmp_path / "two.bsrec")] == ["start", "resource", "datum", "datum", "stop"]


def test_documents_of_no_open_run_are_kept_counted_and_reported_once(tmp_path, caplog) -> None:
    documents = run_documents("lost")
    whole = run_documents("whole")
    with Recorder(tmp_path) as recorder:
        feed(recorder, [*documents[1:], *whole, whole[2]])
        assert len(caplog.records) == 1
        assert "descriptor" in caplog.text
    assert recorder.stats.orphaned == len(documents)
    orphans, run = recorder.artifacts
    assert orphans.name.startswith("orphans-")
    assert str(orphans) in caplog.text
    assert_holds(orphans, [*documents[1:], whole[2]])
    assert_holds(run, whole)
    assert not Recording(orphans).complete
    assert caplog.messages[-1] == f"{len(documents)} documents of no open run are in {orphans}"


def test_orphans_of_two_recorders_do_not_collide(tmp_path) -> None:
    _, *documents = run_documents()
    for _ in range(2):
        with Recorder(tmp_path) as recorder:
            feed(recorder, documents)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_recording_is_never_overwritten(tmp_path) -> None:
    path = record(tmp_path, run_documents("run", 3))
    before = path.read_bytes()
    again = run_documents("run", 1)
    with Recorder(tmp_path, on_error="raise") as recorder:
        with pytest.raises(FileExistsError, match="choose another file_prefix") as error:
            recorder(*again[0])
        assert error.value.filename == str(path)
        feed(recorder, again[1:])
    assert path.read_bytes() == before
    (orphans,) = recorder.artifacts
    assert_holds(orphans, again)


def test_a_run_that_starts_again_has_another_file(tmp_path, caplog) -> None:
    first, again = {"uid": "run", "time": 1.0}, {"uid": "run", "time": 2.0}
    stop = {"uid": "stop", "run_start": "run"}
    with Recorder(tmp_path, file_prefix="{time}") as recorder:
        recorder("start", first)
        recorder("start", again)
        recorder("stop", stop)
    assert_holds(tmp_path / "1.0.bsrec", [("start", first)])
    assert_holds(tmp_path / "2.0.bsrec", [("start", again), ("stop", stop)])
    assert recorder.stats.incomplete == 1
    assert "it was started again" in caplog.text


def test_what_starts_again_under_the_same_name_is_kept_apart(tmp_path) -> None:
    documents = run_documents("run", 1)
    with Recorder(tmp_path) as recorder:
        feed(recorder, [*documents[:3], *documents])
    recording, orphans = recorder.artifacts
    assert_holds(recording, documents[:3])
    assert_holds(orphans, documents)


def test_a_scan_goes_on_without_its_recording(tmp_path, run_engine, caplog) -> None:
    recorder = Recorder(tmp_path / "runs", file_prefix="{sample}")
    shutil.rmtree(tmp_path / "runs")
    run_engine(count([hw().det], 2), recorder, sample="salt")
    assert recorder.stats.failed == 5
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert "could not write a document 'start': FileNotFoundError" in warnings[0]
    assert len(warnings) == 4  # one for each kind of document


@pytest.mark.parametrize(
    ("file_prefix", "name"),
    [
        ("{uid}", "the-uid"),
        ("{start[uid]}", "the-uid"),
        ("{scan_id:05d}-{sample}", "00007-LiFePO4 50_50-eff7892c78cf"),
        ("{traversal}", "_._.._etc-054c5743786c"),
    ],
)
def test_a_file_is_named_by_the_start_document(tmp_path, file_prefix, name) -> None:
    documents = run_documents("the-uid", scan_id=7, sample="LiFePO4 50/50", traversal="../../etc")
    assert record(tmp_path / "runs", documents, file_prefix=file_prefix) == tmp_path / "runs" / f"{name}.bsrec"
    assert os.listdir(tmp_path) == ["runs"]


@pytest.mark.parametrize(
    ("file_prefix", "message"),
    [
        ("{sample}", "file_prefix '{sample}' fails on run the-uid: it lacks 'sample'"),
        ("{uid:d}", "file_prefix '{uid:d}' fails on run the-uid"),
        ("{empty}", "file_prefix '{empty}' gives no name for run the-uid"),
    ],
)
def test_a_start_that_gives_no_name_is_refused_and_kept(tmp_path, file_prefix, message) -> None:
    documents = run_documents("the-uid", empty="")
    with Recorder(tmp_path, file_prefix=file_prefix, on_error="raise") as recorder:
        with pytest.raises(ValueError, match="the-uid") as error:
            recorder(*documents[0])
        feed(recorder, documents[1:])
    assert str(error.value).startswith(message)
    assert_holds(recorder.artifacts[0], documents)


@pytest.mark.parametrize(
    "options",
    [
        {"file_prefix": "{year}/{uid}"},
        {"file_prefix": "{uid"},
        {"file_prefix": "{uid:>2000000000}"},
        {"file_prefix": "{scan_id:{width}}"},
        {"file_prefix": "{uid.__class__}"},
        {"max_open_runs": 0},
    ],
)
def test_options_that_cannot_work_are_refused_at_once(tmp_path, options) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the messages differ
        Recorder(tmp_path / "runs", **options)
    assert not (tmp_path / "runs").exists()


def test_names_may_be_those_of_event_model_and_no_others(tmp_path) -> None:
    with Recorder(tmp_path, on_error="raise") as recorder:
        for name, document in run_documents():
            recorder(DocumentNames[name], document)
        with pytest.raises(ValueError, match="'bulk_events'"):
            recorder("bulk_events", {})
    assert [name for name, _ in Recording(recorder.artifacts[0])] == ["start", "descriptor", *["event"] * 3, "stop"]


def test_a_document_that_cannot_be_kept_as_it_is_is_refused(tmp_path) -> None:
    documents = run_documents()
    with Recorder(tmp_path, on_error="raise") as recorder:
        recorder(*documents[0])
        with pytest.raises(TypeError, match=r"document\['hints'\]: a set has no order"):
            recorder("descriptor", {**documents[1][1], "hints": {"x"}})
        feed(recorder, documents[1:])
    assert_holds(recorder.artifacts[0], documents)


def test_every_document_has_left_the_process_when_the_call_returns(tmp_path) -> None:
    documents = run_documents()
    with Recorder(tmp_path) as recorder:
        for n, (name, document) in enumerate(documents, start=1):
            recorder(name, document)
            assert_holds(tmp_path / "run.bsrec", documents[:n])
            assert Recording(tmp_path / "run.bsrec").complete == (n == len(documents))


def test_the_file_and_its_directory_are_flushed_at_the_stop(tmp_path, monkeypatch) -> None:
    flushed = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (flushed.append(stat.S_ISDIR(os.fstat(fd).st_mode)), fsync(fd)))
    documents = run_documents()
    with Recorder(tmp_path) as recorder:
        feed(recorder, documents[:-1])
        assert flushed == []
        recorder(*documents[-1])
    assert flushed == [False, True]


def test_a_file_is_closed_at_the_stop_and_a_run_without_one_is_reported(tmp_path, caplog) -> None:
    def open_files() -> set[str]:
        links = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
        return {os.path.basename(link) for link in links if link.startswith(str(tmp_path))}

    whole, broken = run_documents("whole"), run_documents("broken")
    with Recorder(tmp_path) as recorder:
        feed(recorder, [*whole, *broken[:-1]])
        assert open_files() == {"broken.bsrec"}
        assert not caplog.records
    assert open_files() == set()
    closed = (
        f"closes run broken ({tmp_path / 'broken.bsrec'}) as incomplete: it has no stop, and the recorder was closed"
    )
    assert closed in caplog.text
    assert_holds(tmp_path / "broken.bsrec", broken[:-1])
    assert not Recording(tmp_path / "broken.bsrec").complete
    assert Recording(tmp_path / "broken.bsrec").stop is None


def test_runs_that_never_stop_are_bounded(tmp_path, caplog) -> None:
    a, b, c = run_documents("a"), run_documents("b"), run_documents("c")
    with Recorder(tmp_path, max_open_runs=2) as recorder:
        feed(recorder, [a[0], b[0], a[1], c[0]])
        (message,) = caplog.messages
        assert f"closes run b ({tmp_path / 'b.bsrec'}) as incomplete: no stop document came" in message
        feed(recorder, [*a[2:], *c[1:], b[1]])
    assert_holds(tmp_path / "a.bsrec", a)
    assert_holds(tmp_path / "b.bsrec", b[:1])
    assert_holds(tmp_path / "c.bsrec", c)
    assert recorder.stats.orphaned == 1


def test_a_silent_run_is_closed_also_when_nothing_else_comes(tmp_path) -> None:
    documents = run_documents("silent")
    with Recorder(tmp_path, stale_after=0.1) as recorder:
        recorder(*documents[0])
        while not recorder.stats.incomplete:
            time.sleep(0.01)  # the clock closes it; the test has a time limit
        recorder(*documents[1])
    assert recorder.stats.orphaned == 1
    assert_holds(tmp_path / "silent.bsrec", documents[:1])


def test_documents_from_several_threads_stay_whole(tmp_path, monkeypatch) -> None:
    # The system may write a part only, and another thread may run after each part.
    monkeypatch.setattr(os, "writev", lambda fd, pieces: os.write(fd, bytes(pieces[0])[:20]))
    runs = [run_documents(f"run{n}", 30) for n in range(4)]
    with Recorder(tmp_path) as recorder:
        # Without their starts they all go to one file; with them, to one each.
        for documents in (run[1:] for run in runs), runs:
            threads = [threading.Thread(target=lambda d=d: [recorder(*pair) for pair in d]) for d in documents]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    for n, run in enumerate(runs):
        assert_holds(tmp_path / f"run{n}.bsrec", run)
    assert recorder.stats.orphaned == sum(len(run) - 1 for run in runs)
    orphans = list(Recording(recorder.artifacts[0]))
    assert len(orphans) == recorder.stats.orphaned
    for run in runs:
        uids = [document["uid"] for _, document in run[1:]]
        assert [document["uid"] for _, document in orphans if document["uid"] in uids] == uids


def test_an_image_is_no_copy_of_a_copy(tmp_path) -> None:
    image = np.random.default_rng(0).integers(0, 256, 2**23, np.uint8)
    with Recorder(tmp_path) as recorder:
        recorder("start", {"uid": "run", "time": 0.0})
        recorder("descriptor", {"uid": "d", "run_start": "run"})
        tracemalloc.start()
        recorder("event", {"uid": "e", "descriptor": "d", "data": {"image": image}})
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        recorder("stop", {"uid": "s", "run_start": "run"})
    assert peak < 2**20
    assert_same(list(Recording(recorder.artifacts[0]))[2][1]["data"]["image"], image)


def test_reading_takes_the_memory_of_one_document(tmp_path) -> None:
    size = 2**20
    path = record(tmp_path, run_documents(n_events=20, size=size))
    gc.collect()
    tracemalloc.start()
    n_images = sum(document["data"]["image"].size == size for name, document in Recording(path) if name == "event")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n_images == 20
    assert peak < 4 * size


KILLED = """
import sys
from bluesky import RunEngine
from bluesky.plans import count
from ophyd.sim import SynSignal
import numpy as np
from bluesky_ext.engine.recording.recorder import Recorder

image = np.arange(2**18, dtype=np.uint32)
camera = SynSignal(func=lambda: image, name="camera")
RE = RunEngine()
RE.subscribe(Recorder(sys.argv[1], file_prefix="killed"))
RE.subscribe(lambda name, document: print(name, flush=True))
RE(count([camera], None))
"""


def test_a_recording_survives_a_kill_in_the_middle(tmp_path) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        names = [process.stdout.readline().strip() for _ in range(12)]
        process.send_signal(signal.SIGKILL)
        process.wait()
        names += process.stdout.read().split()
    assert process.returncode == -signal.SIGKILL
    assert names[:3] == ["start", "descriptor", "event"]
    recording = Recording(tmp_path / "killed.bsrec")
    documents = list(recording)
    # The recorder was called first: what the process said is in the file, and at most what it did next.
    assert [name for name, _ in documents][: len(names)] == names
    assert len(documents) <= len(names) + 1
    events = [document for name, document in documents if name == "event"]
    assert [event["seq_num"] for event in events] == list(range(1, len(events) + 1))
    for event in events:
        assert_same(event["data"]["camera"], np.arange(2**18, dtype=np.uint32))
    assert not recording.complete


def test_a_recording_torn_anywhere_in_its_last_document_reads_up_to_there(tmp_path, caplog) -> None:
    documents = run_documents(n_events=2)[:-1]
    content = record(tmp_path, documents).read_bytes()
    *_, last, end = offsets(tmp_path / "run.bsrec")
    assert end == len(content)
    torn = tmp_path / "torn.bsrec"
    for size in range(last + 1, end):
        torn.write_bytes(content[:size])
        caplog.clear()
        recording = Recording(torn)
        assert recording.truncated_bytes == 0
        for _ in range(2):
            assert_holds(recording, documents[:-1])
        assert recording.truncated_bytes == size - last
        assert caplog.messages == [f"{torn} ends within a document: its last {size - last} bytes are lost"]
        assert recording.stop is None


@pytest.mark.parametrize("size", range(MAGIC_SIZE + 1))
def test_a_recording_torn_before_its_start_is_empty(tmp_path, size, caplog) -> None:
    path = record(tmp_path, run_documents())
    path.write_bytes(path.read_bytes()[:size])
    recording = Recording(path)
    assert list(recording) == []
    assert recording.start is recording.stop is None
    assert recording.truncated_bytes == (size if size < MAGIC_SIZE else 0)
    assert len(caplog.records) == (0 < size < MAGIC_SIZE)


def test_zeros_at_the_end_are_a_torn_document(tmp_path) -> None:
    documents = run_documents()
    path = record(tmp_path, documents)
    *_, stop, end = offsets(path)
    content = path.read_bytes()
    # Nothing of the stop was written, though the file had grown already; then only its header was.
    for kept in (stop, stop + HEADER_SIZE):
        path.write_bytes(content[:kept] + bytes(end - kept))
        recording = Recording(path)
        assert_holds(recording, documents[:-1])
        assert recording.truncated_bytes == end - stop
        assert not Recording(path).complete


def test_damage_in_the_middle_is_an_error_that_names_the_place(tmp_path) -> None:
    path = record(tmp_path, run_documents(n_events=1))
    content = path.read_bytes()
    _, _, event, stop, _ = offsets(path)
    for at in range(event, stop):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :])
        place = event if at < event + HEADER_SIZE else event + HEADER_SIZE
        read = []
        with pytest.raises(ValueError, match=f"run.bsrec is damaged at byte {place}: ") as error:
            read.extend(pair for pair in Recording(path))
        assert "\n" not in str(error.value)


def test_a_document_that_does_not_decode_is_an_error_that_names_the_place(tmp_path) -> None:
    path = record(tmp_path, run_documents())
    size = path.stat().st_size
    payload = b"\xc1"
    header = struct.pack("<QI", len(payload), checksum(payload))
    with path.open("ab") as file:
        file.write(header + struct.pack("<I", checksum(header)) + payload)
    with pytest.raises(ValueError, match=f"run.bsrec cannot be read at byte {size + HEADER_SIZE}: not msgpack"):
        list(Recording(path))


def test_what_is_not_a_recording_is_refused(tmp_path) -> None:
    path = record(tmp_path, run_documents())
    content = path.read_bytes()
    path.write_bytes(content[:14] + b"\x09\x00" + content[16:])
    with pytest.raises(ValueError, match="recording of version 9: this bluesky-ext reads 2"):
        Recording(path)
    for other in (b"\x89HDF\r\n\x1a\n" + bytes(20), b"start,stop\n", b'{"a": 1}\n', b"[1, 2]\n", b"[\n{\n"):
        path.write_bytes(other)
        with pytest.raises(ValueError, match=r"run\.bsrec") as error:
            Recording(path)
        assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError):
        Recording(tmp_path / "missing.bsrec")


FULL = """
import resource, sys
from bluesky_ext.engine.recording.recorder import Recorder
import numpy as np

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
recorder = Recorder(sys.argv[1], on_error="raise")
image = np.random.default_rng(0).integers(0, 256, 40_000, np.uint8)
recorder("start", {"uid": "run", "time": 1.0})
recorder("descriptor", {"uid": "d", "run_start": "run"})
for seq_num in (1, 2, 3):
    try:
        recorder("event", {"uid": str(seq_num), "descriptor": "d", "seq_num": seq_num, "data": {"image": image}})
    except OSError as error:
        print(type(error).__name__, error.errno, error.filename, seq_num)
recorder("event", {"uid": "4", "descriptor": "d", "seq_num": 4, "data": {}})
recorder("stop", {"uid": "s", "run_start": "run"})
"""


def test_a_full_disk_is_an_error_and_leaves_whole_documents(tmp_path, caplog) -> None:
    process = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True)
    path = tmp_path / "run.bsrec"
    assert process.stdout == f"OSError {errno.EFBIG} {path} 3\n"
    recording = Recording(path)
    assert [document["seq_num"] for name, document in recording if name == "event"] == [1, 2, 4]
    assert recording.complete
    # The part of the third event that had room was taken away again.
    assert recording.truncated_bytes == 0
    assert not caplog.records


def test_a_start_that_finds_no_room_leaves_no_file(tmp_path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    recorder = Recorder(tmp_path, on_error="raise")
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            recorder("start", {"uid": "run", "time": 1.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.filename == str(tmp_path / "run.bsrec")
    assert list(tmp_path.iterdir()) == recorder.artifacts == []
    recorder("start", {"uid": "run", "time": 1.0})
    recorder("stop", {"uid": "s", "run_start": "run"})
    assert Recording(tmp_path / "run.bsrec").complete


@contextmanager
def half_written(monkeypatch, error: BaseException) -> Iterator[pytest.MonkeyPatch]:
    """Each write fails when it has written seven bytes."""
    writev = os.writev

    def half(fd: int, pieces: list) -> int:
        writev(fd, [bytes(pieces[0])[:7]])
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(os, "writev", half)
        yield patched


def test_an_interrupt_within_a_write_leaves_whole_documents(tmp_path, monkeypatch) -> None:
    documents = run_documents()
    with Recorder(tmp_path) as recorder:
        feed(recorder, documents[:3])
        with half_written(monkeypatch, KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
            recorder(*documents[3])
        feed(recorder, documents[3:])
    assert_holds(tmp_path / "run.bsrec", documents)


def test_what_could_not_be_cut_off_is_cut_off_before_the_next_document(tmp_path, monkeypatch) -> None:
    documents = run_documents()

    def refuse(fd: int, size: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with Recorder(tmp_path, on_error="raise") as recorder:
        feed(recorder, documents[:3])
        with half_written(monkeypatch, OSError(errno.ENOSPC, "No space left on device")) as patched:
            patched.setattr(os, "ftruncate", refuse)
            with pytest.raises(OSError, match="Input/output error"):
                recorder(*documents[3])
        assert_holds(tmp_path / "run.bsrec", documents[:3])
        feed(recorder, documents[3:])
    assert_holds(tmp_path / "run.bsrec", documents)


@pytest.mark.parametrize(
    ("writer", "name"), [(JSONWriter, "run.json"), (JSONLinesWriter, "run.jsonl")], ids=["list", "lines"]
)
def test_the_json_of_bluesky_is_read(tmp_path, run_engine, writer, name, caplog) -> None:
    received: list = []
    run_engine(
        scan([hw().det], hw().motor, 0, 1, 3),
        [writer(str(tmp_path), name), lambda name, document: received.append((name, document))],
    )
    expected = [(name, json.loads(json.dumps(document))) for name, document in received]
    recording = Recording(tmp_path / name)
    assert len(list(recording)) == 6
    assert_holds(recording, expected)
    assert recording.complete
    assert recording.stop == expected[-1][1]
    assert not caplog.records

    # Killed: without its stop, and then within its last event.
    lines = (tmp_path / name).read_bytes().splitlines(keepends=True)
    killed = b"".join(lines[: 7 if writer is JSONWriter else 5][:-1])
    (tmp_path / name).write_bytes(killed)
    assert_holds(tmp_path / name, expected[: -1 if writer is JSONWriter else -2])
    assert not Recording(tmp_path / name).complete
    torn = Recording(tmp_path / name)
    (tmp_path / name).write_bytes(killed[:-20])
    assert_holds(torn, expected[: -2 if writer is JSONWriter else -3])
    assert torn.truncated_bytes > 0
    assert "ends within a document" in caplog.text


def test_other_ways_to_write_documents_as_json_are_read(tmp_path) -> None:
    documents = [("start", {"uid": "run", "time": 1.5}), ("stop", {"uid": "s", "run_start": "run"})]
    path = tmp_path / "run.jsonl"
    as_dicts = [{"name": name, "doc": document} for name, document in documents]
    # suitcase-jsonl: suitcase/jsonl/__init__.py writes json.dumps((name, doc)) and a newline
    for text in (
        "".join(f"{json.dumps(pair)}\n" for pair in documents),
        "".join(f"\x1e{json.dumps(item)}\n" for item in as_dicts),
        json.dumps(as_dicts),
        json.dumps(documents),
    ):
        path.write_text(text)
        assert_holds(path, documents)
        assert Recording(path).complete


def test_damaged_json_is_an_error_that_names_the_place(tmp_path) -> None:
    path = tmp_path / "run.jsonl"
    first = '["start", {"uid": "run", "time": 1.5}]\n'
    for broken in ('["event", {"uid": \n', '["event"]\n', "3\n", '{"name": "event"}\n'):
        path.write_text(first + broken + '["stop", {}]\n')
        with pytest.raises(ValueError, match=f"run.jsonl .* at byte {len(first)}") as error:
            list(Recording(path))
        assert "\n" not in str(error.value)


def test_recordings_of_a_directory_are_found_in_order_of_time(tmp_path, caplog) -> None:
    for uid, when in (("a", 30.0), ("b", 10.0), ("c", 20.0)):
        record(tmp_path, run_documents(uid, time=when))
    (tmp_path / "d.jsonl").write_text('["start", {"uid": "d", "time": 15.0}]\n')
    (tmp_path / "settings.json").write_text('{"threshold": 3}')
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "folder.json").mkdir()
    assert [recording.start["uid"] for recording in Recording.find(tmp_path)] == ["b", "d", "c", "a"]
    assert not [entry for entry in caplog.records if entry.levelno > logging.INFO]


def test_what_is_no_whole_run_in_a_directory_is_reported(tmp_path, caplog) -> None:
    path = record(tmp_path, run_documents("a"))
    shutil.copy(path, tmp_path / "b.bsrec")
    os.truncate(tmp_path / "b.bsrec", 0)
    with Recorder(tmp_path) as recorder:
        recorder(*run_documents("c")[1])
    caplog.clear()
    assert [recording.path for recording in Recording.find(tmp_path)] == [path]
    assert f"{tmp_path / 'b.bsrec'} does not begin with a start document" in caplog.text
    assert str(recorder.artifacts[0]) in caplog.text
    (tmp_path / "b.bsrec").write_bytes(b"something else, of some length")
    with pytest.raises(ValueError, match=r"b\.bsrec is not a recording"):
        Recording.find(tmp_path)
