"""What positions on a detector mean, against pyFAI's own arrays and by hand."""

import json
import math
import sys

import numpy as np
import pytest

from bluesky_ext.sim.geometry import Geometry
from bluesky_ext.spectra.azimuthal import read_poni, scattering

SHAPE = (40, 30)


def poni(orientation: int = 3, **said: object) -> bytes:
    config = {"pixel1": 1e-3, "pixel2": 2e-3, "max_shape": SHAPE, "orientation": orientation}
    lines = {"poni_version": 2.1, "Detector": "Detector", "Detector_config": json.dumps(config)}
    lines |= {"Distance": 0.05, "Poni1": 0.021, "Poni2": 0.013, "Rot1": 0.1, "Rot2": -0.2, "Rot3": 0.3}
    lines |= {"Wavelength": 0.8e-10, **said}
    return "\n".join(f"{name}: {value}" for name, value in lines.items()).encode()


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_of_the_middles_of_pixels_it_is_what_pyfai_has(orientation):
    content = poni(orientation)
    found = scattering(content, *np.mgrid[: SHAPE[0], : SHAPE[1]].reshape(2, -1), SHAPE)
    for name, unit in {"q": "q_nm^-1", "two_theta": "2th_deg", "chi": "chi_deg"}.items():
        own = read_poni(content).center_array(SHAPE, unit=unit, scale=True).ravel()
        np.testing.assert_allclose(found[name], own, rtol=1e-9, atol=1e-9, err_msg=name)
    np.testing.assert_allclose(found["d"] * found["q"], 2 * np.pi, rtol=1e-12)


def test_by_hand_of_a_detector_that_stands_upright():
    geometry = Geometry(SHAPE, pixel=1e-3, distance=0.05, wavelength=0.8e-10)
    down, across = np.array([7.25, -12.5]), np.array([3.5, 4.0])  # from the beam, in px
    found = scattering(geometry.poni, down + SHAPE[0] / 2 - 0.5, across + SHAPE[1] / 2 - 0.5)
    for number, (dy, dx) in enumerate(zip(down, across, strict=True)):
        angle = math.atan(1e-3 * math.hypot(dy, dx) / 0.05)
        d = 0.08 / 2 / math.sin(angle / 2)  # Bragg's law, in nm
        expected = {"q": 2 * math.pi / d, "two_theta": math.degrees(angle), "d": d}
        expected["chi"] = math.degrees(math.atan2(dy, dx))
        assert {name: values[number] for name, values in found.items()} == pytest.approx(expected, rel=1e-12)
    beam = scattering(geometry.poni, [19.5], [14.5])
    assert (beam["q"][0], beam["d"][0]) == (0, np.inf)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (poni().rpartition(b"\n")[0], "no line 'Wavelength', which q and d need: add it"),
        (poni(Distance="5 cm"), "line 4 of the .poni"),
        (poni(), "30 x 40 pixels, and the .poni is of a detector of 40 x 30: give the .poni of this detector"),
    ],
)
def test_a_geometry_that_cannot_be_meant_is_said_in_one_line(content, word):
    with pytest.raises(ValueError, match=word):
        scattering(content, [1.0], [2.0], (30, 40))


def test_without_pyfai_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyFAI.integrator.azimuthal", None)
    with pytest.raises(ImportError, match=r"pip install 'bluesky-ext\[azint\]'"):
        scattering(poni(Distance=0.07), [], [])
