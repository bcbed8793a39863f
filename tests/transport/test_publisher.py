from __future__ import annotations

import logging
import pickle
import queue
import subprocess
import sys
import threading
from pathlib import Path

import bluesky.callbacks.zmq as theirs
import numpy as np
import pytest
import zmq
from bluesky import RunEngine
from bluesky.plans import count
from ophyd.sim import det
from runs import feed

from bluesky_ext.transport import Proxy, Publisher, loads
from bluesky_ext.transport.wire import BLOCKING, PROXY, pack


@pytest.fixture
def proxy():
    with Proxy() as proxy:
        yield proxy


class PlainProxy:
    """What looks to a publisher like Bluesky's proxy: it subscribes to everything."""

    def __init__(self) -> None:
        self.frames: queue.Queue[bytes] = queue.Queue()
        self.ready, self.done = threading.Event(), threading.Event()

    def run(self) -> None:
        with zmq.Context() as context, context.socket(zmq.SUB) as socket:
            socket.subscribe(b"")
            self.port = socket.bind_to_random_port("tcp://127.0.0.1")
            self.ready.set()
            while not self.done.is_set():
                if socket.poll(10):
                    self.frames.put(socket.recv())


@pytest.fixture
def plain_proxy():
    proxy = PlainProxy()
    thread = threading.Thread(target=proxy.run)
    thread.start()
    proxy.ready.wait()
    yield proxy
    proxy.done.set()
    thread.join()


def said(caplog, word: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if word in record.getMessage()]


def test_it_is_addressed_as_tutorials_do(plain_proxy) -> None:
    with Publisher("localhost", plain_proxy.port, settle=0.0, wait=60.0) as publisher:
        publisher("start", {"uid": "x", "time": 0.0})
        prefix, name, payload = plain_proxy.frames.get(timeout=60).split(b" ", 2)
    assert (prefix, name, loads(payload)) == (b"", b"start", {"uid": "x", "time": 0.0})


def test_it_is_subscribed_to_a_run_engine_of_which_the_first_documents_arrive_too(proxy, listen) -> None:
    heard = listen(proxy.out_address, prefix=b"raw").heard
    RE = RunEngine()
    with Publisher(proxy.in_address, prefix=b"raw", wait=60.0) as publisher:
        RE.subscribe(publisher)
        RE(count([det], 2))
        assert [name for name, _ in heard.wait()] == ["start", "descriptor", "event", "event", "stop"]
        assert publisher.stats.sent == 5


def test_a_plain_proxy_is_given_a_moment_and_named(plain_proxy, caplog) -> None:
    with Publisher(plain_proxy.port, settle=0.01, wait=60.0):
        assert said(caplog, "is a plain proxy: who listens can't be known; waited 0.01 s")


def test_blocking_needs_a_proxy_that_blocks(proxy, plain_proxy) -> None:
    for address in (proxy.in_address, plain_proxy.port):
        with pytest.raises(ConnectionError, match="drops what is too much: start `bluesky-ext proxy --block` there"):
            Publisher(address, block=True, wait=0.3)


def test_nobody_at_the_address_is_said_and_with_block_refused(caplog) -> None:
    with Proxy() as gone:
        address = gone.in_address
    with Publisher(address, wait=0.05) as publisher:
        publisher("start", {"uid": "x", "time": 0.0})
        publisher("stop", {"uid": "y", "time": 0.0, "run_start": "x"})
    assert publisher.stats.unheard == 2
    said_once = [r for r in caplog.records if "nothing answers at" in r.getMessage() and r.levelno == logging.WARNING]
    assert len(said_once) == 1
    assert said(caplog, "0 documents were sent; nobody listened to 2")
    with pytest.raises(ConnectionError, match="nothing answers at tcp://"):
        Publisher(address, block=True, wait=0.05)


def test_listeners_of_another_prefix_are_named(proxy, listen, caplog, until) -> None:
    rd = listen(proxy.out_address, prefix=b"row").dispatcher
    until(lambda: rd.stats.connections)
    with Publisher(proxy.in_address, prefix=b"raw", wait=0.5) as publisher:
        publisher("start", {"uid": "x", "time": 0.0})
    assert said(caplog, "nobody listens to prefix b'raw', but there is who does to [b'row']")
    assert publisher.stats.unheard == 1


def test_wrong_keys_are_named(keys) -> None:
    with Proxy(in_curve=keys.server) as proxy:
        with pytest.raises(ConnectionError, match=r"has another key than .*stranger.key"):
            Publisher(proxy.in_address, curve_config=keys.wrong_server, wait=60.0)
        with pytest.raises(ConnectionError, match=r"does not let in the client key .*stranger.key_secret"):
            Publisher(proxy.in_address, curve_config=keys.stranger, wait=60.0)
        with pytest.raises(ConnectionError, match="give curve_config=ClientCurve"):
            Publisher(proxy.in_address, wait=60.0)
    with Proxy() as proxy, pytest.raises(ConnectionError, match="or none: give the public key"):
        Publisher(proxy.in_address, curve_config=keys.client, wait=60.0)


