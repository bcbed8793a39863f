"""Plans for every type of scan of a scanning transmission X-ray microscope, and a simulation of one.

    station = Endstation(stxm.devices, stxm.shutter)
    RE(sample_image([stxm.counter], station, -5, 5, 51, -5, 5, 51, energy=285.2, dwell=1))

Each plan leaves in its start document what an NXstxm file needs (`make_standard_metadata`), and in its streams the
setpoints and readbacks of what moved, the ring current, and a baseline of all devices. At the end, whatever it is, the
shutter is closed and what the scan moved goes back to where it was; only after a halt it stays where it stood. The
counting time, and an energy given as ``energy=``, stay as they were set. Lengths are in um, angles in degrees, energies
in eV, dwell times in ms. The microscope to try them on is `bluesky_ext.stxm.sim`.
"""

from __future__ import annotations

from bluesky_ext.stxm.axes import Axis
from bluesky_ext.stxm.endstation import Endstation
from bluesky_ext.stxm.focus import osa_focus, sample_focus
from bluesky_ext.stxm.images import (
    coarse_goni_scan,
    coarse_image_scan,
    detector_image,
    osa_image,
    pattern_gen_scan,
    sample_image,
)
from bluesky_ext.stxm.metadata import make_standard_metadata
from bluesky_ext.stxm.spectra import generic_scan, sample_line_spectra, sample_point_spectra
from bluesky_ext.stxm.stacks import ptychography_scan, sample_image_stack, tomography_scan

__all__ = [  # noqa: RUF022
    # one plan for each type of scan, 0 to 13
    "detector_image",
    "osa_image",
    "osa_focus",
    "sample_focus",
    "sample_point_spectra",
    "sample_line_spectra",
    "sample_image",
    "sample_image_stack",
    "generic_scan",
    "coarse_image_scan",
    "coarse_goni_scan",
    "tomography_scan",
    "pattern_gen_scan",
    "ptychography_scan",
    # what they are told
    "Endstation",
    # what their start documents say
    "make_standard_metadata",
    "Axis",
]
