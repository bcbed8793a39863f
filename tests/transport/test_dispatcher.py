from __future__ import annotations

import logging
import pickle
import random
import struct
import threading
import time
from contextlib import suppress

import numpy as np
import pytest
import zmq
from event_model import DocumentNames
from runs import feed

from bluesky_ext.callbacks import DataFrameDumper  # noqa: F401 - a stage is imported before time goes backwards
from bluesky_ext.transport import Proxy, Publisher, RemoteDispatcher, dumps, loads


@pytest.fixture
def proxy():
    """One that waits for its listeners, so that a test need not."""
    with Proxy(block=True) as proxy:
        yield proxy


class Raw:
    """A publisher of whatever bytes one likes."""

    def __init__(self, address: str) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.XPUB)
        self.socket.setsockopt(zmq.XPUB_NODROP, 1)
        self.socket.rcvtimeo = 60_000
        self.socket.connect(address)

    def meet(self, topic: bytes) -> None:
        while self.socket.recv() != b"\1" + topic:
            pass

    def __call__(self, *parts: bytes) -> None:
        self.socket.send_multipart(parts)

    def close(self) -> None:
        self.socket.close(1000)
        self.context.term()


@pytest.fixture
def raw(proxy):
    raw = Raw(proxy.in_address)
    yield raw
    raw.close()


def warnings(caplog, word: str) -> list[str]:
    records = [record for record in caplog.records if record.levelno >= logging.WARNING]
    return [record.getMessage() for record in records if word in record.getMessage()]


def send(raw, documents, prefix=b"raw") -> None:
    for name, doc in documents:
        raw(b"%b %b " % (prefix, name.encode()) + dumps(doc))


@pytest.fixture
def hear(proxy, raw, listen):
    """Makes a RemoteDispatcher that hears what is sent raw."""

    def hear(**options):
        listening = listen(proxy.out_address, prefix=b"raw", **options)
        raw.meet(b"raw ")
        return listening

    return hear


@pytest.fixture
def listening(hear):
    return hear()


def test_callbacks_get_names_as_those_of_bluesky_do(proxy, raw, listen, run_of) -> None:
    calls: dict[str, list] = {"all": [], "event": [], "enum": [], "gone": []}
    listening = listen(proxy.out_address, prefix=b"raw", callback=lambda name, doc: calls["all"].append(name))
    dispatcher = listening.dispatcher
    dispatcher.subscribe(lambda name, doc: calls["event"].append(name), "event")
    dispatcher.subscribe(lambda name, doc: calls["enum"].append(name), DocumentNames.stop)
    dispatcher.unsubscribe(dispatcher.subscribe(lambda name, doc: calls["gone"].append(name)))
    dispatcher.subscribe(lambda name, doc: dispatcher.stop(), "stop")
    raw.meet(b"raw ")
    send(raw, run_of(events=2))
    listening.thread.join(60)
    assert not listening.thread.is_alive()
    names = ["start", "descriptor", "event", "event", "stop"]
    assert calls == {"all": names, "event": ["event", "event"], "enum": ["stop"], "gone": []}
    assert all(type(name) is str for name in calls["all"])
    assert dispatcher.closed
    with pytest.raises(RuntimeError, match="make a new one"):
        dispatcher.start()


def test_a_callback_that_raises_keeps_nothing_from_the_others(hear, raw, run_of, caplog) -> None:
    def fail(name, doc):
        raise ValueError("no good")

    listening = hear(callback=fail)
    send(raw, run_of(events=3))
    listening.heard.wait()
    assert listening.dispatcher.stats.subscriber_failures == 6
    assert len(warnings(caplog, "no good")) == 1


def test_two_publishers_of_different_prefixes_do_not_meet(proxy, listen, run_of) -> None:
    listeners = {prefix: listen(proxy.out_address, prefix=prefix) for prefix in (b"raw", b"an", b"")}
    for listener in listeners.values():  # a publisher waits for the first of them only
        assert listener.dispatcher.listening.wait(60)
    publishers = [Publisher(proxy.in_address, prefix=prefix, block=True, wait=60.0) for prefix in (b"raw", b"an")]
    for documents in zip(run_of("one"), run_of("two"), strict=True):
        for publisher, (name, doc) in zip(publishers, documents, strict=True):
            publisher(name, doc)
    for publisher in publishers:
        publisher.close()
    for prefix, uid in ((b"raw", "one"), (b"an", "two")):
        documents = listeners[prefix].heard.wait()
        assert documents[0][1]["uid"] == documents[-1][1]["run_start"] == uid
        assert len(documents) == 6
    listeners[b""].heard.wait(lambda names: len(names) == 12)