def test_keys_that_are_not_there_are_named(tmp_path) -> None:
    curve = theirs.ClientCurve(tmp_path / "no.key_secret", tmp_path / "no.key")
    with pytest.raises(FileNotFoundError, match=r"no\.key_secret"):
        Publisher("localhost:5567", curve_config=curve)


def test_a_document_that_is_no_bytes_is_counted_and_the_scan_goes_on(proxy, listen, run_of, caplog) -> None:
    heard = listen(proxy.out_address).heard
    start, descriptor, *_, stop = run_of()
    with Publisher(proxy.in_address, wait=60.0) as publisher:
        publisher(*start)
        publisher(*descriptor)
        publisher("event", {"data": {"x": np.array([object()])}})
        publisher("event", {"data": {"x": np.array([object()])}})
        publisher(*stop)
        heard.wait()
    assert publisher.stats.failed == 2
    assert len([r for r in caplog.records if "dtype object" in r.getMessage() and r.levelno == logging.WARNING]) == 1
    with (
        Publisher(proxy.in_address, wait=60.0, on_error="raise") as publisher,
        pytest.raises(TypeError, match="object"),
    ):
        publisher("event", {"data": {"x": np.array([object()])}})
    assert publisher.raises  # behind a stage, too


def test_a_document_that_is_too_large_is_not_sent(proxy, listen, caplog) -> None:
    listen(proxy.out_address)
    with Publisher(proxy.in_address, wait=60.0, max_bytes=1000) as publisher:
        publisher("event", {"data": {"image": np.zeros(1001, np.uint8)}})
    assert publisher.stats.failed == 1
    assert said(caplog, "no more than max_bytes=1000 are sent")


def test_pickle_by_its_name_says_what_it_means(plain_proxy, caplog) -> None:
    with Publisher(plain_proxy.port, serializer="pickle", settle=0.0, wait=60.0) as publisher:
        publisher("start", {"uid": "x"})
        assert pickle.loads(plain_proxy.frames.get(timeout=60).split(b" ", 2)[2]) == {"uid": "x"}
    assert said(caplog, "documents are pickled, as asked for")


def test_a_document_may_change_after_the_call(proxy, listen, until) -> None:
    heard = listen(proxy.out_address).heard
    image = np.zeros((512, 512), np.uint16)
    doc = {"descriptor": "d", "seq_num": 1, "data": {"image": image}}
    with Publisher(proxy.in_address, wait=60.0) as publisher:
        publisher("event", doc)
        image[:] = 7
        doc["seq_num"] = 2
        ((_, came),) = heard.wait(lambda names: len(names) == 1)
    assert came["seq_num"] == 1
    assert not came["data"]["image"].any()


def test_each_array_is_copied_once_into_an_aligned_place() -> None:
    image = np.arange(100_000, dtype=np.uint16)
    for length in range(1, 20):
        header = b"x" * length + b" event "
        message = pack(header, {"image": image})
        payload = memoryview(message)[len(header) :]
        loaded = loads(payload)["image"]
        assert np.shares_memory(loaded, np.frombuffer(message, np.uint8))  # no copy was needed to align it
        np.testing.assert_array_equal(loaded, image)


def test_a_proxy_that_does_not_keep_up_costs_documents_that_are_counted(caplog) -> None:
    with zmq.Context() as context, context.socket(zmq.XSUB) as stuck:
        stuck.rcvhwm = 1
        port = stuck.bind_to_random_port("tcp://127.0.0.1")
        stuck.send(b"\1raw ")
        thread = threading.Thread(target=lambda: stuck.poll(500))
        thread.start()
        with Publisher(port, prefix=b"raw", wait=60.0, high_water=10, max_queue=2**20, linger=0.0) as publisher:
            thread.join()
            for seq_num in range(5000):
                publisher("event", {"seq_num": seq_num, "data": {"x": b"x" * 10_000}})
            small = publisher.stats.dropped
            for seq_num in range(10):
                publisher("event", {"seq_num": seq_num, "data": {"x": np.zeros(2**20, np.uint8)}})
        assert 0 < small < 5000
        assert publisher.stats.dropped > small
        assert publisher.stats.sent + publisher.stats.dropped == 5010
    assert len([r for r in caplog.records if "does not keep up" in r.getMessage() and r.levelno > logging.INFO]) == 1


@pytest.mark.parametrize("closes", [False, True])
def test_the_stop_of_a_run_that_is_too_fast_arrives_so_that_the_lost_tail_is_counted(closes, listen, run_of) -> None:
    gate = threading.Event()
    with Proxy(block=True) as proxy:
        slow = listen(proxy.out_address, prefix=b"raw", max_documents=1, callback=lambda name, doc: gate.wait(60))
        with Publisher(proxy.in_address, prefix=b"raw", wait=60.0, high_water=10, linger=60.0) as publisher:
            feed(publisher, run_of(events=500, image=np.zeros(50_000, np.uint16)))
            gate.set()
            if closes:
                publisher.close()
            slow.heard.wait()  # though it is not called again
            assert slow.dispatcher.stats.lost == publisher.stats.dropped > 0
            assert slow.dispatcher.stats.incomplete == 0
            assert slow.heard.names[:2] == ["start", "descriptor"]


