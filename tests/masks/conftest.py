from __future__ import annotations

import multiprocessing
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the tests of this folder share writers.py

pytest.importorskip("tiled.server.app")

from writers import Place

from bluesky_ext.masks import MaskClient
from bluesky_ext.storage import close_catalog, open_catalog

KEY = "secret"


@pytest.fixture(autouse=True)
def _no_keys_of_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TILED_API_KEY", raising=False)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """`tiled serve catalog`, in a process of its own; each test has a container of its own on it."""
    with ExitStack() as stack:
        yield serve(tmp_path_factory.mktemp("served"), stack)


def serve(directory: Path, stack: ExitStack) -> Place:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = stack.enter_context((directory / "log").open("wb"))
    command = [sys.executable, "-m", "tiled", "serve", "catalog", directory / "catalog.db", "--init"]
    command += ["--write", directory / "data", "--api-key", KEY, "--port", str(port)]
    process = subprocess.Popen(command, stdout=log, stderr=log)
    stack.callback(process.wait)
    stack.callback(process.kill)
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return Place(f"http://127.0.0.1:{port}", KEY, directory / "data")
    raise RuntimeError((directory / "log").read_text())


@pytest.fixture
def start_server() -> Callable[[Path, ExitStack], Place]:
    """A function that starts a server with a catalogue in a directory, until a stack is left."""
    return serve


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A new catalogue in a directory."""
    return Place(str(tmp_path / "catalog"), None, tmp_path / "catalog" / "data")


@pytest.fixture(params=["embedded", "served"])
def everywhere(request: pytest.FixtureRequest) -> Place:
    """A new catalogue in a directory, and one on a server."""
    if request.param == "embedded":
        return request.getfixturevalue("place")
    server: Place = request.getfixturevalue("server")
    client = open_catalog(server.where, api_key=server.api_key)
    key = str(uuid.uuid4())
    client.create_container(key)
    close_catalog(client)
    return Place(f"{server.where}/api/v1/metadata/{key}", server.api_key, server.data / key)


@pytest.fixture
def masks(place: Place) -> Iterator[MaskClient]:
    with place.open() as client:
        yield client


@pytest.fixture(scope="session")
def processes() -> Any:
    """Processes that start fast, since what takes long to import is there already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["writers", "bluesky_ext.masks.client", "tiled.server.app", "tiled.client"])
    return context


@pytest.fixture
def run_all(processes: Any) -> Callable[..., list[int]]:
    """Run functions of writers.py in processes at once; their exit codes."""

    def run_all(function: Callable[..., None], calls: list[tuple]) -> list[int]:
        running = [processes.Process(target=function, args=arguments) for arguments in calls]
        for process in running:
            process.start()
        for process in running:
            process.join(200)
        return [process.exitcode for process in running]

    return run_all
