"""The grid whose axes are in a list, for those who call plans by JSON, such as blueapi."""

from __future__ import annotations

import inspect

import pytest

from bluesky_ext.plans import grid_scan_axes, grid_scan_nd
from bluesky_ext.sim import Beamline


def test_it_has_what_the_scan_has(bench: Beamline):
    """All but the axes, in the same order and with the same defaults, so that its messages are the same."""
    ours, theirs = (inspect.signature(plan).parameters for plan in (grid_scan_axes, grid_scan_nd))
    assert [(one.name, one.default) for one in list(ours.values())[2:]] == [
        (one.name, one.default) for one in list(theirs.values())[2:]
    ]
    axes = [(bench.y, -1, 1, 2), [bench.x, -0.5, 0.5, 3]]
    options = {"time_per_point": 0.2, "shutter_open": "open", "shutter_close": "closed", "md": {"sample": "LaB6"}}
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
