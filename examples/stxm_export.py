"""A stack of images of a scanning transmission X-ray microscope, in one NXstxm file."""

from bluesky import RunEngine

from bluesky_ext.stxm import Endstation, sample_image_stack
from bluesky_ext.stxm.sim import stxm
from suitcase_nxstxm import NXstxmWriter


def main(folder):
    """Scan a region at three energies; the path of the file."""
    microscope = stxm()  # at home: your devices
    station = Endstation(microscope.devices, microscope.shutter, zp_def=microscope.zp_def)
    writer = NXstxmWriter(folder, "stack-{scan_id}")
    RE = RunEngine()
    RE.subscribe(writer)
    region = (-5, 5, 11, -5, 5, 21)  # y: from, to, points; x: from, to, points
    RE(sample_image_stack([microscope.counter], station, [region], [280, 285.2, 290], dwell=2))
    return writer.artifacts["all"][0]


if __name__ == "__main__":
    print(main("nxstxm"))
