from __future__ import annotations

import re
import socket
import threading
from contextlib import ExitStack, suppress

import numpy as np
import pytest
import zmq
from runs import feed

from bluesky_ext.transport import Proxy, Publisher
from bluesky_ext.transport.socket import Socket

IMAGE = np.zeros(200_000, np.uint16)  # 60 of them are more than the operating system takes


@pytest.fixture
def stuck():
    """Makes a listener that takes nothing but what fits on the way to it."""
    with ExitStack() as stack:
        context = stack.enter_context(zmq.Context())

        def make(address: str) -> zmq.Socket[bytes]:
            listener = stack.enter_context(context.socket(zmq.SUB))
            listener.rcvhwm = 1
            listener.linger = 0
            listener.subscribe(b"raw")
            listener.connect(address)
            return listener

        yield make


def test_it_is_for_this_machine_unless_told_otherwise() -> None:
    proxy = Proxy()
    assert proxy.in_address.startswith("tcp://127.0.0.1:")
    assert proxy.out_address.startswith("tcp://127.0.0.1:")
    assert proxy.in_address != proxy.out_address
    proxy.close()
    assert proxy.closed


def test_an_address_in_use_is_named(tmp_path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"tcp://127.0.0.1:{port} is in use"):
            Proxy(port)
        with pytest.raises(OSError, match=f"tcp://127.0.0.1:{port} is in use"):
            Proxy(None, port)


def test_documents_go_through_sockets_of_files(tmp_path, listen, run_of) -> None:
    with Proxy(("ipc", f"{tmp_path}/in"), f"ipc://{tmp_path}/out", block=True) as proxy:
        heard = listen(proxy.out_address, prefix=b"raw").heard
        with Publisher(f"ipc://{tmp_path}/in", prefix=b"raw", block=True, wait=60.0) as publisher:
            feed(publisher, run_of())
            assert len(heard.wait()) == 6


def test_one_that_connects_joins_two(listen, run_of, until) -> None:
    with Proxy() as first, Proxy() as second, ExitStack() as stack:
        stack.enter_context(Proxy(first.out_address, second.in_address, in_bind=False, out_bind=False))
        heard = listen(second.out_address, prefix=b"raw").heard
        with Publisher(first.in_address, prefix=b"raw", wait=60.0) as publisher:
            feed(publisher, run_of())
            assert len(heard.wait()) == 6


@pytest.mark.parametrize("end", [Proxy.stop, Proxy.close])
def test_it_stops_from_another_thread_and_passes_on_what_came(end, listen, run_of) -> None:
    proxy = Proxy(block=True)
    heard = listen(proxy.out_address, prefix=b"raw").heard
    failures: list[BaseException] = []

    def start() -> None:
        try:
            proxy.start()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    with Publisher(proxy.in_address, prefix=b"raw", block=True, wait=60.0) as publisher:
        feed(publisher, run_of(events=2000))
    end(proxy)
    assert proxy.closed or end is Proxy.stop
    thread.join(60)
    assert not thread.is_alive()
    assert failures == []
    assert len(heard.wait()) == 2003
    assert (proxy.stats.lost, proxy.stats.stalls, proxy.stats.unfinished) == (0, 0, 0)
    with pytest.raises(RuntimeError, match="has been stopped"):
        proxy.start()
    proxy.stop()


def test_a_stuck_listener_is_left_out_and_the_others_lose_nothing(stuck, listen, run_of, caplog) -> None:
    with Proxy(block=True, stall_limit=0.5) as proxy:
        stuck(proxy.out_address)
        heard = listen(proxy.out_address, prefix=b"raw", name="good").heard
        publisher = Publisher(proxy.in_address, prefix=b"raw", block=True, wait=60.0)
        feed(publisher, run_of(events=300, image=IMAGE))
        assert len(heard.wait()) == 303
        with pytest.raises(ConnectionError, match="a listener took nothing for too long, and lost documents: replay"):
            publisher.close()
    assert proxy.stats.stalls >= 1
    said = [record.getMessage() for record in caplog.records if "took nothing for 0.5 s" in record.getMessage()]
    assert len(said) == proxy.stats.stalls
    assert "a listener took nothing" in said[0]  # its name is not known


def test_a_stuck_listener_of_ours_is_named_and_goes_on_when_it_can(listen, run_of, caplog, until) -> None:
    gate = threading.Event()
    with Proxy(block=True, stall_limit=0.2) as proxy:
        good = listen(proxy.out_address, prefix=b"raw", name="good")
        stuck = listen(
            proxy.out_address,
            prefix=b"raw",
            name="viewer",
            max_documents=1,
            high_water=1,
            callback=lambda name, doc: gate.wait(60),
        )
        with Publisher(proxy.in_address, prefix=b"raw", block=True, wait=60.0, patience=60.0, linger=60.0) as publisher:
            feed(publisher, run_of(events=300, image=IMAGE))
            good.heard.wait()
            gate.set()
            again = 0
            while "stop" not in stuck.heard.names:  # until it has taken half of what waits for it
                again += 1
                feed(publisher, run_of(f"run {again}"))
            until(lambda: "run" in [doc["run_start"] for name, doc in stuck.heard.documents if name == "stop"])
            with pytest.raises(ConnectionError, match="a listener took nothing"):
                publisher.close()
    (first, *_) = [record.getMessage() for record in caplog.records if "took nothing for 0.2 s" in record.getMessage()]
    assert "listener viewer, process " in first
    assert "good" not in first
    # Its stop is said again, when the listener has had room for as long as it had none.
    (stop,) = [doc for name, doc in stuck.heard.documents if name == "stop" and doc["run_start"] == "run"]
    assert stop["num_events"] == {"primary": 300}


