"""The plan for blueapi, as blueapi calls it: by JSON, in which devices are names."""

from __future__ import annotations

import inspect

import pytest
from bluesky import RunEngine

from bluesky_ext.plans import grid_scan_axes, grid_scan_nd
from bluesky_ext.sim import Beamline

REQUEST = {
    "detectors": ["dexela"],
    "axes": [["sample_y", -1, 1, 2], ["sample_x", -0.5, 0.5, 3]],
    "time_per_point": 0.2,
    "shutter": "shutter",
    "shutter_open": "open",
    "shutter_close": "closed",
    "snake": ["sample_x"],
    "md": {"sample": "LaB6"},
}


def test_blueapi_runs_a_grid(run_engine: RunEngine, bench: Beamline, documents):
    core = pytest.importorskip("blueapi.core")
    worker = pytest.importorskip("blueapi.worker")
    context = core.BlueskyContext(run_engine=run_engine)
    context.register_plan(grid_scan_axes)
    for device in (bench.detector, bench.shutter, bench.y, bench.x):
        context.register_device(device)
    plan = grid_scan_axes(**worker.Task(name="grid_scan_axes", params=REQUEST).prepare_params(context))
    (uid,) = run_engine(plan, documents)
    assert documents.start["uid"] == uid
    assert (documents.start["shape"], documents.start["snaking"]) == ((2, 3), (False, True))
    assert documents.start["sample"] == "LaB6"
    assert documents.stop["num_events"] == {"dark": 1, "primary": 6}


def test_it_has_what_the_scan_has(bench: Beamline):
    """All but the axes, in the same order and with the same defaults, so that its messages are the same."""
    ours, theirs = (inspect.signature(plan).parameters for plan in (grid_scan_axes, grid_scan_nd))
    assert [(one.name, one.default) for one in list(ours.values())[2:]] == [
        (one.name, one.default) for one in list(theirs.values())[2:]
    ]
    axes = [(bench.y, -1, 1, 2), [bench.x, -0.5, 0.5, 3]]
    options = {name: REQUEST[name] for name in ("time_per_point", "shutter_open", "shutter_close", "md")}
    options |= {"shutter": bench.shutter, "snake": True, "backoff": 0.1, "shutter_wait_open": 0.01}
    in_a_list = grid_scan_axes([bench.detector], axes, **options)
    flat = grid_scan_nd([bench.detector], *axes[0], *axes[1], **options)
    for one, other in zip(in_a_list, flat, strict=True):
        assert (one.command, getattr(one.obj, "name", None), one.args) == (
            other.command,
            getattr(other.obj, "name", None),
            other.args,
        )


@pytest.mark.parametrize("axes", [["sample_x"], [0.5], [("sample_x", 0, 1)]])
def test_what_is_no_list_of_axes_is_refused(bench: Beamline, axes):
    with pytest.raises(ValueError, match=r"^axes has .* in it: give motor, start, stop, num for each"):
        next(iter(grid_scan_axes([bench.detector], axes, take_dark=False)))
    with pytest.raises(ValueError, match=r"^0 arguments for the motors: give motor, start, stop, num for each"):
        next(iter(grid_scan_axes([bench.detector], [], take_dark=False)))
