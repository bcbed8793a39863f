from __future__ import annotations

from typing import Any

import pytest
from bluesky import RunEngine
from bluesky.simulators import RunEngineSimulator
from ophyd import Component, Device, Signal
from ophyd.sim import det
from ophyd.status import Status

from bluesky_ext.plans import Exposure, configure_area_det
from bluesky_ext.plans.exposure import configure_detectors
from bluesky_ext.sim import Beamline


class Rounding(Signal):
    """A signal that takes whole multiples only, and whose reading has the setpoint too, as an EpicsSignal's has."""

    def __init__(self, *, least: float, **kwargs: Any) -> None:
        self._least = least
        super().__init__(**kwargs)

    def set(self, value: float, **kwargs: Any) -> Status:
        self.put(max(1, round(value / self._least)) * self._least)
        status = Status()
        status.set_finished()
        return status

    def read(self) -> dict[str, Any]:
        reading = super().read()
        return {**reading, f"{self.name}_setpoint": {"value": -1.0, "timestamp": 0.0}}


class Cam(Device):
    acquire_time = Component(Rounding, value=0.0, least=0.25)
    acquire_period = Component(Rounding, value=0.0, least=0.5)
    num_images = Component(Signal, value=1)


class CamOfOne(Device):
    acquire_time = Component(Signal, value=0.0)


class CamOnly(Device):
    cam = Component(Cam)


class OneFrame(Device):
    cam = Component(CamOfOne)


def result(run_engine: RunEngine, plan: Any) -> Any:
    """What a plan returns to the plan that it is a part of."""
    returned = []

    def outer():
        returned.append((yield from plan))

    run_engine(outer())
    return returned[0]


@pytest.mark.parametrize(
    ("time_per_point", "time_per_frame", "frames"),
    [(1.0, 0.1, 10), (0.3, 0.1, 3), (1.0, 1.0, 1), (1.0, 0.7, 1), (1.0, 0.6, 2), (2.0, 0.03, 67)],
)
def test_frames_are_the_time_of_a_point_by_that_of_a_frame(
    run_engine: RunEngine, bench: Beamline, time_per_point, time_per_frame, frames
):
    exposure = result(run_engine, configure_area_det(bench.detector, time_per_point, time_per_frame))
    assert exposure == Exposure(frames, time_per_frame, frames * time_per_frame)
    assert bench.detector.images_per_set.get() == frames
    assert bench.detector.cam.acquire_time.get() == time_per_frame
    assert bench.detector.cam.acquire_period.get() == time_per_frame


def test_what_the_detector_took_counts(run_engine: RunEngine):
    """A frame of 0.3 s becomes one of 0.25 s, that takes 0.5 s: four of them make 2 s."""
    detector = CamOnly(name="detector")
    exposure = result(run_engine, configure_area_det(detector, 2.0, 0.3))
    assert exposure == Exposure(frames=4, time_per_frame=0.25, time_per_point=2.0)
    assert detector.cam.num_images.get() == 4


class NoPeriod(Rounding):
    """A period that stays 0, whatever it is set to: as short as can be."""

    def set(self, value: float, **kwargs: Any) -> Status:
        return super().set(0.0)

    def put(self, value: float, **kwargs: Any) -> None:
        super().put(0.0)


class FastCam(Cam):
    acquire_period = Component(NoPeriod, value=0.0, least=0.5)


class FastCamOnly(Device):
    cam = Component(FastCam)


def test_a_period_cannot_be_shorter_than_a_frame(run_engine: RunEngine):
    detector = FastCamOnly(name="detector")
    assert result(run_engine, configure_area_det(detector, 1.0, 0.5)) == (2, 0.5, 1.0)


def test_a_detector_of_one_frame(run_engine: RunEngine):
    detector = OneFrame(name="pilatus")
    assert result(run_engine, configure_area_det(detector, 0.5, 0.5)) == (1, 0.5, 0.5)
    assert detector.cam.acquire_time.get() == 0.5
    with pytest.raises(
        ValueError, match=r"^pilatus takes one frame a point, .* give time_per_frame=1 as time_per_point"
    ):
        run_engine(configure_area_det(detector, 1.0, 0.1))


def test_without_a_run_engine_what_was_asked_for_is_returned(bench: Beamline):
    simulator = RunEngineSimulator()
    messages = simulator.simulate_plan(configure_area_det(bench.detector, 1.0, 0.25))
    assert simulator.return_value == (4, 0.25, 1.0)
    sets = [(msg.obj.name, msg.args) for msg in messages if msg.command == "set"]
    assert sets == [
        ("dexela_cam_acquire_time", (0.25,)),
        ("dexela_cam_acquire_period", (0.25,)),
        ("dexela_images_per_set", (4,)),
    ]


def test_the_slowest_of_several_detectors_counts(run_engine: RunEngine, bench: Beamline):
    """3 s are six frames of 0.5 s to one, five of 0.6 s to the other; the third has no exposure to set."""
    other = CamOnly(name="other")
    exposure = result(run_engine, configure_detectors([bench.detector, other, det], 3.0, 0.7))
    # dexela: round(3 / 0.7) = 4 frames of 0.7 s. other: 0.75 s in a period of 1 s (two times 0.5): 3 frames.
    assert bench.detector.images_per_set.get() == 4
    assert other.cam.num_images.get() == 3
    assert exposure == Exposure(3, 0.75, 3.0)


@pytest.mark.parametrize(
    ("time_per_point", "time_per_frame", "message"),
    [
        (0, 0.1, "^time_per_point is 0: give a finite number above 0"),
        (1, 0, "^time_per_frame is 0"),
        (-1, 0.1, "^time_per_point is -1"),
        (float("nan"), 0.1, "^time_per_point is nan"),
        ("1", 0.1, "^time_per_point is '1'"),
        (0.1, 1, r"^time_per_frame is 1 and time_per_point 0\.1: a frame cannot last longer"),
    ],
)
def test_wrong_times(bench: Beamline, time_per_point, time_per_frame, message):
    with pytest.raises(ValueError, match=message):
        next(iter(configure_area_det(bench.detector, time_per_point, time_per_frame)))


def test_no_area_detector():
    with pytest.raises(TypeError, match=r"^det has no cam\.acquire_time: give an area detector"):
        next(iter(configure_area_det(det, 1.0, 0.1)))
