"""Azimuthal integration: equal to pyFAI, with masks and gaps that change, and what is said of a .poni that is none."""

import json

import numpy as np
import pytest

from bluesky_ext.sim import Powder
from bluesky_ext.spectra.azimuthal import (
    AzimuthalSettings,
    Integrator,
    Regions,
    Stack,
    integrator,
    poni_bytes,
    read_poni,
)

SHAPE = (120, 140)
CONFIG = {"pixel1": 2e-4, "pixel2": 2e-4, "max_shape": list(SHAPE), "orientation": 3}
#: A detector that is tilted, and has the beam on it.
TEXT = f"""# Nota: C-Order, 1 refers to the Y axis, 2 to the X axis
poni_version: 2.1
Detector: Detector
Detector_config: {json.dumps(CONFIG)}
Distance: 0.1
Poni1: 0.011
Poni2: 0.0128
Rot1: 0.05
Rot2: -0.03
Rot3: 0.1
Wavelength: 1e-10
"""
PONI = TEXT.encode()
PILATUS = (
    b"poni_version: 2\nDetector: Pilatus100k\nDetector_config: {}\nDistance: 0.2\nPoni1: 0.01\nPoni2: 0.04\nRot1: 0\n"
)
RNG = np.random.default_rng(1)
IMAGE = RNG.poisson(40, SHAPE).astype(np.uint16)
MASK = RNG.random(SHAPE) > 0.2
N_BINS = 60


def of_pyfai(settings, image, mask=None, poni=PONI, **more):
    """What pyFAI makes of an image, shaped as ours: intensities, errors, and where there are pixels."""
    ai = read_poni(poni)
    method = (settings.splitting, "csr", "cython" if settings.error_model != "azimuthal" else "python")
    more |= {"unit": settings.unit, "error_model": settings.error_model, "radial_range": settings.radial_range}
    more |= {"correctSolidAngle": settings.solid_angle, "polarization_factor": settings.polarization, "method": method}
    if mask is not None:
        more["mask"] = (~mask).astype(np.int8)
    if isinstance(settings.sectors, int):
        made = [ai.integrate2d(image, settings.n_bins, settings.sectors, azimuth_range=(-180, 180), **more)]
    else:
        made = []
        for sector in settings.sectors or (None,):
            if sector is not None and sector[1] > 180:
                ai.setChiDiscAtZero()
            made.append(ai.integrate1d(image, settings.n_bins, azimuth_range=sector, **more))
    shape = (-1, settings.n_bins) if settings.sectors is not None else (-1,)
    arrays = [np.array([one.intensity for one in made]).reshape(shape)]
    arrays.append(np.array([one.sigma for one in made]).reshape(shape) if settings.error_model else None)
    return *arrays, np.array([one.sum_normalization for one in made]).reshape(shape) > 0, made[0].radial


@pytest.mark.parametrize("splitting", ["no", "bbox", "full"])
@pytest.mark.parametrize("sectors", [None, 5, [(-30, 40), (100, 200)]])
def test_diffractograms_are_those_of_pyfai(splitting, sectors):
    settings = AzimuthalSettings(
        *(N_BINS, "2th_deg", (1, 12), sectors, splitting), polarization=0.9, error_model="poisson"
    )
    one = Integrator(PONI, settings)
    made = one.integrate(IMAGE, MASK)
    intensity, sigma, there, radial = of_pyfai(settings, IMAGE, MASK)
    assert made.intensity.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(made.intensity), ~there)
    np.testing.assert_array_equal(one.norm(MASK) > 0, there)
    np.testing.assert_array_equal(one.radial, radial)
    np.testing.assert_allclose(made.intensity[there], intensity[there], rtol=3e-7)
    np.testing.assert_allclose(made.sigma[there], sigma[there], rtol=3e-6)
    assert there.any()


