"""Plans for crystal mapping: a grid of points or of flown rows, a dark image in the same run, the shutter closed after.

    RE(grid_scan_nd([dexela], y, -1, 1, 21, x, -1, 1, 21, time_per_point=1, time_per_frame=0.1,
                    shutter=shutter, shutter_open="open", shutter_close="closed"))

They need bluesky alone, and take any devices that speak its protocols. The plans of an STXM are in
`bluesky_ext.stxm`.
"""

from __future__ import annotations

from bluesky_ext.plans.dark import dark_plan, dark_run, dark_wrapper
from bluesky_ext.plans.exposure import Exposure, configure_area_det
from bluesky_ext.plans.fly import fly_scan_nd
from bluesky_ext.plans.live_view import live_view
from bluesky_ext.plans.loop import loop_forever
from bluesky_ext.plans.outcome import wait_for_outcome
from bluesky_ext.plans.step import grid_scan_axes, grid_scan_nd

__all__ = [  # noqa: RUF022
    # whole runs
    "grid_scan_nd",
    "grid_scan_axes",
    "fly_scan_nd",
    "live_view",
    "dark_run",
    # around a plan
    "dark_wrapper",
    # parts of a plan
    "configure_area_det",
    "Exposure",
    "dark_plan",
    "loop_forever",
    "wait_for_outcome",
]
