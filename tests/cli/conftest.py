from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import event_model
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the tests of this folder share processes.py

from processes import MODULE, Command

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
def run_of() -> Callable[..., list[tuple[str, Any]]]:
    """Makes a run of small images."""

    def make(n: int = 6, seed: int = 0) -> list[tuple[str, Any]]:
        rng = np.random.default_rng(seed)
        bundle = event_model.compose_run(metadata={"scan_id": seed})
        key = {"source": "sim", "dtype": "array", "shape": [8, 8], "dtype_numpy": "<u2"}
        stream = bundle.compose_descriptor(name="primary", data_keys={"camera": key})
        docs: list[tuple[str, Any]] = [("start", bundle.start_doc), ("descriptor", stream.descriptor_doc)]
        for _ in range(n):
            data = {"camera": rng.integers(0, 65535, (8, 8)).astype(np.uint16)}
            docs.append(("event", stream.compose_event(data=data, timestamps={"camera": 1.0}, validate=False)))
        return [*docs, ("stop", bundle.compose_stop())]

    return make
