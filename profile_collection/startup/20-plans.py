"""The plans of crystal mapping, beside those of Bluesky (`bp`, `bps`)."""

from bluesky_ext.plans import configure_area_det, dark_plan, fly_scan_nd, grid_scan_nd, loop_forever
