"""What the plans take for a grid, and what they say about it."""

from __future__ import annotations

from typing import Any, ClassVar

import bluesky.plans as bp
import numpy as np
import pytest
from bluesky import RunEngine
from ophyd import Component, Device, Signal
from ophyd.sim import det, motor1, motor2, motor3

from bluesky_ext.plans.grid import Grid, as_detectors
from bluesky_ext.sim import Beamline


def test_metadata_are_those_of_bluesky(run_engine: RunEngine, documents):
    """Bluesky's own grid_scan is the reference, for three axes of which one snakes."""
    args = (motor1, -1, 1, 2, motor2, 0, 3, 4, motor3, 5, 4, 3)
    run_engine(bp.grid_scan([det], *args, snake_axes=[motor3]), documents)
    theirs, ours = documents.start, Grid.parse(args, [motor3]).metadata()
    assert set(ours) == {
        *("motors", "shape", "extents", "snaking", "num_points", "num_intervals", "hints"),
        *("plan_pattern", "plan_pattern_args", "plan_pattern_module"),
    }
    for key, value in ours.items():
        assert value == theirs[key], key
    # And by definition, the slowest axis first.
    assert ours["shape"] == (2, 4, 3)
    assert ours["extents"] == ([-1, 1], [0, 3], [5, 4])
    assert ours["snaking"] == (False, False, True)
    assert (ours["num_points"], ours["num_intervals"]) == (24, 23)


def test_a_motor_without_hints_leaves_the_dimensions_out():
    class Plain(Device):
        place = Component(Signal, value=0.0)
        hints: ClassVar[dict[str, Any]] = {}

        def set(self, value):
            return self.place.set(value)

    plain = Plain(name="plain")
    assert Grid.parse((plain, 0, 1, 2), False).metadata()["hints"] == {"gridding": "rectilinear"}


@pytest.mark.parametrize(
    ("args", "snake", "error", "message"),
    [
        ((), False, ValueError, "^0 arguments for the motors: give motor, start, stop, num"),
        ((motor1, 0, 1, 2, motor2, 0, 1, 2, True), False, ValueError, "^9 arguments"),
        ((motor1, 0, 1, 2, motor1, 0, 1, 2), False, ValueError, "^motor1 is there 2 times"),
        (("motor1", 0, 1, 2), False, TypeError, r"^'motor1' stands where a motor should"),
        ((det, 0, 1, 2), False, TypeError, "stands where a motor should"),
        ((motor1, 0, 1, 0), False, ValueError, "^num of motor1 is 0: give a whole number of at least 1"),
        ((motor1, 0, 1, 2.0), False, ValueError, r"^num of motor1 is 2\.0"),
        ((motor1, "a", 1, 2), False, ValueError, "^start of motor1 is 'a': give a finite number"),
        ((motor1, 0, float("nan"), 2), False, ValueError, "^stop of motor1 is nan"),
        ((motor1, 0, 1, 2, motor2, 0, 1, 2), [motor1], ValueError, "^snake has motor1 in it, the slowest"),
        ((motor1, 0, 1, 2, motor2, 0, 1, 2), [motor3], ValueError, "^snake has 'motor3' in it, which is no motor"),
        ((motor1, 0, 1, 2, motor2, 0, 1, 2), "motor2", TypeError, "^snake is 'motor2'"),
    ],
)
def test_wrong_arguments(args, snake, error, message):
    with pytest.raises(error, match=message) as raised:
        Grid.parse(args, snake)
    assert "\n" not in str(raised.value)


def test_numbers_of_numpy_are_as_good():
    (axis,) = Grid.parse((motor1, np.float32(0.5), np.int64(2), np.int16(4)), False).axes
    assert (axis.start, axis.stop, axis.num, axis.step) == (0.5, 2.0, 4, 0.5)
    assert {type(axis.start), type(axis.stop)} == {float}
    assert type(axis.num) is int


def test_limits_are_asked_before(bench: Beamline):
    """The motors of the bench go from -11 to 11."""
    (axis,) = Grid.parse((bench.x, 10, -10.5, 3), False).axes
    axis.check_limits(0.5)
    with pytest.raises(ValueError, match=r"^sample_x has to go to -11.25 and cannot: .*soft limits -11 and 11"):
        axis.check_limits(0.75)
    # A single point is at the start, and nothing else is asked for.
    (axis,) = Grid.parse((bench.x, 0, 100, 1), False).axes
    axis.check_limits()


def test_detectors_in_any_form():
    assert as_detectors([det, motor1]) == as_detectors((det, motor1)) == as_detectors(iter((det, motor1)))
    assert as_detectors(det) == (det,)


@pytest.mark.parametrize(
    ("detectors", "error", "message"),
    [
        ([], ValueError, "^detectors is empty"),
        ("det", TypeError, "^detectors is 'det'"),
        (3, TypeError, "^detectors is 3"),
        ([det, "det"], TypeError, "^detectors has 'det' in it"),
    ],
)
def test_wrong_detectors(detectors, error, message):
    with pytest.raises(error, match=message):
        as_detectors(detectors)