def test_it_lives_through_thousands_of_malformed_frames(listening, raw, run_of, caplog) -> None:
    rng = random.Random(0)
    frames = [b"raw %b " % name.encode() + dumps(doc) for name, doc in run_of(image=np.arange(6.0))]
    for number in range(20_000):
        frame = bytearray(frames[number % len(frames)])
        at = rng.randrange(len(frame))
        match number % 5:
            case 0:
                frame[at] = rng.randrange(256)
            case 1:
                del frame[at : at + 3]
            case 2:
                frame[at:at] = rng.randbytes(4)
            case 3:
                del frame[at:]
            case 4:
                frame = bytearray(b"raw " + rng.randbytes(30))
        raw(b"raw " + frame[4:])
    raw(frames[0], b"another part")
    documents = run_of("good")
    send(raw, documents)
    listening.heard.wait(lambda names: names[-1:] == ["stop"] and listening.heard.documents[-1][1] == documents[-1][1])
    stats = listening.dispatcher.stats
    assert stats.messages == 20_007
    assert stats.malformed > 4000
    assert stats.unknown > 200
    assert len(caplog.records) < 5000  # most of them at DEBUG, once the first of a kind was said
    assert "good" not in listening.dispatcher.open_runs


def test_it_listens_once_the_proxy_knows_what_it_wants(run_of, listen) -> None:
    with Proxy() as proxy:
        first = listen(proxy.out_address, prefix=b"raw")
        assert first.dispatcher.listening.wait(60)
        with Publisher(proxy.in_address, prefix=b"raw", wait=60.0) as publisher:
            for number in range(20):  # of a publisher that has its listener, and waits for no other
                other = listen(proxy.out_address, prefix=b"raw")
                assert other.dispatcher.listening.wait(60)
                feed(publisher, run_of(f"run {number}"))
                other.heard.wait()
                other.stop()
                assert other.heard.names == [name for name, _ in run_of()]
                assert other.dispatcher.stats.messages == 6  # and no answer of the proxy
                assert not other.dispatcher.listening.is_set()


def test_who_takes_everything_is_told_nothing_that_is_no_document(run_of, listen, listen_theirs, caplog) -> None:
    with Proxy() as proxy, Publisher(proxy.in_address, wait=0.0) as publisher:
        theirs = listen_theirs(proxy.out_address, deserializer=loads, strict=True)
        while not theirs.documents:
            publisher("start", {"uid": "first", "time": 0.0})
            theirs.changed.acquire()
            theirs.changed.wait(0.02)
            theirs.changed.release()
        with caplog.at_level(logging.INFO):
            ours = listen(proxy.out_address)
            assert ours.dispatcher.listening.wait(60)  # taken for granted: nobody says so
        assert "taken for granted" in caplog.text
        feed(publisher, run_of())
        theirs.wait()
        ours.heard.wait()
        assert set(theirs.names) == set(ours.heard.names) == {"start", "descriptor", "event", "stop"}


def test_a_document_of_an_unknown_name_is_left_out(listening, raw, run_of, caplog) -> None:
    raw(b"raw surprise " + dumps({"uid": "x"}))
    raw(b"raw surprise " + dumps({"uid": "x"}))
    send(raw, run_of())
    listening.heard.wait()
    assert listening.dispatcher.stats.unknown == 2
    assert warnings(caplog, "surprise") == [
        f"{listening.dispatcher.address}: there are no documents named b'surprise': it is left out"
    ]


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('the bomb went off')",))


