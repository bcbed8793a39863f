"""Peaks located on a dask cluster: the images are in files, and the workers read them."""

import tempfile

import bluesky.plans as bp
import distributed
from bluesky import RunEngine

from bluesky_ext import CrystalMap, PeakTracker
from bluesky_ext.sim import beamline


def main(scheduler, folder):
    """Map a scan whose detector writes to a folder that all workers see; the maps."""
    b, RE = beamline(seed=1, shape=(128, 128), directory=folder, spec="AD_HDF5"), RunEngine()
    with distributed.Client(scheduler) as client:
        pt = PeakTracker("dexela_image", 11, minmass=700, executor=client.get_executor(pure=False))
        cm = CrystalMap(search_range=3, memory=100)
        pt.subscribe(cm)
        RE.subscribe(pt)
        RE(bp.grid_scan([b.detector], b.y, -1, 1, 4, b.x, -1, 1, 4))
        return cm.dataset


if __name__ == "__main__":
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        tempfile.TemporaryDirectory() as folder,
    ):  # at home: the address of your scheduler, and the disk that everyone sees
        print(main(cluster.scheduler_address, folder))
