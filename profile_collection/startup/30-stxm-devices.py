"""The devices of the microscope. These are simulated: put your own here, under the names that the next file uses."""

from bluesky_ext.stxm import Endstation
from bluesky_ext.stxm.sim import stxm

microscope = stxm(seed=0)

counter0, pmt = microscope.counter, microscope.diode

# What the plans are told: which device moves what, and the shutter.
endstation = Endstation(microscope.devices, microscope.shutter, zp_def=microscope.zp_def)
