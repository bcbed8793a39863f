"""A server that fits X-ray spectra, shows the maps of the elements in a browser, and writes a file for each scan."""

from bluesky_ext import FluorescenceFit, FluorescenceMap, LiveServer, serve
from bluesky_ext.live import ProcessedFiles
from bluesky_ext.sim.fluorescence import FluorescenceSample

CFG = FluorescenceSample(seed=1).cfg  # at home: the path of your .cfg of PyMca


def main(address="localhost:5568", folder="fluorescence", live="127.0.0.1:0", **options):
    """Serve what is published with the prefix ``raw``."""
    fit = FluorescenceFit("xspress3_spectra", CFG, live_time="xspress3_live_time")
    maps = FluorescenceMap("xspress3_spectra", CFG)
    fit.subscribe(maps)
    ProcessedFiles(maps, folder)
    with LiveServer(maps, fit, address=live) as server:
        print(f"the maps are at {server.url}")
        serve(fit, address, prefix=b"raw", **options)


if __name__ == "__main__":
    main()
