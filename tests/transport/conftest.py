from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import bluesky.callbacks.zmq
import pytest
import runs
import zmq.auth
from bluesky.callbacks.zmq import ClientCurve, ServerCurve
from runs import Docs

from bluesky_ext.transport import RemoteDispatcher


class Heard:
    """A callback that keeps what it is given, and lets one wait for it."""

    def __init__(self) -> None:
        self.documents: list[tuple[str, Any]] = []
        self.changed = threading.Condition()

    def __call__(self, name: str, doc: Any) -> None:
        with self.changed:
            self.documents.append((name, doc))
            self.changed.notify_all()

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.documents]

    def wait(self, done: Callable[[list[str]], object] = lambda names: "stop" in names, timeout: float = 60) -> list:
        """Wait until the names of the documents are as they should be."""
        with self.changed:
            came = self.changed.wait_for(lambda: done(self.names), timeout)
            assert came, f"only {self.names[-20:]} came"
            return self.documents


class Listening:
    """A dispatcher at work in a thread."""

    def __init__(self, dispatcher: Any, heard: Heard) -> None:
        self.dispatcher = dispatcher
        self.heard = heard
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.dispatcher.start()
        except BaseException as error:
            self.failure = error

    def stop(self, **options: Any) -> None:
        self.dispatcher.stop(**options)
        self.thread.join(60)
        assert not self.thread.is_alive()


@pytest.fixture
def listen() -> Iterator[Callable[..., Listening]]:
    """Makes a RemoteDispatcher that listens in a thread, with a callback that keeps what comes."""
    with ExitStack() as stack:

        def make(address: Any, *, callback: Any = None, **options: Any) -> Listening:
            heard = Heard()
            dispatcher = RemoteDispatcher(address, **options)
            if callback is not None:
                dispatcher.subscribe(callback)
            dispatcher.subscribe(heard)
            listening = Listening(dispatcher, heard)
            stack.callback(listening.stop, drain=0.0)
            return listening

        yield make


@pytest.fixture
def listen_theirs() -> Iterator[Callable[..., Heard]]:
    """Makes a RemoteDispatcher of Bluesky's that listens in a thread."""
    stops = []

    def make(address: Any, **options: Any) -> Heard:
        heard = Heard()
        dispatcher = bluesky.callbacks.zmq.RemoteDispatcher(address, **options)
        dispatcher.subscribe(heard)

        def run() -> None:
            with suppress(asyncio.CancelledError):
                dispatcher.start()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        stops.append((dispatcher, thread))
        return heard

    yield make
    for dispatcher, thread in stops:
        dispatcher.loop.call_soon_threadsafe(dispatcher._task.cancel)  # noqa: SLF001 - it has no other way
        thread.join(60)


@pytest.fixture
def run_of() -> Callable[..., Docs]:
    """Makes the documents of a run."""

    def make(uid: str = "run", events: int = 3, image: Any = None) -> Docs:
        shown = [{} if image is None else {"image": (image + n).astype(image.dtype)} for n in range(events)]
        return runs.run_of([{"x": float(n)} | more for n, more in enumerate(shown)], uid=uid, time=1.0)

    return make


@pytest.fixture
def until() -> Callable[..., None]:
    """Waits until something is true of what other threads do."""

    def wait(predicate: Callable[[], object], timeout: float = 60.0) -> None:
        end = time.monotonic() + timeout
        pause = threading.Event()
        while not predicate():
            assert time.monotonic() < end, "it did not happen"
            pause.wait(0.005)

    return wait


class Keys:
    """A server's and a client's keys, those of a stranger, and the configurations that use them."""

    def __init__(self, folder: Any) -> None:
        self.folder = folder
        (folder / "clients").mkdir()
        for name in ("server", "client", "stranger"):
            _, secret = zmq.auth.create_certificates(folder, name)
            Path(secret).chmod(0o600)
        (folder / "clients" / "client.key").write_text((folder / "client.key").read_text())
        self.server = ServerCurve(folder / "server.key_secret", folder / "clients", None)
        self.client = ClientCurve(folder / "client.key_secret", folder / "server.key")
        self.wrong_server = ClientCurve(folder / "client.key_secret", folder / "stranger.key")
        self.stranger = ClientCurve(folder / "stranger.key_secret", folder / "server.key")


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))
