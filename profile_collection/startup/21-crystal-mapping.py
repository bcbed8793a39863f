"""Crystal mapping: its plans, and what goes along with every scan, crystal maps that are current while it runs.

A scan is safe from it: what goes wrong is logged and counted (`pt.stats`), and the scan goes on.
"""

from bluesky_ext import CrystalMap, ImageProcessor, LiveMap, LiveServer, PeakTracker, RegionMaps
from bluesky_ext.plans import configure_area_det, dark_plan, dark_run, fly_scan_nd, grid_scan_nd
from bluesky_ext.plots import Show

# What every scan of the crystal needs: RE(grid_scan_nd([dexela], ..., **exposure)).
exposure = {"time_per_point": 0.2, "time_per_frame": 0.1}
exposure |= {"shutter": shutter, "shutter_open": "open", "shutter_close": "closed"}

# A scan without a dark, one of Bluesky's, has the latest of the last hour.
ip = ImageProcessor(f"{dexela.name}_image", subtrahend="dark", dark_age=3600, db=catalog)
pt = PeakTracker(f"{dexela.name}_image", diameter=11, minmass=700)
cm = CrystalMap(search_range=3, memory=1000, directory="maps")

# Maps of regions that are drawn on the image in the browser.
rm = RegionMaps(f"{dexela.name}_image")

ip.subscribe(pt)
pt.subscribe(cm)
ip.subscribe(rm)
RE.subscribe(ip)

# A window with the latest image and the maps, where there is a screen.
live = LiveMap(cm, pt)

# In a browser, with h5pyd or silx, from this machine: the maps, the image of each point, progress and losses. Layouts
# and regions are kept in live/.
server = LiveServer(cm, pt, rm, directory="live")

# Beside the scans are kept their peaks and maps, but not their images a second time.
pt.subscribe(saver)
cm.subscribe(saver)

# After a scan, or in the middle of one: cm.dataset, cm.tracks, show().
show = Show(catalog, cm)

print(f"""\
Crystal mapping with simulated devices: dexela, shutter, sample_y, sample_x. Maps are kept in maps/.
  a scan to try       RE(grid_scan_nd([dexela], sample_y, -1, 1, 11, sample_x, -1, 1, 15, **exposure))
  watch it            {server.url} in a browser; RE(live_view([dexela])) to align, until Ctrl-C twice and RE.stop()
  its crystal maps    cm.dataset, while it runs too; show() draws them, show(scan=1) those of scan 1
  any reading         show("dexela_stats_total"), show("n_rows", 1): where the motors were, of the last scan or scan 1
  its maps once more  redo(find_derived(catalog, -1)[-1], catalog): do they come out the same?""")
