"""The session that scans: what it needs to know of servers is the address of their proxy."""

from bluesky import RunEngine

from bluesky_ext import Publisher
from bluesky_ext.plans import grid_scan_nd
from bluesky_ext.sim import beamline


def main(address="localhost:5567"):
    """Publish a scan with a dark of its own; the uid of its run."""
    b = beamline(seed=1, shape=(128, 128), n_grains=3, spots_per_grain=3)  # at home: your devices
    RE = RunEngine()
    with Publisher(address, prefix=b"raw") as publisher:
        RE.subscribe(publisher)
        (uid,) = RE(
            grid_scan_nd(
                [b.detector], b.y, -1, 1, 5, b.x, -1, 1, 5,
                time_per_point=0.2, time_per_frame=0.1,
                shutter=b.shutter, shutter_open="open", shutter_close="closed",
            )
        )  # fmt: skip
    return uid


if __name__ == "__main__":
    main()