def test_a_pickle_is_refused_once_with_both_cures(listening, raw, run_of, caplog) -> None:
    for _ in range(3):
        raw(b"raw event " + pickle.dumps(Bomb()))
    send(raw, run_of())
    listening.heard.wait()
    assert listening.dispatcher.stats.pickles == listening.dispatcher.stats.malformed == 3
    (message,) = warnings(caplog, "pickle")
    assert "serializer=bluesky_ext.transport.dumps" in message
    assert "deserializer='pickle'" in message


def test_pickle_by_its_name_is_read_and_says_what_it_means(hear, raw, run_of, caplog) -> None:
    listening = hear(deserializer="pickle")
    for name, doc in run_of():
        raw(b"raw %b " % name.encode() + pickle.dumps(doc))
    listening.heard.wait()
    assert warnings(caplog, "whoever can send there can run any program where they are read")


@pytest.mark.parametrize(
    "payload",
    [b"\x91" * 100_000, dumps([1, 2]), dumps({"seq_num": 1}), dumps({"descriptor": [], "seq_num": 1})],
    ids=["nested", "list", "orphan", "odd"],
)
def test_what_is_no_document_does_nothing(payload, listening, raw, run_of) -> None:
    raw(b"raw event " + payload)
    send(raw, run_of())
    listening.heard.wait()
    assert listening.dispatcher.stats.malformed == 1
    assert listening.heard.names == ["start", "descriptor", "event", "event", "event", "stop"]


def test_a_message_that_claims_a_gigabyte_is_not_waited_for(proxy, listening, raw, run_of, until) -> None:
    # By hand, as 0MQ would not send it: the greeting of ZMTP 3.1, READY, and the header of a frame.
    import socket

    host, port = proxy.in_address.removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port))) as liar:
        liar.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + b"\0" + bytes(31))
        body = b"\x05READY\x0bSocket-Type" + struct.pack(">I", 3) + b"PUB"
        liar.sendall(b"\x04" + bytes([len(body)]) + body)
        liar.sendall(b"\x02" + struct.pack(">Q", 10**9) + b"raw event ")
        liar.settimeout(60)
        with suppress(ConnectionError):
            while liar.recv(1000):
                pass  # until the proxy hangs up; a timeout fails the test
    send(raw, run_of())
    listening.heard.wait()
    assert listening.heard.names == [name for name, _ in run_of()]


def test_wrong_keys_end_it_in_one_line(keys, listen) -> None:
    with Proxy(out_curve=keys.server) as proxy:
        for curve, message in (
            (keys.wrong_server, "has another key than"),
            (keys.stranger, "does not let in the client key"),
            (None, "give curve_config=ClientCurve"),
        ):
            with pytest.raises(ConnectionError, match=message):
                RemoteDispatcher(proxy.out_address, curve_config=curve).start()


def test_nobody_at_the_address_is_said_and_it_waits(run_of, listen, caplog, until, monkeypatch) -> None:
    monkeypatch.setattr("bluesky_ext.transport.receiver.WARN_AFTER", 0.05)
    with Proxy() as gone:
        addresses = gone.in_address, gone.out_address
    listening = listen(addresses[1])
    until(lambda: warnings(caplog, "nothing answers at"))
    with Proxy(*addresses), Publisher(addresses[0], wait=60.0) as publisher:
        feed(publisher, run_of())
        listening.heard.wait()
    assert listening.heard.names == [name for name, _ in run_of()]


def test_lost_events_are_counted(listening, raw, run_of, caplog) -> None:
    start, descriptor, *events, stop = run_of(events=10)
    send(raw, [start, descriptor, *events[:3], *events[5:7], events[8]])
    listening.heard.wait(lambda names: names.count("event") == 6)
    # Said when it happens, once, and counted from then on.
    assert listening.dispatcher.stats.lost == 3
    (said,) = warnings(caplog, "has lost events")
    assert "run run has lost events on its way: 4 to 5 of stream primary" in said
    send(raw, [stop])
    listening.heard.wait()
    assert listening.dispatcher.stats.lost == 4
    assert warnings(caplog, "run run has lost events on its way, by stream: {'primary': 4}")


