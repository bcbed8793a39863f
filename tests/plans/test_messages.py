"""The order of the messages, without any hardware."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from bluesky.simulators import RunEngineSimulator, check_limits
from bluesky.utils import Msg

from bluesky_ext.plans import fly_scan_nd, grid_scan_nd
from bluesky_ext.sim import Beamline

BOTH = pytest.mark.parametrize("scan", [grid_scan_nd, fly_scan_nd])

# What the velocity is when the plan asks.
VELOCITY = 2.0


def simulate(bench: Beamline, plan: Any) -> list[Msg]:
    simulator = RunEngineSimulator()
    simulator.add_read_handler_for(bench.x.velocity, VELOCITY)
    messages = simulator.simulate_plan(plan)
    return messages


def story(messages: list[Msg]) -> list[str]:
    """The messages that matter here, in words."""
    words = []
    for msg in messages:
        match msg.command:
            case "set" if msg.obj.name in ("shutter", "sample_x", "sample_y", "sample_x_velocity"):
                value = msg.args[0]
                words.append(f"{msg.obj.name} {value if isinstance(value, str) else format(value, 'g')}")
            case "sleep":
                words.append(f"sleep {msg.args[0]:g}")
            case "trigger" if msg.obj.name == "dexela":
                words.append("trigger")
            case "create":
                words.append(f"event of {msg.kwargs['name']}")
            case "open_run" | "close_run" | "checkpoint":
                words.append(msg.command)
            case "stage" | "unstage" if msg.obj.name == "dexela":
                words.append(msg.command)
    return words


def without(words: list[str], *unwanted: str) -> list[str]:
    return [word for word in words if word not in unwanted]


def test_grid_scan(bench: Beamline, shutter_args):
    plan = grid_scan_nd(
        [bench.detector],
        *(bench.y, 0, 1, 2, bench.x, 5, 6, 2),
        **shutter_args,
        shutter_wait_open=2,
        shutter_wait_close=3,
        snake=True,
    )
    assert story(simulate(bench, plan)) == [
        *("stage", "open_run"),
        *("shutter closed", "sleep 3", "trigger", "event of dark", "unstage", "stage"),
        *("checkpoint", "sample_y 0", "sample_x 5"),
        *("shutter open", "sleep 2"),
        *("checkpoint", "trigger", "event of primary"),
        *("checkpoint", "sample_x 6", "trigger", "event of primary"),
        *("checkpoint", "sample_y 1", "trigger", "event of primary"),
        *("checkpoint", "sample_x 5", "trigger", "event of primary"),
        *("shutter closed", "close_run", "unstage"),
    ]


def test_grid_scan_comes_to_each_row_from_behind(bench: Beamline, shutter_args):
    args = (bench.y, 0, 1, 2, bench.x, 5, 6, 2)
    words = story(simulate(bench, grid_scan_nd(bench.detector, *args, **shutter_args, snake=True, backoff=0.25)))
    assert [word for word in words if word.startswith("sample_x")] == [
        *("sample_x 4.75", "sample_x 5", "sample_x 6"),
        *("sample_x 6.25", "sample_x 6", "sample_x 5"),
    ]
    # The first approach is in the dark.
    assert words.index("shutter open") > words.index("sample_x 5")
    # A pause on the way to the second row does not take the last point of the first again.
    last = words.index("sample_x 6")
    assert words[last:][:5] == ["sample_x 6", "trigger", "event of primary", "checkpoint", "sample_x 6.25"]


def test_fly_scan(bench: Beamline, shutter_args):
    """Half a step, which is 0.5, and the backoff before each row; a step a second."""
    plan = fly_scan_nd(
        [bench.detector],
        *(bench.y, 0, 1, 2, bench.x, 5, 7, 3),
        **shutter_args,
        shutter_wait_open=2,
        shutter_wait_close=3,
        backoff=0.25,
        move_velocity=8,
    )
    row = ["trigger", "event of primary"] * 3
    assert story(simulate(bench, plan)) == [
        *("stage", "open_run"),
        *("shutter closed", "sleep 3", "trigger", "event of dark", "unstage", "stage"),
        *("checkpoint", "sample_x_velocity 8", "sample_y 0", "sample_x 4.25", "sample_x_velocity 1"),
        *("shutter open", "sleep 2", "sample_x 7.75", *row),
        *("checkpoint", "sample_x_velocity 8", "sample_y 1", "sample_x 4.25", "sample_x_velocity 1"),
        *("sample_x 7.75", *row),
        *("checkpoint", "shutter closed", f"sample_x_velocity {VELOCITY:g}", "close_run", "unstage"),
    ]


def test_fly_scan_that_snakes_and_opens_for_each_row(bench: Beamline, shutter_args):
    plan = fly_scan_nd(
        [bench.detector],
        *(bench.y, 0, 1, 2, bench.x, 7, 5, 3),
        **shutter_args,
        shutter_wait_open=2,
        backoff=0.25,
        snake=True,
        open_and_close=True,
        take_dark=False,
    )
    row = ["trigger", "event of primary"] * 3
    assert without(story(simulate(bench, plan)), "stage", "unstage") == [
        *("open_run", "shutter closed"),
        *("checkpoint", f"sample_x_velocity {VELOCITY:g}", "sample_y 0", "sample_x 7.75", "sample_x_velocity 1"),
        *("shutter open", "sleep 2", "sample_x 4.25", *row, "shutter closed"),
        *("checkpoint", f"sample_x_velocity {VELOCITY:g}", "sample_y 1", "sample_x 4.25", "sample_x_velocity 1"),
        *("shutter open", "sleep 2", "sample_x 7.75", *row, "shutter closed"),
        *("checkpoint", "shutter closed", f"sample_x_velocity {VELOCITY:g}", "close_run"),
    ]


def test_fly_scan_reads_the_motors_during_the_exposure(bench: Beamline):
    args = (bench.y, 0, 1, 1, bench.x, 5, 7, 2)
    messages = simulate(bench, fly_scan_nd([bench.detector], *args, take_dark=False))
    first = next(n for n, msg in enumerate(messages) if msg.command == "trigger")
    event = [(msg.command, msg.obj and msg.obj.name) for msg in messages[first : first + 8]]
    assert event == [
        *(("trigger", "dexela"), ("wait_for", None), ("create", None)),
        *(("read", "sample_y"), ("read", "sample_x")),
        *(("wait", None), ("read", "dexela"), ("save", None)),
    ]
    # What is waited for is what was triggered.
    assert messages[first].kwargs["group"] == messages[first + 5].kwargs["group"]


@BOTH
def test_no_shutter(bench: Beamline, scan: Callable):
    words = story(simulate(bench, scan([bench.detector], bench.y, 0, 1, 2, bench.x, 5, 6, 2, take_dark=False)))
    assert not [word for word in words if "shutter" in word or "sleep" in word or "dark" in word]
    assert words.count("event of primary") == 4


@BOTH
def test_messages_can_be_listed_without_an_answer(run_engine, bench: Beamline, shutter_args, scan: Callable):
    """As for check_limits, that asks every motor whether it can go there; the shutter stays as it is."""
    check_limits(scan([bench.detector], bench.y, 0, 1, 2, bench.x, 5, 6, 2, **shutter_args))
    assert bench.shutter.is_open
