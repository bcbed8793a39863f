"""The devices and the plans that blueapi serves. The devices are simulated: put your own here."""

from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import bluesky.plans as bp
from bluesky.preprocessors import subs_decorator
from event_model import RunRouter

from bluesky_ext import (
    CrystalMap,
    FluorescenceFit,
    FluorescenceMap,
    ImageProcessor,
    LiveServer,
    PeakTracker,
    plans,
    sim,
    stxm,
)
from bluesky_ext.sim.fluorescence import FluorescenceDetector, FluorescenceSample
from bluesky_ext.stxm.sim import stxm as simulated_microscope
from suitcase.nxstxm import NXstxmWriter

simulated, microscope = sim.beamline(seed=0, shape=(512, 512), frames_per_point=2), simulated_microscope(seed=0)
endstation = stxm.Endstation(microscope.devices, microscope.shutter, zp_def=microscope.zp_def)
film = FluorescenceSample(seed=0)
film_y, film_x = (sim.SimMotor(name=name, limits=(-1, 1)) for name in ("film_y", "film_x"))
xspress3 = FluorescenceDetector(name="xspress3", sample=film, y=film_y, x=film_x)


class Devices:
    """What blueapi asks for the devices; ophyd-async's are better in a DeviceManager of dodal, which connects them."""

    def build_and_connect(self, **_: Any) -> SimpleNamespace:
        """The devices by their names; none of these fails."""
        used = [simulated.detector, simulated.shutter, simulated.y, simulated.x, microscope.counter, endstation]
        used += [film_y, film_x, *([xspress3] if find_spec("PyMca5") else [])]
        return SimpleNamespace(devices={device.name: device for device in used}, build_errors={}, connection_errors={})


devices = Devices()

# The RunEngine is blueapi's, and the analysis subscribed by each plan.
ip = ImageProcessor("dexela_image", subtrahend="dark", dark_age=3600)
pt = PeakTracker("dexela_image", diameter=11, minmass=700)
cm = CrystalMap(search_range=3, memory=1000, directory="maps")
ip.subscribe(pt)
pt.subscribe(cm)
nxstxm = NXstxmWriter("nxstxm", "{uid}")
stages, shown = [ip, RunRouter([lambda name, start: ([nxstxm] if "metadata" in start else [], [])])], [cm, pt]
if find_spec("PyMca5"):  # without it there are no element maps
    fit = FluorescenceFit("xspress3_spectra", film.cfg, live_time="xspress3_live_time")
    elements = FluorescenceMap("xspress3_spectra", film.cfg)
    fit.subscribe(elements)
    stages += [fit]
    shown += [elements, fit]
analysed = subs_decorator(stages)

# What the stages show, in a browser; blueapi brings what it takes.
server = LiveServer(*shown)
print(f"Watch scans at {server.url} in a browser.", flush=True)

# Of Bluesky's own, spiral_fermat takes any detector. Not among them are grid_scan_nd, fly_scan_nd and
# generic_scan: blueapi has no way to give a plan its *args.
served = (
    plans.grid_scan_axes,
    plans.dark_run,
    plans.live_view,
    plans.loop_forever,
    bp.spiral_fermat,
    stxm.detector_image,
    stxm.osa_image,
    stxm.osa_focus,
    stxm.sample_focus,
    stxm.sample_point_spectra,
    stxm.sample_line_spectra,
    stxm.sample_image,
    stxm.sample_image_stack,
    stxm.coarse_image_scan,
    stxm.coarse_goni_scan,
    stxm.tomography_scan,
    stxm.pattern_gen_scan,
    stxm.ptychography_scan,
)
globals().update({plan.__name__: analysed(plan) for plan in served})

__all__ = [plan.__name__ for plan in served]