def test_the_range_is_that_of_pyfai_and_does_not_depend_on_the_mask():
    settings = AzimuthalSettings(N_BINS, solid_angle=False)
    one = Integrator(PONI, settings)
    intensity, _, _, radial = of_pyfai(settings, IMAGE)
    np.testing.assert_array_equal(one.integrate(IMAGE).intensity, intensity)
    np.testing.assert_array_equal(one.radial, radial)
    inner = np.zeros(SHAPE, bool)
    inner[50:60, 60:70] = True
    assert one.integrate(IMAGE, inner).intensity.shape == radial.shape


def test_azimuthal_errors_are_what_pyfai_says_they_are():
    """Its engine in Python, that is; the one in Cython adds up in another order, and is off by some 1e-4."""
    settings = AzimuthalSettings(N_BINS, splitting="no", error_model="azimuthal")
    made = Integrator(PONI, settings).integrate(IMAGE)
    _, sigma, there, _ = of_pyfai(settings, IMAGE)
    np.testing.assert_allclose(made.sigma[there], sigma[there], rtol=1e-4)


@pytest.mark.parametrize("splitting", ["no", "bbox", "full"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u4", "int64", "float16", "float64"])
def test_a_flat_field_is_exact(splitting, dtype):
    one = Integrator(PONI, AzimuthalSettings(N_BINS, splitting=splitting, solid_angle=False))
    intensity = one.integrate(np.full(SHAPE, 7, dtype), MASK).intensity
    assert set(intensity[~np.isnan(intensity)]) == {7}


def test_pixels_that_are_no_measurement_are_not_used_and_counted():
    settings = AzimuthalSettings(N_BINS, error_model="poisson")
    one = Integrator(PONI, settings)
    broken = IMAGE.astype(np.float32)
    holes = np.zeros(SHAPE, bool)
    holes[20:23, 30:60] = True
    broken[holes] = [np.nan, np.inf, -np.inf] * 30
    made = one.integrate(broken, MASK)
    expected = one.integrate(IMAGE, MASK & ~holes)
    np.testing.assert_array_equal(made.intensity, expected.intensity)
    np.testing.assert_array_equal(made.sigma, expected.sigma)
    assert made.n_gaps == np.count_nonzero(MASK & holes)
    assert np.isnan(one.integrate(broken, gaps=False).intensity).any()


def test_the_values_by_which_a_detector_marks_dead_pixels_count_and_its_own_mask_is_used():
    settings = AzimuthalSettings(N_BINS, "2th_deg")
    one = Integrator(PILATUS, settings)
    image = RNG.poisson(40, one.shape).astype(np.int32)
    image[10:20, 50] = -1
    image[30:40, 60:70] = -2
    intensity, _, there, _ = of_pyfai(settings, image, poni=PILATUS)
    made = one.integrate(image)
    np.testing.assert_array_equal(made.intensity[there], intensity[there])
    assert made.n_gaps == 110
    unsigned = one.integrate(image.astype(np.uint32))  # as EPICS has them
    np.testing.assert_array_equal(unsigned.intensity, made.intensity)


def test_counts_below_0_are_no_measurement():
    image = IMAGE.astype(np.int32)
    image[MASK] -= 1000
    one = Integrator(PONI, AzimuthalSettings(N_BINS))
    made = one.integrate(image)
    np.testing.assert_array_equal(made.intensity, one.integrate(IMAGE, ~MASK).intensity)
    assert made.n_gaps == np.count_nonzero(MASK)
    assert np.nanmin(one.integrate(image, gaps=False).intensity) < 0
    assert one.integrate(np.where(MASK, -1.0, IMAGE)).n_gaps == 0  # a background may have been taken away


def test_several_frames_make_the_mean_with_the_error_of_that():
    one = Integrator(PONI, AzimuthalSettings(N_BINS, error_model="poisson"))
    frames = np.stack([IMAGE, IMAGE[::-1], IMAGE + 3])
    made = one.integrate(frames, MASK, monitor=2.0)
    alone = [one.integrate(frame, MASK) for frame in frames]
    np.testing.assert_allclose(made.intensity, np.mean([each.intensity for each in alone], axis=0) / 2, rtol=1e-6)
    variance = np.mean([each.sigma.astype(float) ** 2 for each in alone], axis=0) / 3
    np.testing.assert_allclose(made.sigma, np.sqrt(variance) / 2, rtol=1e-6)


def test_a_poni_is_a_path_or_its_content(tmp_path):
    path = tmp_path / "detector.poni"
    path.write_text(TEXT)
    given = (path, str(path), PONI, TEXT, np.frombuffer(PONI, np.uint8))
    assert {poni_bytes(one) for one in given} == {PONI}


def test_an_integrator_is_made_once():
    settings = AzimuthalSettings(N_BINS)
    assert integrator(PONI, settings) is integrator(PONI, AzimuthalSettings(N_BINS))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Distance: 0.1", "Distance: near", r"line 5 of the .poni is 'Distance: near': give a number above 0"),
        ("Distance: 0.1", "Distance: -1", "line 5 .* above 0"),
        ("Distance: 0.1\n", "", "the .poni has no line 'Distance'"),
        ("Rot1: 0.05", "Rot1: nan", "line 8 of the .poni is 'Rot1: nan': give a number"),
        ("Rot1: 0.05", "[detector]", r"line 8 of the .poni is '\[detector\]': it has no 'name: value'"),
        ("Detector: Detector", "Detector: Kodak", "line 3 of the .poni names the detector 'Kodak'"),
        ("Detector: Detector", "Detector: /etc/hostname", "line 3 of the .poni names the detector '/etc/hostname'"),
        ('{"pixel1"', "{pixel1", "line 4 of the .poni is no configuration of a detector"),
        ('{"pixel1": 0.0002', '{"splinefile": "/a.spline", "pixel1": 0.0002', "by a file .*which is not read"),
        ('{"pixel1": 0.0002', '{"pixel1": "wide"', "describes no detector that pyFAI knows .line 3, line 4"),
        ("Wavelength: 1e-10\n", "", "no line 'Wavelength', which unit='q_nm\\^-1' needs"),
        ("120, 140", "120000, 140000", r"has \(120000, 140000\) pixels: give one of"),
        (', "max_shape": [120, 140]', "", r"how many pixels its detector has: give shape=\(rows, columns\)"),
        ("# Nota", "\udcff", "the .poni is no text"),
    ],
)
def test_a_poni_that_is_none_is_refused_by_its_line(old, new, message):
    assert old in TEXT
    with pytest.raises(ValueError, match=message):
        Integrator(TEXT.replace(old, new).encode(errors="surrogateescape"), AzimuthalSettings(N_BINS))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_bins": 0}, "n_bins=0: give a whole number above 0"),
        ({"unit": "q"}, "unit='q': give one of q_nm"),
        ({"splitting": "pseudo"}, "splitting='pseudo': give one of"),
        ({"radial_range": (3, 1)}, r"radial_range is \(3, 1\): give two numbers"),
        ({"sectors": [(0, 400)]}, r"a sector is \(0, 400\)"),
        ({"sectors": []}, "give ranges in degrees"),
        ({"n_bins": 10**6, "sectors": 1000}, "bins at most"),
        ({"polarization": 2}, "polarization=2: give a factor from -1 to 1"),
        ({"error_model": "guess"}, "error_model='guess'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        AzimuthalSettings(**{"n_bins": N_BINS, **settings})


@pytest.mark.parametrize("sector", [(-20, 200), (90, 400)])
def test_a_sector_that_pyfai_has_not_in_one_piece_is_refused(sector):
    with pytest.raises(ValueError, match="goes across 0 and 180"):
        Integrator(PONI, AzimuthalSettings(N_BINS, sectors=[sector]))


def test_a_sector_of_360_degrees_is_the_whole_ring_wherever_it_begins():
    made = Integrator(PONI, AzimuthalSettings(N_BINS, sectors=[(-90, 270), (90, 450)])).integrate(IMAGE)
    np.testing.assert_array_equal(made.intensity, [Integrator(PONI, AzimuthalSettings(N_BINS)).integrate(IMAGE)[0]] * 2)


@pytest.mark.parametrize(
    ("settings", "shape", "message"),
    [
        (
            {"radial_range": (500, 600)},
            None,
            r"radial_range=\(500.0, 600.0\), .* has pixels from 0.0\d+ to 14.\d+ 2th_deg",
        ),
        ({"radial_range": (13, 14), "sectors": [(-180, 180), (10, 11)]}, None, "the sector from 10 to 11 degrees"),
        ({}, (10, 10), r"shape=\(10, 10\), and the .poni is of a detector of 120 x 140 pixels: leave it out"),
    ],
)
def test_bins_without_any_pixel_and_another_shape_are_refused(settings, shape, message):
    with pytest.raises(ValueError, match=message):
        Integrator(PONI, AzimuthalSettings(N_BINS, "2th_deg", **settings), shape)


def test_what_is_no_image_of_the_detector_is_refused():
    one = Integrator(PONI, AzimuthalSettings(N_BINS))
    with pytest.raises(ValueError, match=r"shape \(140, 120\), and the .poni is of a detector of 120 x 140 pixels"):
        one.integrate(IMAGE.T)
    with pytest.raises(ValueError, match="the mask has shape"):
        one.integrate(IMAGE, MASK.T)
    for monitor in (0.0, np.nan, np.inf, -1.0):
        with pytest.raises(ValueError, match="intensities can't be divided by it"):
            one.integrate(IMAGE, monitor=monitor)


def test_the_rings_of_a_powder_are_where_they_are():
    powder = Powder(shape=(300, 300))
    one = Integrator(powder.poni, AzimuthalSettings(600))
    rings = powder.rings(0.2, 0.3)
    regions = Regions(one.radial, [(q - 1.5, q + 1.5) for q in rings])
    _, positions = regions.measure(one.integrate(powder.frame(0.2, 0.3, acquire_time=5)).intensity[np.newaxis])
    np.testing.assert_allclose(positions[:, 0], rings, rtol=1e-4)
    with pytest.raises(ValueError, match="the region from 900 to 1000 has no bins"):
        Regions(one.radial, [(900, 1000)])


def test_a_region_without_a_peak_has_no_position_if_there_are_errors():
    regions = Regions(np.arange(40.0), [(0, 40)])
    counts = np.random.default_rng(2).poisson(100, (2000, 40)).astype(float)
    assert np.isfinite(regions.measure(counts)[1]).mean() > 0.99
    assert np.isfinite(regions.measure(counts, np.sqrt(counts))[1]).mean() < 0.005
    counts[:, 20:23] += 2000
    brightness, positions = regions.measure(counts, np.sqrt(counts))
    np.testing.assert_array_equal((brightness, positions), regions.measure(counts))
    np.testing.assert_allclose(brightness[0], counts.mean(axis=1))
    assert abs(positions.mean() - 21) < 0.1


def test_what_was_read_of_a_stack_stays_as_it_is():
    stack = Stack((1, 4), max_bytes=16 * 200)
    for frame in range(1, 100):
        stack.put(frame, np.full((1, 4), frame))
    read = stack.values
    assert np.shares_memory(read, stack.values)
    stack.put(50, np.zeros((1, 4)))
    stack.put(100, np.ones((1, 4)))
    assert read[0, 49].tolist() == [50] * 4
    assert read.shape == (1, 99, 4)
    assert stack.values[0, 49].tolist() == [0] * 4
    assert [stack.put(frame, np.ones((1, 4))) for frame in range(199, 203)] == [True] * 4
    more = [stack.put(frame, np.ones((1, 4))) for frame in range(300, 400)]
    assert more == [True] * 96 + [False] * 4
    assert (len(stack), stack.n_left_out) == (200, 4)
