"""Scans are kept whole, images and all, in a catalogue in the directory `runs`, which the next session opens again.

A scan is safe from it: what cannot be written there is logged, and goes into a backup file. The same call opens the
catalogue of a server: open_catalog("https://tiled.site.org", api_key=...).
"""

from contextlib import suppress

from bluesky_ext import open_catalog, redo, save
from bluesky_ext.plots import plot_real_aspect, reshape
from bluesky_ext.storage import find_derived, find_run

catalog = open_catalog("./runs")
saver = save(catalog)  # which is also given peaks and maps by the next files
RE.subscribe(saver)

# Scans are numbered on from the last one.
with suppress(LookupError):
    RE.md["scan_id"] = find_run(catalog, -1).start["scan_id"]
