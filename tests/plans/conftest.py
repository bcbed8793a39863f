from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import pytest
from bluesky import RunEngine
from bluesky.utils import Msg, MsgGenerator
from event_model import DocumentNames, schema_validators

from bluesky_ext.sim import Beamline, beamline


@pytest.fixture
def bench() -> Beamline:
    """A small beamline whose motors move at once, and whose exposures take no time."""
    return beamline(seed=3, shape=(48, 64), n_grains=2)


@pytest.fixture
def shutter_args(bench: Beamline) -> dict[str, Any]:
    return {"shutter": bench.shutter, "shutter_open": "open", "shutter_close": "closed"}


class Documents(list[tuple[str, dict[str, Any]]]):
    """The documents of the runs, in the order in which they came."""

    __hash__ = object.__hash__  # pyright: ignore[reportAssignmentType]  # Subscribers are kept in a set.

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        self.append((name, doc))

    def validate(self) -> None:
        for name, doc in self:
            schema_validators[DocumentNames[name]].validate(doc)

    def of(self, name: str) -> list[dict[str, Any]]:
        return [doc for kind, doc in self if kind == name]

    @property
    def start(self) -> dict[str, Any]:
        (start,) = self.of("start")
        return start

    @property
    def stop(self) -> dict[str, Any]:
        (stop,) = self.of("stop")
        return stop

    def events(self, stream: str = "primary") -> list[dict[str, Any]]:
        uids = {doc["uid"] for doc in self.of("descriptor") if doc["name"] == stream}
        return [doc for doc in self.of("event") if doc["descriptor"] in uids]

    def last_events(self, stream: str = "primary") -> list[dict[str, Any]]:
        """The events that count: of those with the same seq_num, the last."""
        return list({doc["seq_num"]: doc for doc in self.events(stream)}.values())

    def data(self, key: str, stream: str = "primary") -> list[Any]:
        return [doc["data"][key] for doc in self.last_events(stream)]


@pytest.fixture
def documents() -> Documents:
    return Documents()


def interrupt(plan: Any, at: Callable[[Msg], bool], occurrence: int, instead: Callable[[], Any]) -> MsgGenerator[Any]:
    """The plan with other messages inserted before one of its own, once."""
    seen = 0

    def before(msg: Msg) -> Any:
        nonlocal seen
        if not at(msg):
            return None, None
        seen += 1
        if seen != occurrence:
            return None, None

        def head() -> MsgGenerator[Any]:
            yield from instead()
            return (yield msg)

        return head(), None

    return bpp.plan_mutator(plan, before)


@pytest.fixture
def paused() -> Callable[..., MsgGenerator[Any]]:
    """Give a plan that pauses itself: before the message of a point where its image has been triggered, or another."""

    def paused(plan: Any, occurrence: int, at: Callable[[Msg], bool] = lambda msg: msg.command == "create") -> Any:
        return interrupt(plan, lambda msg: msg.command != "pause" and at(msg), occurrence, bps.pause)

    return paused


@pytest.fixture
def halted(run_engine: RunEngine) -> Callable[..., MsgGenerator[Any]]:
    """Give a plan that is halted, by someone else, while it waits before the message of a point."""

    def halted(plan: Any, occurrence: int, look: Callable[[], None]) -> MsgGenerator[Any]:
        async def wait() -> None:
            look()
            threading.Thread(target=run_engine.halt, name="halts").start()
            await asyncio.Event().wait()

        return interrupt(plan, lambda msg: msg.command == "create", occurrence, lambda: bps.wait_for([wait]))

    return halted
