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
