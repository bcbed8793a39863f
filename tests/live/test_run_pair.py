"""A worker and a reducer, run on recordings, captures and sources of one's own."""

from __future__ import annotations

import gzip
import pickle
from types import SimpleNamespace

import event_model
import numpy as np
import pytest
from bluesky import plans as bp
from ophyd.sim import SynAxis, SynGauss

from bluesky_ext import Lanes, Recorder, Recording
from bluesky_ext.live import IntParameter, run_pair
from bluesky_ext.live.replay.replayed import Replayed
from bluesky_ext.live.replay.run_pair import play
from bluesky_ext.live.replay.sources import batches_of
from bluesky_ext.storage import save

DIED = 7


class Worker:
    @staticmethod
    def describe_parameters():
        return [IntParameter("factor", 1)]

    def process_event(self, event, parameters):
        """What is in the event, by stream: the sum of its readings, or the bytes of its frames."""
        if event.event_number == parameters["fails_at"].value if "fails_at" in parameters else False:
            raise ArithmeticError("it fails there")
        found = {}
        for name, stream in event.streams.items():
            readings = getattr(stream, "data", None)
            if readings is None:
                found[name] = stream.typ, stream.length, b"".join(stream.frames)
            else:
                found[name] = float(sum(np.sum(value) for value in readings.values())) * parameters["factor"].value
        return found


class Reducer:
    def __init__(self):
        self.publish = {}
        self.got = []

    def process_result(self, result):
        self.got.append((result.event_number, result.payload))
        if result.event_number == DIED and "dies" in next(iter(result.payload)):
            raise LookupError("the reducer fails")

    @property
    def events(self):
        """What came first of each event."""
        return dict(reversed(self.got))


def run_of(values, *, stream="primary", key="x", num_events=None):
    """The documents of a run with these readings."""
    bundle = event_model.compose_run()
    made = bundle.compose_descriptor(name=stream, data_keys={key: {"source": "s", "dtype": "number", "shape": []}})
    docs = [("start", bundle.start_doc), ("descriptor", made.descriptor_doc)]
    docs += [("event", made.compose_event(data={key: value}, timestamps={key: 0.0})) for value in values]
    stop = bundle.compose_stop()
    return [*docs, ("stop", stop if num_events is None else {**stop, "num_events": {stream: num_events}})]


def recorded(directory, name, docs):
    with Recorder(directory, file_prefix=name) as recorder:
        for pair in docs:
            recorder(*pair)
    return recorder.artifacts[0]


def captured(path, numbers, stream, *, typ="STINS"):
    """A capture, written as dranspose does it."""
    cbor2 = pytest.importorskip("cbor2")
    frame = [b'{"htype": "image"}', b"\0" * 9]
    content = b"".join(
        cbor2.dumps(cbor2.CBORTag(42877, [n, {stream: cbor2.CBORTag(42878, [typ, [*frame, b"%d" % n]])}, 1.5]))
        for n in numbers
    )
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def test_a_recorded_scan_comes_in_order_and_its_first_event_to_all_workers(tmp_path, run_engine):
    motor = SynAxis(name="motor")
    det = SynGauss("det", motor, "motor", center=0, Imax=1)
    with Recorder(tmp_path) as recorder:
        run_engine(bp.scan([det], motor, -1, 1, 250), recorder)
    reducer = run_pair(Worker, Reducer, recorder.artifacts[0], workers=3, parameters={"factor": 2})
    numbers = [number for number, _ in reducer.got]
    assert numbers == [1, 1, 1, *range(2, 251)]
    readings = [doc["data"] for name, doc in Recording(recorder.artifacts[0]) if name == "event"]
    assert [reducer.events[n]["primary"] for n in range(1, 251)] == [2 * sum(data.values()) for data in readings]


def test_frames_in_files_are_read_by_the_workers(blob, documents_of):
    docs = documents_of(bp.count([blob], 3))
    reducer = run_pair(Worker, Reducer, docs)
    assert [number for number, _ in reducer.got] == [1, 1, 2, 3]
    assert all(payload["primary"] > 0 for _, payload in reducer.got)
    with Lanes.processes(2) as elsewhere:
        assert run_pair(Worker, Reducer, docs, executor=elsewhere).got == reducer.got


def test_a_stored_run_is_read_from_its_catalogue(embedded):
    docs = run_of([1.0, 2.0, 3.0])
    with save(embedded) as saver:
        for pair in docs:
            saver(*pair)
    assert run_pair(Worker, Reducer, embedded[docs[0][1]["uid"]]).got == run_pair(Worker, Reducer, docs).got


def test_runs_of_one_scan_and_streams_of_one_run_are_joined(tmp_path):
    one = recorded(tmp_path, "one", run_of([1.0, 2.0, 3.0]))
    two = recorded(tmp_path, "two", run_of([10.0, 20.0], key="y"))
    assert run_pair(Worker, Reducer, [one, one], join=True).events[2] == {"primary": 2.0, "one/primary": 2.0}
    with pytest.raises(ValueError, match=r"2 runs: give one, or --join"):
        run_pair(Worker, Reducer, [one, two])
    reducer = run_pair(Worker, Reducer, [one, two, run_of([0.5], stream="monitor")], workers=1, join=True)
    assert reducer.got == [
        (1, {"primary": 1.0, "two/primary": 10.0, "monitor": 0.5}),
        (2, {"primary": 2.0, "two/primary": 20.0}),
        (3, {"primary": 3.0}),
    ]


