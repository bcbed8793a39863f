"""The RunEngine, the plans of Bluesky, and what shows a scan while it runs."""

from contextlib import suppress

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import matplotlib
from bluesky import RunEngine
from bluesky.callbacks.best_effort import BestEffortCallback
from bluesky.plan_stubs import mv, mvr
from bluesky.plans import *  # noqa: F403  a queueserver takes the plans that are here, and none out of `bp`

from bluesky_ext.plans import live_view, loop_forever, wait_for_outcome

# What the profile does with a scan is a line each, with `subscribe`, `shown`, `LiveMap` or `LiveServer` in it: to have
# one thing less, delete its line. A scan goes on whatever fails of it.
RE = RunEngine({})

# In a terminal: a table for every scan, and plots where there is a screen.
bec = BestEffortCallback()
RE.subscribe(bec)

# The stages that the page shows: each of the next files adds its own.
shown = []

# The worker of a queueserver draws in no window.
with suppress(ImportError):
    from bluesky_queueserver import is_re_worker_active

    if is_re_worker_active():
        matplotlib.use("agg")
        bec.disable_plots()
