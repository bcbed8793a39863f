"""What all tests need."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bluesky import RunEngine

from bluesky_ext._compile import compile_kernels
from bluesky_ext.callbacks import AzimuthalIntegrator, FluorescenceFit, PeakTracker


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options for who looks at what the tests of the live server show."""
    parser.addoption("--long", action="store_true", help="keep the server of each test of it running until Ctrl-C")
    parser.addoption("--pictures", metavar="FOLDER", help="where pictures of the pages go when a test ends")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let tests whose servers are looked at last."""
    if config.getoption("--long"):
        for item in items:
            item.add_marker(pytest.mark.timeout(0))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Let commands hear Ctrl-C, also where a shell in the background ignores it, and have the kernels compiled.

    Compiling takes longer on a new machine than a test may.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    stages = (PeakTracker, AzimuthalIntegrator, FluorescenceFit)
    compile_kernels(*(task for stage in stages for task in stage.kernels))


@pytest.fixture
def run_engine() -> Iterator[RunEngine]:
    """A RunEngine that leaves neither a thread nor a task behind."""
    with _running() as engine:
        yield engine


@pytest.fixture
def documents_of(run_engine: RunEngine) -> Callable[[Any], list[tuple[str, Any]]]:
    """Runs a plan and gives its documents."""

    def documents_of(plan: Any) -> list[tuple[str, Any]]:
        docs: list[tuple[str, Any]] = []
        run_engine(plan, lambda name, doc: docs.append((name, doc)))
        return docs

    return documents_of


@pytest.fixture
def blob(run_engine: RunEngine, tmp_path: Path) -> Any:
    """A detector of ophyd-async that writes its frames to a file of the test."""
    from ophyd_async.core import StaticPathProvider, UUIDFilenameProvider, init_devices
    from ophyd_async.sim import SimBlobDetector

    with init_devices():
        detector = SimBlobDetector(StaticPathProvider(UUIDFilenameProvider(), tmp_path), name="blob")
    return detector


@pytest.fixture(scope="module")
def shared_run_engine() -> Iterator[RunEngine]:
    """The same for all tests of a module: what one subscribes it unsubscribes."""
    with _running() as engine:
        yield engine


@pytest.fixture(scope="module")
def embedded_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("embedded") / "catalog"


@pytest.fixture(scope="module")
def embedded(embedded_directory: Path) -> Iterator[Any]:
    """A catalogue of Tiled in this process, which takes a second to open; closed before other modules fork."""
    pytest.importorskip("tiled.server.app")
    from bluesky_ext.storage import close_catalog, open_catalog

    client = open_catalog(embedded_directory)
    yield client
    close_catalog(client)


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server of Tiled in a process of its own, for all tests that leave it as they find it."""
    pytest.importorskip("tiled.server.app")
    from servers import Server

    server = Server(tmp_path_factory.mktemp("served"))
    yield server
    server.stop()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Databases that are locked are not waited for, as they are for five seconds otherwise."""
    connect = sqlite3.connect
    monkeypatch.setattr("sqlite3.connect", lambda *args, **options: connect(*args, **options | {"timeout": 0.05}))
    monkeypatch.setattr("tiled.client.utils.TILED_RETRY_ATTEMPTS", 1)


@pytest.fixture
def container(embedded: Any) -> Any:
    """An empty container of the embedded catalogue."""
    return embedded.create_container(str(uuid.uuid4()))


@contextmanager
def _running() -> Iterator[RunEngine]:
    loop = asyncio.new_event_loop()
    before = set(threading.enumerate())
    engine = RunEngine({}, loop=loop)
    threads = set(threading.enumerate()) - before
    yield engine
    if engine.state != "idle":
        engine.halt()
    # Nobody waits any more for what a pause or an abort has left in the loop.
    left = asyncio.run_coroutine_threadsafe(_cancel_all(), loop)
    left.result(10)
    loop.call_soon_threadsafe(loop.stop)
    for thread in threads:
        thread.join(10)
    loop.close()


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
