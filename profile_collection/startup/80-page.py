"""The page: what the stages show, in a browser, with h5pyd or silx, from this machine; and progress and losses.

A scan is safe from it: it works in a thread of its own, and what it shows it takes from the stages.
"""

from bluesky_ext import LiveServer

# Layouts and regions are kept in live/.
if shown:
    server = LiveServer(*shown, directory="live")
    print(f"Watch scans at {server.url} in a browser.")
