from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import runs

sys.path.insert(0, str(Path(__file__).parent))  # the tests of this folder share processes.py

from processes import MODULE, Command
from runs import Docs

from bluesky_ext.transport import Proxy


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., Command]]:
    """Starts the command in a directory with the module `totals`; it is killed at the end."""
    (tmp_path / "totals.py").write_text(MODULE)
    commands: list[Command] = []

    def start(*arguments: object) -> Command:
        commands.append(Command(tmp_path, *arguments))
        return commands[-1]

    yield start
    for command in commands:
        command.close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy(block=True) as proxy:
        yield proxy


@pytest.fixture
def run_of() -> Callable[..., Docs]:
    """Makes a run of small images."""

    def make(n: int = 6, seed: int = 0) -> Docs:
        rng = np.random.default_rng(seed)
        frames = rng.integers(0, 65535, (n, 8, 8)).astype(np.uint16)
        return runs.run_of([{"camera": frame} for frame in frames], scan_id=seed)

    return make
