"""A mask from the registry, applied while a scan runs; and what the run says of it afterwards."""

import bluesky.plans as bp
import numpy as np
from bluesky import RunEngine

from bluesky_ext import MaskApplier, MaskClient, PeakTracker
from bluesky_ext.masks import list_to_mask
from bluesky_ext.sim import beamline

SHAPE = (128, 128)


def main(folder):
    """Register two masks in a folder, and scan; the uids of the masks that the peaks were made with."""
    beamstop = np.ones(SHAPE, bool)
    beamstop[56:72, 56:72] = False  # False is masked
    with MaskClient.embedded(folder, detector_shapes={"dexela": SHAPE}) as masks:
        masks.register_mask("dexela", "beamstop", beamstop, version="next")
        masks.register_mask("dexela", "hot pixels", list_to_mask([5, 700], shape=SHAPE), version="next")
        used = [("dexela", "beamstop"), ("dexela", "hot pixels")]
        ma = MaskApplier("dexela_image", used, registry=masks)
        pt = PeakTracker("dexela_image", 11, mask=used, registry=masks)  # so that the edge of a mask makes no peak
        ma.subscribe(pt)
        starts = []
        pt.subscribe(lambda name, doc: starts.append(doc), "start")
        b, RE = beamline(seed=1, shape=SHAPE), RunEngine()
        RE.subscribe(ma)
        RE(bp.scan([b.detector], b.x, -1, 1, 3))
        return [each["uid"] for each in starts[0]["analysis"]["masks"]]


if __name__ == "__main__":
    print(main("masks/"))
