from __future__ import annotations

import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the tests of this folder share writers.py

pytest.importorskip("tiled.server.app")

from servers import KEY, PROCESSES
from writers import DETECTORS, Place

from bluesky_ext.masks import MaskClient
from bluesky_ext.storage import close_catalog


@pytest.fixture(autouse=True)
def _no_keys_of_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TILED_API_KEY", raising=False)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A new catalogue in a directory."""
    return Place(str(tmp_path / "catalog"), None, tmp_path / "catalog" / "data")


@pytest.fixture(params=["embedded", "served"])
def everywhere(request: pytest.FixtureRequest) -> Place:
    """A new catalogue in a directory, and one on a server, in a container of its own."""
    if request.param == "embedded":
        return request.getfixturevalue("place")
    server = request.getfixturevalue("shared_server")
    client = server.client()
    key = str(uuid.uuid4())
    client.create_container(key)
    close_catalog(client)
    return Place(f"{server.address}/api/v1/metadata/{key}", KEY, server.data / key)


@pytest.fixture
def masks(container: Any) -> MaskClient:
    return MaskClient(container, detector_shapes=DETECTORS)


@pytest.fixture
def arrays(container: Any, embedded_directory: Path) -> Callable[[], list[str]]:
    """The arrays of `masks` whose files are there, by their keys."""
    return Place("", None, embedded_directory / "data" / container.path_parts[-1]).arrays


@pytest.fixture
def run_all() -> Callable[..., list[int]]:
    """Run functions of writers.py in processes at once; their exit codes."""

    def run_all(function: Callable[..., None], calls: list[tuple]) -> list[int]:
        running = [PROCESSES.Process(target=function, args=arguments) for arguments in calls]
        for process in running:
            process.start()
        for process in running:
            process.join(200)
        return [process.exitcode for process in running]

    return run_all
