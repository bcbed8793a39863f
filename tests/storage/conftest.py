from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tiled.server.app")
pytest.importorskip("bluesky_tiled_plugins")

from servers import Server

from bluesky_ext.storage import close_catalog


@pytest.fixture(autouse=True)
def _tried_twice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # As TILED_RETRY_ATTEMPTS=2, which Tiled reads when it is imported.
    monkeypatch.setattr("tiled.client.utils.TILED_RETRY_ATTEMPTS", 2)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("TILED_API_KEY", raising=False)


@pytest.fixture
def served(shared_server: Server) -> Iterator[Any]:
    client = shared_server.client()
    yield client
    close_catalog(client)


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
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    path = tmp_path / "small"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", path], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root can mount file systems")
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


@pytest.fixture
def mask() -> Iterator[None]:
    """The permissions of new files that most systems give."""
    before = os.umask(0o022)
    yield
    os.umask(before)
