"""No kernel is compiled, nor loaded, when the first event comes, whatever the detector's dtype is."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.timeout(300)  # with an empty cache the kernels are compiled first

# In a process of its own, since kernels that other tests used are here already.
SCRIPT = """
import sys
import numpy as np
from event_model import compose_run
from numba.core.dispatcher import Dispatcher
from bluesky_ext import AzimuthalIntegrator, CrystalMap, ImageProcessor, PeakTracker, TrackLinker
from bluesky_ext.sim import Powder

def signatures():
    return {
        (name, kernel, str(signature))
        for name, module in list(sys.modules.items()) if name.startswith(("bluesky_ext", "trackpy"))
        for kernel, value in vars(module).items() if isinstance(value, Dispatcher)
        for signature in value.signatures
    }

stage = eval(sys.argv[1])
for sink in (TrackLinker(search_range=5), CrystalMap(search_range=5)):
    stage.subscribe(sink)
before = signatures()
y, x = np.indices((64, 64))
spot = 100 * np.exp(-((y - 30) ** 2 + (x - 30) ** 2) / 8)
for dtype in sys.argv[2].split():
    for image in (spot, np.stack([spot, spot, spot]), np.stack([spot] * 5)):
        run = compose_run()
        key = {"source": "s", "dtype": "array", "shape": list(image.shape)}
        stream = run.compose_descriptor(name="primary", data_keys={"image": key})
        stage("start", run.start_doc)
        stage("descriptor", stream.descriptor_doc)
        stage("event", stream.compose_event(data={"image": image.astype(dtype)}, timestamps={"image": 0.0}))
        stage("stop", run.compose_stop())
assert stage.stats.failed == 0, stage.stats
for name in sorted(signatures() - before):
    print(name)
"""

DTYPES = "float64 float32 uint8 uint16 uint32 uint64 int8 int16 int32 int64 >u2 >f4"


@pytest.mark.parametrize(
    "stage",
    [
        "ImageProcessor('image')",
        "PeakTracker('image', 9)",
        "AzimuthalIntegrator('image', Powder(shape=(64, 64)).poni, 30, error_model='poisson')",
    ],
)
def test_the_first_event_finds_its_kernels(stage):
    script = [sys.executable, "-c", SCRIPT, stage, DTYPES]
    done = subprocess.run(script, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


FLUORESCENCE = """__import__("bluesky_ext").FluorescenceFit("image", __import__("cases").CFG)"""


def test_the_first_spectrum_finds_its_kernels():
    script = [sys.executable, "-c", SCRIPT, FLUORESCENCE, DTYPES]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(script, capture_output=True, text=True, check=False, timeout=280, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


COLD = """
import logging
logging.basicConfig(level=logging.INFO, format="%(name)s %(levelname)s %(message)s")
import numpy as np
from bluesky_ext import PeakTracker
from bluesky_ext.peaks import locate
PeakTracker("image", 9)
y, x = np.indices((64, 64))
table = locate(100 * np.exp(-((y - 30) ** 2 + (x - 30.3) ** 2) / 8), 9)
print(table.to_csv())
"""


def cold(**environment):
    """The peaks that a process with these variables finds, and the lines of its log."""
    environment = {**os.environ, **environment}
    done = subprocess.run(
        [sys.executable, "-c", COLD], capture_output=True, text=True, check=False, timeout=280, env=environment
    )
    assert done.returncode == 0, done.stderr
    lines = [line.partition(" ") for line in done.stderr.splitlines()]
    return done.stdout, [said for name, _, said in lines if name.startswith("bluesky_ext.")]  # others log as well


def test_an_empty_cache_is_filled_once_and_said(tmp_path):
    folder = str(tmp_path)
    peaks, log = cold(NUMBA_CACHE_DIR=folder)
    (line,) = log
    assert line.startswith("INFO compiling once, about ")
    assert list(tmp_path.rglob("*.nbc"))
    assert cold(NUMBA_CACHE_DIR=folder) == (peaks, [])


def test_a_cache_that_cannot_be_written_is_one_warning(tmp_path):
    file = tmp_path / "file"
    file.touch()
    # Or else numba takes the folder of the package, or that of the user.
    peaks, log = cold(NUMBA_CACHE_DIR=str(file), NUMBA_CACHE_LOCATOR_CLASSES="UserProvidedCacheLocator")
    warning, line = log
    assert warning.startswith("WARNING every process compiles the kernels anew")
    assert "NUMBA_CACHE_DIR" in warning
    assert line.startswith("INFO compiling for this process, about ")
    assert peaks == cold()[0]
