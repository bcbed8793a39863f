from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from runs import feed, run_of

from bluesky_ext.server import serve
from bluesky_ext.transport import Proxy, Publisher


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy(block=True) as proxy:
        yield proxy


def test_a_server_script_gets_every_document_and_closes_its_callback(proxy):
    docs, got, closed, stopped = run_of([{"x": 1.0}, {"x": 2.0}]), [], [], threading.Event()

    def callback(name, doc):
        got.append((name, doc))
        if name == "stop":
            stopped.set()

    callback.close = lambda: closed.append(True)

    def publish(dispatcher):
        with Publisher(proxy.in_address, prefix=b"raw", block=True) as publisher:
            feed(publisher, docs)
            assert stopped.wait(60)
        dispatcher.stop()

    def ready(dispatcher):
        threading.Thread(target=publish, args=(dispatcher,)).start()

    dispatcher = serve(callback, proxy.out_address, ready=ready)
    assert got == docs
    assert closed == [True]
    assert (dispatcher.stats.runs, dispatcher.stats.lost) == (1, 0)


def test_what_is_wrong_is_said_before_anything_is_heard():
    with pytest.raises(TypeError, match="no sink of documents"):
        serve(5)
    with pytest.raises(ValueError, match="has no port"):
        serve(print, "localhost")


def test_a_sink_is_closed_when_its_dispatcher_cannot_be_made():
    class Sink:
        closed = False

        def __call__(self, name, document):
            raise AssertionError("nothing is listened to")

        def close(self):
            self.closed = True

    sink = Sink()
    with pytest.raises(TypeError, match="no_such_option"):
        serve(sink, ("localhost", 5568), no_such_option=1)
    assert sink.closed