def test_unknown_runs_do_not_drive_out_a_run_that_is_heard_of_and_all_are_closed(hear, raw, run_of) -> None:
    listening = hear(max_open_runs=3)
    silent, live = run_of("silent"), run_of("live", events=10)
    send(raw, [*silent[:3], *live[:2]])
    for number, event in enumerate(live[2:-1]):
        send(raw, [run_of(f"unknown {number}")[1], event])
    send(raw, live[-1:])
    came = listening.heard.wait(lambda names: listening.heard.documents[-1:] == live[-1:])
    stops = {doc["run_start"]: doc for name, doc in came if name == "stop"}
    assert "no stop document came, and more than 3 runs are open" in stops["silent"]["incomplete"]
    assert stops["silent"]["num_events"] == {"primary": 1}
    assert stops.keys() == {"silent", "live", *(f"unknown {number}" for number in range(8))}
    assert "incomplete" not in stops["live"]
    stats = listening.dispatcher.stats
    assert (stats.incomplete, stats.joined, stats.lost) == (9, 10, 0)


def test_a_run_without_a_stop_is_closed_as_incomplete_and_its_stop_counts_nothing_twice(
    hear, raw, run_of, caplog
) -> None:
    listening = hear(stale_after=0.1)
    start, descriptor, first, _, third, late = run_of(events=3)
    send(raw, [start, descriptor, first, third])
    (_, stop) = listening.heard.wait()[-1]
    assert stop["run_start"] == "run"
    assert stop["exit_status"] == "abort"
    assert "no document came for 0.1 s" in stop["incomplete"]
    assert stop["num_events"] == {"primary": 2}
    stats = listening.dispatcher.stats
    assert stats.incomplete == stats.lost == 1
    assert len(warnings(caplog, "as incomplete")) == 1
    send(raw, [late])
    assert listening.heard.wait(lambda names: names.count("stop") == 2)[-1] == late
    assert (stats.incomplete, stats.lost, stats.joined) == (1, 1, 0)


def test_a_run_that_starts_again_is_closed_first(listening, raw, run_of) -> None:
    documents = run_of()
    send(raw, [*documents[:3], *documents])
    listening.heard.wait(lambda names: names.count("stop") == 2)
    names = ["start", "descriptor", "event", "stop", "start", "descriptor", "event", "event", "event", "stop"]
    assert listening.heard.names == names
    assert "started again" in listening.heard.documents[3][1]["incomplete"]
    assert "incomplete" not in listening.heard.documents[-1][1]


def test_a_run_joined_in_the_middle_is_said_once(listening, raw, run_of, caplog) -> None:
    documents = run_of(events=5)
    send(raw, documents[3:])
    listening.heard.wait()
    assert len(warnings(caplog, "a run that was not announced")) == 1
    assert len(warnings(caplog, "its beginning is lost")) == 1  # said at its stop, which says what run that was
    assert listening.dispatcher.stats.joined == 1
    assert listening.dispatcher.stats.orphaned == 4


def test_a_run_joined_in_the_middle_comes_from_the_store(hear, raw, run_of) -> None:
    documents, other = run_of("joined", events=5), run_of("other")
    asked = []

    def store(uid):
        asked.append(uid)
        if len(asked) == 1:
            raise LookupError("not written yet")
        return documents

    listening = hear(store=store)
    send(raw, [*documents[1:4], *other, *documents[4:]])
    came = listening.heard.wait(lambda names: names.count("stop") == 2)
    assert [name for name, _ in came] == [name for name, _ in [*other, *documents]]
    assert [doc["uid"] for _, doc in came] == [doc["uid"] for _, doc in [*other, *documents]]
    assert asked == ["joined", "joined"]
    stats = listening.dispatcher.stats
    assert (stats.replayed, stats.received) == (1, stats.messages)  # without those of the store


def test_a_store_that_fails_is_said_and_it_lives(hear, raw, run_of, caplog, until) -> None:
    def store(uid):
        yield "start", {"uid": uid, "time": 0.0}
        raise OSError("disk")

    listening = hear(store=store, store_patience=0.1)
    send(raw, run_of("joined")[1:])
    (_, stop) = listening.heard.wait()[-1]
    assert "could not be replayed from the store: disk" in stop["incomplete"]
    until(lambda: warnings(caplog, "could not be replayed"))


