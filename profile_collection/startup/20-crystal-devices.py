"""The devices of crystal mapping. These are simulated: put your own here, under the names that the next file uses."""

from bluesky_ext.sim import beamline

simulated = beamline(seed=0, shape=(512, 512), frames_per_point=2)

dexela = simulated.detector
shutter = simulated.shutter
sample_y, sample_x = simulated.y, simulated.x
