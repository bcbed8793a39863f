"""The devices of fluorescence. These are simulated: put your own here, under the names that the next file uses."""

from bluesky_ext.sim import SimMotor
from bluesky_ext.sim.fluorescence import FluorescenceDetector, FluorescenceSample

film = FluorescenceSample(seed=0)
film_y, film_x = SimMotor(name="film_y", limits=(-1, 1)), SimMotor(name="film_x", limits=(-1, 1))
xspress3 = FluorescenceDetector(name="xspress3", sample=film, y=film_y, x=film_x)

# By which spectra are fitted, as PyMca writes it: its content, or the path of the file.
mca_config = film.cfg
