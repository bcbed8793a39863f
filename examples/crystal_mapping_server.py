"""A server that makes crystal maps of the scans that a proxy passes on, until Ctrl-C or SIGTERM."""

from bluesky_ext import CrystalMap, ImageProcessor, PeakTracker, Recorder, serve


def stages(folder):
    """From images to maps, which are saved in a folder when a scan ends; what was linked is recorded there."""
    ip = ImageProcessor("dexela_image", subtrahend="dark")
    pt = PeakTracker("dexela_image", diameter=11, minmass=700)
    cm = CrystalMap(search_range=3, memory=100, directory=folder)
    ip.subscribe(pt)
    pt.subscribe(cm)
    cm.subscribe(Recorder(folder))
    return ip


def main(address="localhost:5568", folder="crystal-maps", **options):
    """Serve what is published with the prefix ``raw``."""
    serve(stages(folder), address, prefix=b"raw", **options)


if __name__ == "__main__":
    main()
