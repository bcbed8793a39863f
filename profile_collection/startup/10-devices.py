"""The devices. These are simulated: put your own here, under the names that the files after this one use."""

from bluesky_ext.sim import beamline
from bluesky_ext.stxm import Endstation
from bluesky_ext.stxm.sim import stxm

simulated = beamline(seed=0, shape=(512, 512), frames_per_point=2)

dexela = simulated.detector
shutter = simulated.shutter
sample_y, sample_x = simulated.y, simulated.x

# A microscope beside it, with an end station that its plans are told.
microscope = stxm(seed=0)
counter0, pmt = microscope.counter, microscope.diode
endstation = Endstation(microscope.devices, microscope.shutter, zp_def=microscope.zp_def)
