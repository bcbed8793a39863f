"""The RunEngine, and what shows a scan while it runs."""

import bluesky.plan_stubs as bps
import bluesky.plans as bp
from bluesky import RunEngine
from bluesky.callbacks.best_effort import BestEffortCallback

from bluesky_ext.plans import live_view

RE = RunEngine({})

# In a terminal: a table for every scan, and plots where there is a screen.
bec = BestEffortCallback()
RE.subscribe(bec)
