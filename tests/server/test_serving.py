from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import event_model
import pytest

from bluesky_ext import Recording
from bluesky_ext.server import serve
from bluesky_ext.transport import Proxy, Publisher


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy(block=True) as proxy:
        yield proxy


@pytest.fixture
def said() -> Iterator[Callable[[str], threading.Event]]:
    """Gives an event that is set when the log says something."""
    waiting: list[tuple[str, threading.Event]] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            for words, event in waiting:
                if words in record.getMessage():
                    event.set()

    def said(words: str) -> threading.Event:
        waiting.append((words, threading.Event()))
        return waiting[-1][1]

    listener = Listener()
    logging.getLogger("bluesky_ext").addHandler(listener)
    yield said
    logging.getLogger("bluesky_ext").removeHandler(listener)


def beside(action: Callable[[], object]) -> Callable[[Any], None]:
    """Has something done in a thread while a server is at work, and then the server stopped."""

    def ready(dispatcher: Any) -> None:
        def work() -> None:
            try:
                action()
            finally:
                dispatcher.stop()

        threading.Thread(target=work).start()

    return ready


def run(n: int = 3) -> list[tuple[str, Any]]:
    bundle = event_model.compose_run()
    key = {"source": "sim", "dtype": "number", "shape": []}
    stream = bundle.compose_descriptor(name="primary", data_keys={"x": key})
    docs: list[tuple[str, Any]] = [("start", bundle.start_doc), ("descriptor", stream.descriptor_doc)]
    docs += [("event", stream.compose_event(data={"x": float(i)}, timestamps={"x": 0.0})) for i in range(n)]
    return [*docs, ("stop", bundle.compose_stop())]


def test_a_server_script_gets_every_document_and_closes_its_callback(proxy):
    docs, got, closed, stopped = run(), [], [], threading.Event()

    def callback(name, doc):
        got.append((name, doc))
        if name == "stop":
            stopped.set()

    callback.close = lambda: closed.append(True)

    def publish():
        with Publisher(proxy.in_address, prefix=b"raw", block=True) as publisher:
            for name, doc in docs:
                publisher(name, doc)
            assert stopped.wait(60)

    dispatcher = serve(callback, proxy.out_address, ready=beside(publish))
    assert got == docs
    assert closed == [True]
    assert (dispatcher.stats.runs, dispatcher.stats.lost) == (1, 0)


def test_a_run_that_is_open_at_the_end_is_flagged(proxy, tmp_path):
    docs, came = run(), threading.Event()

    def publish():
        with Publisher(proxy.in_address, prefix=b"raw", block=True) as publisher:
            for name, doc in docs[:-1]:
                publisher(name, doc)
            assert came.wait(60)

    def ready(dispatcher):
        # Behind the recorder, which has written what this hears of.
        dispatcher.subscribe(lambda name, doc: came.set() if doc["seq_num"] == 3 else None, "event")
        beside(publish)(dispatcher)

    serve(tmp_path, proxy.out_address, ready=ready)
    (recording,) = Recording.find(tmp_path)
    assert list(recording)[:-1] == docs[:-1]
    assert recording.stop is not None
    assert recording.stop["exit_status"] == "abort"
    assert recording.stop["incomplete"]


def test_that_nobody_answers_is_said(said):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        alone = said(f"nothing answers at tcp://127.0.0.1:{port}: is the proxy running?")
        serve(lambda name, doc: None, port, warn_after=0.2, ready=beside(lambda: alone.wait(60)))
    assert alone.is_set()


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
