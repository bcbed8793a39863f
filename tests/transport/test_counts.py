"""What publishers tell of their runs, so that nothing is missed in silence."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from runs import feed

from bluesky_ext.engine import Map, metrics
from bluesky_ext.transport import Proxy, Publisher, background

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
    for uid, events in (
        ("cut off", 600),
        ("lost", 20),
    ):  # 60 MB are more than sockets keep; of the second, little comes
        with Publisher(proxy.in_address, prefix=b"raw", wait=60.0, high_water=2000, linger=60.0) as publisher:
            feed(publisher, run_of(uid, events=events, image=IMAGE))
        assert publisher.stats.sent == events + 3
    # The publishers have gone, and no document comes any more.
    gate.set()
    until(lambda: said(caplog, "run lost: ") and not slow.dispatcher.open_runs)
    heard = slow.heard.documents
    begun = [doc["uid"] for name, doc in heard if name == "start"]
    stops = [doc for name, doc in heard if name == "stop"]
    assert [doc["run_start"] for doc in stops] == begun
    assert {doc["incomplete"] for doc in stops} == {"its stop document was lost on its way"}
    came = len(heard) - len(stops)
    stats = slow.dispatcher.stats
    assert stats.missed == 626 - came
    assert proxy.stats.stalls > 0
    assert said(caplog, "does not keep up, and loses documents")
    assert said(caplog, "of the 603 documents that were published so far did not come")
    assert (stats.incomplete, stats.joined) == (len(begun), 0)


def test_nothing_is_missed_when_publishers_and_listeners_come_and_go(listen, run_of, caplog) -> None:
    with Proxy(block=True) as proxy:
        come_and_go(proxy, listen, run_of)
    assert not said(caplog, "so far")


def come_and_go(proxy, listen, run_of) -> None:
    options: Any = {"prefix": b"raw", "wait": 60.0, "linger": 60.0}
    first = listen(proxy.out_address, prefix=b"raw")
    one, two, three = run_of("one", events=20), run_of("two", events=20), run_of("three", events=20)
    with Publisher(proxy.in_address, **options) as publisher, Publisher(proxy.in_address, **options) as other:
        feed(publisher, one)
        for pair in zip(two[:10], three[:10], strict=True):
            for end, document in zip((publisher, other), pair, strict=True):
                end(*document)
        late = listen(proxy.out_address, prefix=b"")
        assert late.dispatcher.listening.wait(60)
        feed(other, three[10:])
    with Publisher(proxy.in_address, **options) as again:  # as after a restart in the middle of a run
        feed(again, two[10:])
        feed(again, one)
        feed(again, run_of("last"))
    for listening in (first, late):
        listening.heard.wait(lambda names, one=listening.heard: one.documents[-1][1].get("run_start") == "last")
        assert listening.dispatcher.stats.missed == listening.dispatcher.stats.incomplete == 0


def test_the_stop_of_a_run_joined_in_the_middle_is_missed_too(proxy, listen, run_of, until) -> None:
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
    (_, stop) = late.heard.wait()[-1]
    assert stop["incomplete"] == "its stop document was lost on its way"
    assert late.dispatcher.stats.joined == 1


def test_counts_that_are_none_do_nothing(listen, run_of, caplog) -> None:
    with Proxy(block=True) as proxy:
        listening = listen(proxy.out_address, prefix=b"raw")
        with Publisher(proxy.in_address, prefix=b"raw", block=True, wait=60.0) as publisher:
            send = publisher._connection.send  # noqa: SLF001 - as a stranger would do it
            for payload in (b"", b"[1]", b"[[" * 10_000, b"x" * 100_000, b"{}"):
                send(b"\0bluesky-ext-counts:raw stranger " + payload, keep=False)
            feed(publisher, run_of())
        assert [name for name, _ in listening.heard.wait()] == [name for name, _ in run_of()]
    assert listening.dispatcher.stats.malformed == listening.dispatcher.stats.missed == 0
    assert said(caplog, "what came is no tally")


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
    assert read["bluesky_ext_dispatcher_missed_total", proxy.out_address] == 0
    assert read["bluesky_ext_background_done_total", behind.name] == 6
    assert read["bluesky_ext_stage_received_total", one.name] == 3
    assert read["bluesky_ext_stage_received_total", f"{one.name} 2"] == 3
