"""The analysis that goes along with every scan: images, peaks, and crystal maps that are current while it runs.

A scan is safe from it: what goes wrong is logged and counted (`pt.stats`), and the scan goes on.
"""

from bluesky_ext import CrystalMap, ImageProcessor, PeakTracker

ip = ImageProcessor(f"{dexela.name}_image", subtrahend="dark")
pt = PeakTracker(f"{dexela.name}_image", diameter=11, minmass=700)
cm = CrystalMap(search_range=3, memory=1000)

ip.subscribe(pt)
pt.subscribe(cm)
RE.subscribe(ip)

# After a scan, or in the middle of one: cm.dataset, cm.tracks.
