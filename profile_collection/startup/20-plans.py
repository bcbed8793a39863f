"""The plans of crystal mapping and of the microscope, beside those of Bluesky (`bp`, `bps`)."""

from bluesky_ext.plans import configure_area_det, dark_plan, fly_scan_nd, grid_scan_nd, loop_forever, wait_for_outcome
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

# What every scan of the crystal needs: RE(grid_scan_nd([dexela], ..., **exposure)).
exposure = {"time_per_point": 0.2, "time_per_frame": 0.1}
exposure |= {"shutter": shutter, "shutter_open": "open", "shutter_close": "closed"}
