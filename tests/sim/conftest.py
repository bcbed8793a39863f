from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
from bluesky import RunEngine


@pytest.fixture
def run_engine() -> Iterator[RunEngine]:
    loop = asyncio.new_event_loop()
    before = set(threading.enumerate())
    engine = RunEngine({}, loop=loop)
    threads = set(threading.enumerate()) - before
    yield engine
    if engine.state != "idle":
        engine.halt()
    loop.call_soon_threadsafe(loop.stop)
    for thread in threads:
        thread.join(10)
    loop.close()