def test_full_queues_drop_events_and_count_them(hear, raw, run_of, until) -> None:
    gate = threading.Event()
    listening = hear(
        policy="drop",
        max_documents=10,
        callback=lambda name, doc: gate.wait(60) if name == "start" else None,
    )
    send(raw, run_of(events=200))
    stats = listening.dispatcher.stats
    until(lambda: stats.messages == 203)
    gate.set()
    listening.heard.wait()
    assert stats.dropped > 150
    assert stats.dropped == stats.lost
    assert listening.heard.names.count("event") == 200 - stats.lost


def test_of_a_live_run_that_waits_the_latest_event_is_handed_on(hear, raw, run_of, until, caplog) -> None:
    gate = threading.Event()
    listening = hear(callback=lambda name, doc: gate.wait(60) if name == "start" else None)
    (name, start), *others = run_of(events=200)
    lost = [pair for pair in others if pair[1].get("seq_num") not in (50, 51)]
    send(raw, [(name, {**start, "purpose": "live"}), *lost])
    stats = listening.dispatcher.stats
    until(lambda: stats.messages == 201)
    gate.set()
    heard = listening.heard.wait()
    numbers = [doc["seq_num"] for name, doc in heard if name == "event"]
    assert numbers[-1] == 200
    assert len(numbers) < 20
    assert (stats.lost, stats.skipped) == (0, 2)
    assert not warnings(caplog, "lost")


def test_queues_are_bounded_in_bytes(hear, raw, run_of, until) -> None:
    gate = threading.Event()
    image = np.zeros(100_000, np.uint8)
    listening = hear(
        max_queue=1_000_000,
        high_water=1,
        callback=lambda name, doc: gate.wait(60) if name == "start" else None,
    )
    thread = threading.Thread(target=send, args=(raw, run_of(events=50, image=image)))
    thread.start()
    # Nine in the queue, one before it, and the start and the descriptor; the rest is with the publisher and on its way.
    until(lambda: listening.dispatcher.stats.messages == 12)
    gate.set()
    listening.heard.wait()
    thread.join()
    assert listening.dispatcher.stats.lost == 0


@pytest.mark.parametrize(("drain", "full"), [(10.0, False), (0.0, False), (10.0, True)])
def test_stopping_from_a_thread_flushes_or_flags_the_run(hear, drain, full, raw, run_of, until) -> None:
    gate = threading.Event()
    most = 5 if full else 100
    listening = hear(max_documents=most, callback=lambda name, doc: gate.wait(60))
    send(raw, run_of(events=20)[:-1])
    stats = listening.dispatcher.stats
    until(lambda: stats.messages == (most + 2 if full else 22))  # one is with the callbacks, and one finds no room
    listening.dispatcher.stop(drain=drain)
    gate.set()
    listening.stop()
    assert listening.failure is None
    assert listening.heard.names[-1] == "stop"
    assert "stopped before the run was over" in listening.heard.documents[-1][1]["incomplete"]
    assert stats.messages == stats.received + stats.dropped
    assert (stats.dropped == 0) is (drain > 0 and not full)


def test_a_clock_that_goes_backwards_changes_nothing(listening, raw, run_of, monkeypatch) -> None:
    times = iter(range(10**9, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(times)))
    documents = run_of(events=5)
    for number, (_, doc) in enumerate(documents):
        doc["time"] = -1000.0 * number
    send(raw, documents)
    listening.heard.wait()
    assert listening.heard.names == [name for name, _ in documents]
    assert listening.dispatcher.stats.incomplete == listening.dispatcher.stats.lost == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prefix": "raw"}, "give b'raw'"),
        ({"prefix": b"x" * 201}, "give 200 or less"),
        ({"policy": "wait"}, "give 'block'"),
        ({"deserializer": "json"}, "give 'msgpack', 'pickle'"),
        ({"store": "catalog"}, "give a function of the uid"),
        ({"stale_after": 0}, "give a time in seconds above 0"),
        ({"max_queue": 0}, "give numbers above 0"),
    ],
)
def test_what_makes_no_sense_is_refused_when_it_is_made(options, message) -> None:
    with pytest.raises((ValueError, TypeError)) as error:
        RemoteDispatcher("localhost:5568", **options)
    assert message in str(error.value)