def test_a_proxy_that_was_started_again_between_two_runs_is_known(until) -> None:
    address, publisher = "tcp://127.0.0.1:*", None
    for run in ("one", "two"):
        with zmq.Context() as context, context.socket(zmq.XSUB) as proxy:
            connections = proxy.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
            proxy.bind(address)
            address = proxy.get_string(zmq.LAST_ENDPOINT)
            for topic in (PROXY, b"raw "):
                proxy.send(b"\1" + topic)
            polling = threading.Thread(target=proxy.poll, args=(60_000,))
            polling.start()
            publisher = publisher or Publisher(address, prefix=b"raw", wait=60.0)
            assert connections.poll(60_000)  # the publisher has not been called meanwhile
            until(lambda one=publisher, uid=run: one("start", {"uid": uid}) or one.stats.sent)
            publisher.stats.sent = 0
            polling.join()
            proxy.disable_monitor()
            connections.close()
    publisher.close(linger=0.0)


def test_blocking_waits_for_a_listener_and_then_says_there_is_none(run_of) -> None:
    proxy = Proxy(block=True)
    with proxy, Publisher(proxy.in_address, block=True, wait=0.2, patience=0.2) as publisher:
        start = run_of()[0]
        with pytest.raises(TimeoutError, match=r"nobody listens to prefix b'' yet.*waited 0.2 s"):
            publisher(*start)


def test_blocking_says_that_a_run_was_broken(run_of, listen) -> None:
    with Proxy(block=True) as proxy:
        listening = listen(proxy.out_address)
        with Publisher(proxy.in_address, block=True, wait=60.0, patience=60.0) as publisher:
            start, descriptor, *_ = run_of("broken")
            publisher(*start)
            listening.heard.wait(lambda names: names)
            listening.stop()

            def go_on() -> None:
                for _ in range(10_000):
                    publisher(*descriptor)

            with pytest.raises(ConnectionError, match=r"the last listener left in the middle of run broken: replay it"):
                go_on()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prefix": "raw"}, "give b'raw'"),
        ({"prefix": b"r w"}, "may not contain"),
        ({"serializer": "json"}, "give 'msgpack', 'pickle'"),
        ({"on_error": "ignore"}, "give 'log'"),
        ({"wait": -1.0}, "give a time of 0 s or more"),
        ({"curve_config": theirs.ServerCurve(Path("x"), None, None)}, "to connect, give a ClientCurve"),
    ],
)
def test_what_makes_no_sense_is_refused_when_it_is_made(options, message) -> None:
    with pytest.raises((ValueError, TypeError)) as error:
        Publisher("localhost:5567", **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_one_that_is_closed_says_so(proxy) -> None:
    publisher = Publisher(proxy.in_address, wait=0.0)
    publisher.close()
    publisher.close()
    with pytest.raises(RuntimeError, match="has been closed"):
        publisher("start", {"uid": "x"})


PROGRAM = """
import sys
from bluesky_ext.transport import Publisher
publisher = Publisher(sys.argv[1], prefix=b"raw", wait=60.0)
for number in range(500):
    publisher("event", {"descriptor": "d", "seq_num": number + 1, "data": {"x": b"x" * 10_000}})
"""


def test_what_was_sent_before_the_process_ends_arrives(proxy, listen) -> None:
    heard = listen(proxy.out_address, prefix=b"raw").heard
    program = [sys.executable, "-c", PROGRAM, proxy.in_address]
    answer = subprocess.run(program, capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stderr
    heard.wait(lambda names: len(names) == 500)


class Deaf:
    """A proxy that says it blocks, and takes what fits on the way to it."""

    def __init__(self) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.XSUB)
        self.socket.rcvhwm = 1
        self.socket.linger = 0
        self.port = self.socket.bind_to_random_port("tcp://127.0.0.1")
        for topic in (PROXY, BLOCKING, b"raw "):
            self.socket.send(b"\1" + topic)
        # 0MQ takes notice of a connection, and tells it of these, when it is asked for messages.
        self.polling = threading.Thread(target=self.socket.poll, args=(60_000,))
        self.polling.start()

    def close(self) -> None:
        self.socket.close(0)
        self.context.term()


@pytest.mark.parametrize("dies", [False, True])
def test_what_was_sent_last_and_did_not_leave_is_no_secret(dies, run_of, caplog) -> None:
    deaf = Deaf()
    publisher = Publisher(deaf.port, prefix=b"raw", block=True, wait=60.0, linger=60.0 if dies else 0.2)
    feed(publisher, run_of(events=60, image=np.zeros(100_000, np.uint16)))
    deaf.polling.join()  # a message has come: it takes no other one
    killer = threading.Timer(0.2, deaf.close)
    if dies:
        killer.start()
    with pytest.raises(ConnectionError, match="the last documents did not arrive: replay the last run"):
        publisher.close()
    publisher.close()  # which is done
    said = "the connection was lost while the last documents" if dies else "were not taken in 0.2 s: they may be lost"
    assert said in caplog.text
    if dies:
        killer.join()
    else:
        deaf.close()