def test_captures_are_joined_on_the_number_of_their_events(tmp_path):
    paths = [captured(tmp_path / "a.cbors", range(5), "a"), captured(tmp_path / "b.cbors.gz", [0, 2, 4, 5], "b")]
    reducer = run_pair(Worker, Reducer, paths)
    assert [(number, "".join(payload)) for number, payload in reducer.got] == [
        *[(0, "ab"), (0, "ab"), (1, "a"), (2, "ab"), (3, "a"), (4, "ab"), (5, "b")]
    ]
    assert reducer.events[4]["b"] == ("STINS", 3, b'{"htype": "image"}' + b"\0" * 9 + b"4")
    with Lanes.processes(1) as elsewhere:
        assert run_pair(Worker, Reducer, paths, executor=elsewhere).events == reducer.events
    with Replayed(Worker, Reducer, parameters={"fails_at": 0}, workers=2) as analysis:
        assert play(analysis, batches_of(paths)).run.failed == 2
        assert (analysis.stats.runs, analysis.stats.received, analysis.stats.failed) == (1, 6, 2)
    with pytest.raises(ValueError, match="event 0 has the stream 'a' in two of the sources"):
        run_pair(Worker, Reducer, [paths[0], paths[0]])


class Messages:
    def get_source_generators(self):
        frames = [b"ab", SimpleNamespace(bytes=b"cd")]  # as a frame of zmq
        part = SimpleNamespace(typ="T", frames=frames)
        return [iter([SimpleNamespace(event_number=n, streams={"s": part}) for n in range(3)])]


class Documents:
    def get_source_generators(self):
        return [iter(run_of([1.0, 2.0])), iter(run_of([3.0, 4.0], stream="other"))]


def test_generators_of_a_source_class_yield_messages_or_documents():
    assert run_pair(Worker, Reducer, Messages, workers=1).got == [(n, {"s": ("T", 2, b"abcd")}) for n in range(3)]
    reducer = run_pair(Worker, Reducer, Documents, workers=1)
    assert reducer.got == [(1, {"primary": 1.0, "other": 3.0}), (2, {"primary": 2.0, "other": 4.0})]


def test_captures_that_are_pickles_are_read_when_that_is_allowed(tmp_path, caplog):
    part = SimpleNamespace(typ="T", frames=[b"ab"])
    messages = [SimpleNamespace(event_number=n, streams={"s": part}) for n in range(3)]
    path = tmp_path / "a.pkls"
    path.write_bytes(b"".join(map(pickle.dumps, messages)))
    with pytest.raises(ValueError, match="holds pickles, which execute what they hold: give --unsafe-pickle"):
        run_pair(Worker, Reducer, path)
    assert len(run_pair(Worker, Reducer, path, workers=1, unsafe_pickle=True).got) == 3
    path.write_bytes(path.read_bytes()[:-10])
    assert len(run_pair(Worker, Reducer, path, workers=1, unsafe_pickle=True).got) == 2
    assert "message 2 is not whole" in caplog.text


def test_a_worker_that_fails_is_said_once_and_a_reducer_that_fails_ends_the_run(caplog):
    reducer = run_pair(Worker, Reducer, run_of(map(float, range(1, 10))), parameters={"fails_at": 3})
    assert [number for number, _ in reducer.got] == [1, 1, 2, *range(4, 10)]
    (record,) = [record for record in caplog.records if "event 3" in record.getMessage()]
    assert "event 3, stream 'primary': ArithmeticError: it fails there (test_run_pair.py:" in record.getMessage()
    with pytest.raises(LookupError, match="the reducer fails") as error:
        run_pair(Worker, Reducer, run_of(map(float, range(1, 2000)), stream="dies"))
    assert error.traceback[-1].name == "process_result"


def test_what_is_lost_or_cut_short_is_said(tmp_path, caplog):
    assert len(run_pair(Worker, Reducer, run_of([1.0, 2.0], num_events=5), workers=1).got) == 2
    assert "stream 'primary': the source lacks 3 of its events" in caplog.text
    path = recorded(tmp_path, "one", run_of([1.0, 2.0, 3.0]))
    path.write_bytes(path.read_bytes()[:-300])
    caplog.clear()
    assert len(run_pair(Worker, Reducer, path, workers=1).got) in (2, 3)
    assert "ends within a document" in caplog.text
    assert "the source ends without a stop document" in caplog.text


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.cbors", "No such file"),
        (["a.cbors", "b.bsrec"], r"a\.cbors is a capture, but not all are"),
        ([*run_of([1.0]), *run_of([1.0])], "more than one run, also"),
        (run_of([1.0])[1:], "the source begins with a descriptor"),
        ([], "there is nothing to replay"),
        (type("Source", (), {"get_source_generators": lambda self: []}), "gave none: return a list of generators"),
        (type("Source", (), {"get_source_generators": lambda self: [iter([object()])]}), "gave object: give messages"),
    ],
)
def test_what_can_not_be_replayed_is_named(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("cbor2")
    with pytest.raises((ValueError, TypeError, OSError), match=message):
        run_pair(Worker, Reducer, source)
