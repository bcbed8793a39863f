from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the tests of this folder share runs.py

pytest.importorskip("tiled.server.app")
pytest.importorskip("bluesky_tiled_plugins")

from bluesky_ext.storage import close_catalog

from servers import Server  # isort: skip


@pytest.fixture(autouse=True)
def _tried_twice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # As TILED_RETRY_ATTEMPTS=2, which Tiled reads when it is imported.
    monkeypatch.setattr("tiled.client.utils.TILED_RETRY_ATTEMPTS", 2)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("TILED_API_KEY", raising=False)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    server = Server(tmp_path_factory.mktemp("served"))
    client = server.client()
    yield client
    close_catalog(client)
    server.stop()


@pytest.fixture(params=["embedded", "served"])
def catalog(request: pytest.FixtureRequest) -> Any:
    """A catalogue of Tiled, in this process and on a server."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server that a test may kill."""
    server = Server(tmp_path / "server")
    yield server
    server.stop()


@pytest.fixture
def mask() -> Iterator[None]:
    """The permissions of new files that most systems give."""
    before = os.umask(0o022)
    yield
    os.umask(before)