def test_a_slow_listener_is_not_stuck(listen, run_of) -> None:
    pause = threading.Event()
    with Proxy(block=True, stall_limit=0.3) as proxy:
        heard = listen(
            proxy.out_address,
            prefix=b"raw",
            max_documents=1,
            high_water=1,
            callback=lambda name, doc: pause.wait(0.01),
        ).heard
        with Publisher(proxy.in_address, prefix=b"raw", block=True, wait=60.0) as publisher:
            feed(publisher, run_of(events=200, image=np.zeros(100_000, np.uint16)))
            heard.wait()
        assert len(heard.documents) == 203
        assert proxy.stats.stalls == 0


def test_without_block_a_stuck_listener_costs_only_itself(stuck, listen, run_of) -> None:
    with Proxy(high_water=10) as proxy:
        stuck(proxy.out_address)
        heard = listen(proxy.out_address, prefix=b"raw").heard
        with Publisher(proxy.in_address, prefix=b"raw", wait=60.0) as publisher:
            for count, (name, doc) in enumerate(run_of(events=300, image=np.zeros(50_000, np.uint16)), 1):
                publisher(name, doc)
                heard.wait(lambda names, count=count: len(names) >= count)
        assert len(heard.documents) == 303


def test_a_turned_away_listener_is_said_once(keys, caplog, until) -> None:
    with Proxy(out_curve=keys.server) as proxy, zmq.Context() as context, context.socket(zmq.SUB) as stranger:
        stranger.linger = 0
        stranger.connect(proxy.out_address)
        said = "a listener was turned away"
        until(lambda: [record for record in caplog.records if said in record.getMessage()])
    assert sum(said in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stall_limit": 0}, "give a time in seconds above 0"),
        ({"in_bind": False}, "has no port: give one"),
        ({"in_address": "localhost:x"}, "has the port 'x'"),
    ],
)
def test_what_makes_no_sense_is_refused_when_it_is_made(options, message) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Proxy(**options)


def test_keys_of_the_wrong_kind_are_refused(keys) -> None:
    with pytest.raises(TypeError, match="to bind, give a ServerCurve"):
        Proxy(in_curve=keys.client)
    with pytest.raises(TypeError, match="to connect, give a ClientCurve"):
        Proxy("localhost:5567", in_bind=False, in_curve=keys.server)


@pytest.mark.parametrize("where", [None, "ipc"])
@pytest.mark.parametrize(
    ("options", "said", "stalls"),
    [
        ({"block": True, "stall_limit": 0.2, "linger": 0.5}, "a listener took nothing for 0.2 s", 1),
        ({"block": True, "high_water": 100, "linger": 0.2}, "has not taken all that was on its way to it", 0),
        ({"block": False, "linger": 0.2}, "has not taken all that was on its way to it", 0),
    ],
)
def test_a_listener_that_has_not_taken_all_when_it_stops_is_counted(
    options, said, stalls, where, stuck, run_of, caplog, tmp_path
) -> None:
    with Proxy(None, where and f"ipc://{tmp_path}/out", **options) as proxy:
        stuck(proxy.out_address)
        with suppress(ConnectionError), Publisher(proxy.in_address, prefix=b"raw", block=options["block"]) as publisher:
            feed(publisher, run_of(events=60, image=IMAGE))
    assert (proxy.stats.messages, proxy.stats.lost) == (63, 0)
    assert proxy.stats.unfinished == 1
    assert (proxy.stats.stalls > 0) is (stalls > 0)
    assert said in caplog.text


def test_messages_that_had_come_in_and_there_was_no_time_for_are_counted(stuck, run_of, caplog, until) -> None:
    with Proxy(block=True, linger=0.2, high_water=10) as proxy:
        stuck(proxy.out_address)
        with Publisher(proxy.in_address, prefix=b"raw", wait=60.0, linger=0.0) as publisher:
            feed(publisher, run_of(events=100, image=IMAGE)[:-1])
            until(lambda: proxy.stats.messages > 10)
            proxy.close()
    stats = proxy.stats
    assert 0 < stats.lost < stats.messages
    (message,) = [record.getMessage() for record in caplog.records if "are lost" in record.getMessage()]
    assert f"{stats.lost} messages that had come in are lost" in message


def test_who_connects_and_never_listens_does_not_go_away_as_a_listener() -> None:
    out = Socket(zmq.XPUB, None, 10, bind=True)
    host, port = out.open("tcp://127.0.0.1:*").removeprefix("tcp://").split(":")
    socket.create_connection((host, int(port))).close()
    assert out.monitor.poll(60_000)
    assert out.flush(60.0) == (True, 0)
    out.close()


def test_a_listener_that_dies_with_something_on_its_way_is_counted_when_it_stops(stuck, run_of, caplog, until) -> None:
    with Proxy(block=True, linger=60.0, high_water=100) as proxy:
        listener = stuck(proxy.out_address)
        with Publisher(proxy.in_address, prefix=b"raw", wait=60.0, block=True) as publisher:
            feed(publisher, run_of(events=60, image=IMAGE))
        proxy.stop()
        until(lambda: proxy._out.zmq.closed)  # noqa: SLF001 - it waits for the listener from then on
        listener.close()
    assert proxy.stats.unfinished == 1
    assert "went away before they had all" in caplog.text
