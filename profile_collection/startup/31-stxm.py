"""The microscope: a plan for each type of scan, and their NXstxm files."""

from event_model import RunRouter

from bluesky_ext.stxm import (
    coarse_goni_scan,
    coarse_image_scan,
    detector_image,
    generic_scan,
    osa_focus,
    osa_image,
    pattern_gen_scan,
    ptychography_scan,
    sample_focus,
    sample_image,
    sample_image_stack,
    sample_line_spectra,
    sample_point_spectra,
    tomography_scan,
)
from suitcase.nxstxm import NXstxmWriter

# Files are in nxstxm/: .tmp while the scan runs. Scans that are not of the microscope have no such metadata.
nxstxm = NXstxmWriter("nxstxm", "{uid}")
RE.subscribe(RunRouter([lambda name, start: ([nxstxm] if "metadata" in start else [], [])]))

print("""\
STXM with simulated devices: counter0, pmt, endstation. Files are kept in nxstxm/.
  a scan to try       RE(sample_image([counter0], endstation, -1, 1, 11, -1, 1, 11, dwell=1))""")
