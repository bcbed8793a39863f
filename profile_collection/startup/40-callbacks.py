"""What goes along with every scan: crystal maps that are current while it runs, and files of the microscope.

A scan is safe from it: what goes wrong is logged and counted (`pt.stats`), and the scan goes on.
"""

from event_model import RunRouter

from bluesky_ext import CrystalMap, ImageProcessor, LiveMap, LiveServer, PeakTracker
from bluesky_ext.plots import Show, plot_real_aspect, reshape
from suitcase.nxstxm import NXstxmWriter

ip = ImageProcessor(f"{dexela.name}_image", subtrahend="dark")
pt = PeakTracker(f"{dexela.name}_image", diameter=11, minmass=700)
cm = CrystalMap(search_range=3, memory=1000, directory="maps")

ip.subscribe(pt)
pt.subscribe(cm)
RE.subscribe(ip)

# A window with the latest image and the maps, where there is a screen.
live = LiveMap(cm, pt)

# In a browser, with h5pyd or silx, from this machine: the maps, the latest image, progress and losses.
server = LiveServer(cm, pt)

# Beside the scans are kept their peaks and maps, but not their images a second time.
pt.subscribe(saver)
cm.subscribe(saver)

# After a scan, or in the middle of one: cm.dataset, cm.tracks, show().
show = Show(catalog, cm)

# Scans of the microscope go to NXstxm files in nxstxm/: .tmp while they run. Other scans have no such metadata.
nxstxm = NXstxmWriter("nxstxm", "{uid}")
RE.subscribe(RunRouter([lambda name, start: ([nxstxm] if "metadata" in start else [], [])]))
