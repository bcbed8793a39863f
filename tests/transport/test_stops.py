"""Stop documents that are said again, so that nothing is lost in silence; and counts."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from runs import feed

from bluesky_ext.engine import Map, metrics
from bluesky_ext.transport import Proxy, Publisher, background, stops

IMAGE = np.zeros(50_000, np.uint16)


def said(caplog, word: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if word in record.getMessage()]


@pytest.fixture
def proxy():
    with Proxy(high_water=10) as proxy:
        yield proxy


def test_a_lost_end_and_a_lost_run_are_told_when_the_listener_has_room_again(
    proxy, listen, run_of, until, caplog
) -> None:
    gate = threading.Event()
    slow = listen(
        proxy.out_address, prefix=b"raw", max_documents=1, high_water=1, callback=lambda name, doc: gate.wait(60)
    )
    assert slow.dispatcher.listening.wait(60)
    for uid, events in (("cut off", 600), ("lost", 20)):  # 60 MB are more than sockets keep
        with Publisher(proxy.in_address, prefix=b"raw", wait=60.0, high_water=2000, linger=60.0) as publisher:
            feed(publisher, run_of(uid, events=events, image=IMAGE))
        assert publisher.stats.sent == events + 3
    # The publishers have gone, and no document comes any more.
    gate.set()
    until(lambda: slow.heard.names.count("stop") == 2)
    stops = {doc["run_start"]: doc for name, doc in slow.heard.documents if name == "stop"}
    assert {uid: stop["num_events"]["primary"] for uid, stop in stops.items()} == {"cut off": 600, "lost": 20}
    assert not any("incomplete" in stop for stop in stops.values())
    stats = slow.dispatcher.stats
    assert stats.lost == 620 - slow.heard.names.count("event") > 0
    assert not slow.dispatcher.open_runs
    assert proxy.stats.stalls > 0
    assert said(caplog, "does not keep up, and loses documents")
    assert stats.incomplete == 0


def test_nothing_is_lost_when_publishers_and_listeners_come_and_go(listen, run_of, monkeypatch) -> None:
    monkeypatch.setattr(stops, "PAUSE", 0.01)  # what is over when a listener comes is said again to it
    with Proxy(block=True) as proxy:
        come_and_go(proxy, listen, run_of)


def is_over(heard: Any, uid: str) -> bool:
    name, document = heard.documents[-1] if heard.documents else ("", {})
    return name == "stop" and document["run_start"] == uid


def come_and_go(proxy, listen, run_of) -> None:
    options: Any = {"prefix": b"raw", "wait": 60.0, "linger": 60.0}
    first = listen(proxy.out_address, prefix=b"raw")
    one, two, three = run_of("one", events=20), run_of("two", events=20), run_of("three", events=20)
    with Publisher(proxy.in_address, **options) as publisher, Publisher(proxy.in_address, **options) as other:
        feed(publisher, one)
        for pair in zip(two[:10], three[:10], strict=True):
            for end, document in zip((publisher, other), pair, strict=True):
                end(*document)
        first.heard.wait(lambda names: len(names) == 43)  # nothing is on its way any more
        late = listen(proxy.out_address, prefix=b"")
        assert late.dispatcher.listening.wait(60)
        feed(other, three[10:])
    with Publisher(proxy.in_address, **options) as again:  # as after a restart in the middle of a run
        feed(again, two[10:])
        feed(again, one)
        feed(again, run_of("last"))
    for listening in (first, late):
        listening.heard.wait(lambda names, heard=listening.heard: is_over(heard, "last"))
        assert listening.dispatcher.stats.incomplete == 0
    stats = first.dispatcher.stats
    assert (stats.lost, stats.joined, first.heard.names.count("stop")) == (0, 0, 5)
    assert (late.dispatcher.stats.joined, late.heard.names.count("stop")) == (2, 4)  # nothing of what was over before


def test_the_stop_of_a_run_joined_in_the_middle_comes_too(proxy, listen, run_of, until) -> None:
    start, descriptor, *events, stop = run_of(events=300, image=IMAGE)
    gate = threading.Event()
    gate.set()
    first = listen(proxy.out_address, prefix=b"raw")
    with Publisher(proxy.in_address, prefix=b"raw", wait=60.0, high_water=2000, linger=60.0) as publisher:
        publisher(*start)
        first.heard.wait(lambda names: names)
        late = listen(
            proxy.out_address, prefix=b"raw", max_documents=1, high_water=1, callback=lambda name, doc: gate.wait(60)
        )
        assert late.dispatcher.listening.wait(60)
        publisher(*descriptor)
        late.heard.wait(lambda names: "descriptor" in names)
        gate.clear()
        feed(publisher, [*events, stop])
    gate.set()
    assert late.heard.wait()[-1] == stop
    stats = late.dispatcher.stats
    assert stats.joined == 1
    assert stats.lost == 300 - late.heard.names.count("event") > 0


def test_the_stop_of_a_run_that_was_on_its_way_when_the_proxy_died_is_said_again(listen, run_of, until) -> None:
    proxy = Proxy().__enter__()
    addresses = proxy.in_address, proxy.out_address
    listening = listen(proxy.out_address, prefix=b"raw")
    with Publisher(proxy.in_address, prefix=b"raw", wait=60.0) as publisher:
        *documents, stop = run_of()
        feed(publisher, documents)
        listening.heard.wait(lambda names: len(names) == len(documents))
        proxy.close()
        until(lambda: not listening.dispatcher.listening.is_set())
        publisher(*stop)
        assert publisher.stats.unheard == 1
        with Proxy(*addresses):
            assert listening.dispatcher.listening.wait(60)

            def next_run() -> bool:  # as soon as the publisher is connected again
                publisher("start", {"uid": "next", "time": 0.0})
                return "stop" in listening.heard.names

            until(next_run)
            assert next(doc for name, doc in listening.heard.documents if name == "stop") == stop[1]
    assert listening.dispatcher.stats.lost == 0


def test_what_is_no_stop_said_again_does_nothing(listen, run_of) -> None:
    with Proxy(block=True) as proxy:
        listening = listen(proxy.out_address, prefix=b"raw")
        with Publisher(proxy.in_address, prefix=b"raw", block=True, wait=60.0) as publisher:
            send = publisher._connection.send  # noqa: SLF001 - as a stranger would do it
            for about in (b"", b"raw", b"raw x y z", b"raw x 1", b"raw x 1 [", b"raw x 9" + b"9" * 30_000 + b" z"):
                send(b"\0bluesky-ext-again:" + about, keep=False)
            feed(publisher, run_of())
        assert [name for name, _ in listening.heard.wait()] == [name for name, _ in run_of()]
    assert listening.dispatcher.stats.malformed == 1


def test_the_counts_of_all_are_what_prometheus_reads(listen, run_of) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    one, two = (Map(lambda data, seq_num: {}, parameters={}, name='a "stage"\n', data_keys=("x",)) for _ in range(2))
    with background(two) as behind, Proxy(block=True) as proxy:
        listening = listen(proxy.out_address, prefix=b"raw", callback=one)
        listening.dispatcher.subscribe(behind)
        with Publisher(proxy.in_address, prefix=b"raw", block=True, wait=60.0) as publisher:
            feed(publisher, run_of())
        listening.heard.wait()
        behind.wait()
        text = metrics(one, two, behind, proxy, listening.dispatcher, publisher)
    read = {
        (sample.name, sample.labels["name"]): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert read["bluesky_ext_publisher_sent_total", proxy.in_address] == 6
    assert read["bluesky_ext_proxy_messages_total", proxy.in_address] == 6
    assert read["bluesky_ext_dispatcher_messages_total", proxy.out_address] == 6
    assert read["bluesky_ext_dispatcher_lost_total", proxy.out_address] == 0
    assert read["bluesky_ext_background_done_total", behind.name] == 6
    assert read["bluesky_ext_stage_received_total", one.name] == 3
    assert read["bluesky_ext_stage_received_total", f"{one.name} 2"] == 3
