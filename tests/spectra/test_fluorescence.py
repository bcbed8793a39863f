"""Fluorescence, against PyMca, scipy, a known alloy, and arithmetic."""

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import nnls

from bluesky_ext.sim.fluorescence import FluorescenceSample
from bluesky_ext.spectra.fluorescence import SpectrumSum, combine, fit_spectra, fluorescence_model
from bluesky_ext.spectra.fluorescence.background import background, smooth
from bluesky_ext.spectra.fluorescence.kernels import nonnegative


@pytest.fixture(scope="module")
def steel():
    """The spectrum of the alloy of PyMca, and the content of its .cfg, with fluorescence that fluorescence excites."""
    from PyMca5 import PyMcaDataDir

    folder = Path(PyMcaDataDir.PYMCA_DATA_DIR)
    words = (folder / "Steel.spe").read_text().split("$DATA:")[1].split()
    spectrum = np.array(words[2 : 3 + int(words[1])], float)
    cfg = (folder / "Steel.cfg").read_bytes()
    return spectrum, cfg.replace(b"usemultilayersecondary = 0", b"usemultilayersecondary = 2")


def fast_fit(cfg, spectra, refit):
    """What PyMca's FastXRFLinearFit makes of spectra in float64, without weights: names, areas, mass fractions."""
    from PyMca5.PyMcaIO.ConfigDict import ConfigDict
    from PyMca5.PyMcaPhysics.xrf.FastXRFLinearFit import FastXRFLinearFit

    sections = ConfigDict()
    sections.read_file(io.StringIO(cfg.decode()))
    sections["fit"].update(linearfitflag=1, stripalgorithm=1)
    fitter = FastXRFLinearFit()
    with contextlib.redirect_stdout(io.StringIO()):
        fitter.setFitConfiguration(sections)
        found = fitter.fitMultipleSpectra(y=spectra, weight=0, refit=refit, concentrations=True, save=False)
    areas = dict(zip(found.labels("parameters"), found["parameters"], strict=True))
    return areas, dict(zip(found.labels("massfractions"), found["massfractions"], strict=True))


def few(steel, n, counts):
    """Spectra of the alloy with so few counts that areas of lines that are not there are negative as often as not."""
    spectrum, cfg = steel
    return np.random.default_rng(3).poisson(spectrum * counts / spectrum.sum(), (n, len(spectrum))).astype(float), cfg


@pytest.mark.parametrize("n_points", [1, 3, 4, 9, 21])
def test_spectra_are_smoothed_as_pymca_does_it(steel, n_points):
    from PyMca5.PyMcaMath.fitting import SpecfitFuns

    np.testing.assert_allclose(smooth(steel[0], n_points), SpecfitFuns.SavitskyGolay(steel[0], n_points), rtol=1e-12)


@pytest.mark.parametrize(("width", "anchors"), [(30, [0, 1999]), (5, [400, 800]), (1500, [0, 10])])
def test_the_background_is_that_of_pymca(steel, width, anchors):
    from PyMca5.PyMcaMath.fitting import SpecfitFuns

    expected, last = steel[0].copy(), 0
    for anchor in [one for one in anchors if one] + [len(expected)]:
        expected[last:anchor] = SpecfitFuns.snip1d(expected[last:anchor], width, 0)
        last = anchor
    np.testing.assert_array_equal(background(steel[0], 1, width, np.array(anchors)), expected)


def test_areas_that_are_not_negative_are_those_of_scipy():
    rng = np.random.default_rng(0)
    for n in range(1, 40):
        shapes = rng.random((n, 200)) ** 4
        shapes /= np.linalg.norm(shapes, axis=1)[:, np.newaxis]
        spectrum = rng.normal(size=200) + shapes.T @ (rng.random(n) * (rng.random(n) > 0.5) * 5)
        start = np.linalg.pinv(shapes.T) @ spectrum
        found = nonnegative(shapes @ shapes.T, shapes @ spectrum, start, 0)
        expected, _ = nnls(shapes.T, spectrum)
        np.testing.assert_allclose(found, expected, atol=1e-10 * expected.max())


def test_a_line_that_is_the_sum_of_others_is_left_out_and_the_fit_as_good():
    rng = np.random.default_rng(1)
    shapes = rng.random((3, 50))
    shapes = np.concatenate([shapes, shapes[:1], np.zeros((1, 50))])
    spectrum = shapes.T @ np.array([1.0, 2.0, 0.5, 1.0, 3.0])
    start = np.linalg.pinv(shapes.T) @ spectrum
    found = nonnegative(shapes @ shapes.T, shapes @ spectrum, start, 0)
    assert (found >= 0).all()
    np.testing.assert_allclose(shapes.T @ found, spectrum, rtol=1e-9)


def test_a_continuum_may_be_negative(steel):
    spectrum, cfg = steel
    cfg = cfg.replace(b"stripflag = 1", b"stripflag = 0").replace(b"continuum = 0", b"continuum = 2")
    model = fluorescence_model(cfg)
    assert model.n_continuum == 2
    fit, expected = model.fit(spectrum - 500.0), fast_fit(cfg, spectrum[np.newaxis] - 500.0, 1)[0]
    strong = [line for line in model.lines if expected[line][0] > 1e5]
    assert len(strong) > 3
    for line in strong:
        assert fit.areas[model.lines.index(line)] == pytest.approx(expected[line][0], rel=1e-3)


def test_without_refit_the_numbers_are_those_of_pymca(steel):
    spectra, cfg = few(steel, 20, 20_000)
    fits = fit_spectra(spectra, cfg, refit=False)
    areas, fractions = fast_fit(cfg, spectra, 0)
    assert (fits.areas < 0).any()
    for at, line in enumerate(fits.lines):
        np.testing.assert_allclose(fits.areas[:, at], areas[line], rtol=1e-6, atol=1e-6)
        if line in fractions:
            np.testing.assert_allclose(fits.mass_fractions[:, at], fractions[line], rtol=1e-6, atol=1e-12)
        else:
            assert line.startswith("Scatter")
            assert np.isnan(fits.mass_fractions[:, at]).all()


def test_no_spectrum_is_fitted_worse_than_by_pymca_nor_otherwise_than_alone(steel):
    spectra, cfg = few(steel, 200, 3_000)
    fits, pymca = fit_spectra(spectra, cfg), fit_spectra(spectra, cfg, refit="pymca")
    model = fluorescence_model(cfg)
    region = spectra[:, model.first : model.n_channels]
    net = region - [background(one, 1, model.width, model.anchors) for one in region]
    ours, theirs = (np.linalg.norm(net - one.areas @ model.shapes, axis=1) for one in (fits, pymca))
    assert (ours <= theirs * (1 + 1e-9)).all()
    assert (fits.areas >= 0).all()
    alone = fit_spectra(spectra[7], cfg)
    np.testing.assert_array_equal(alone.areas[0], fits.areas[7])


def test_the_composition_of_the_alloy_is_found(steel):
    spectrum, cfg = steel
    fits = fit_spectra(spectrum, cfg)
    found = dict(zip(fits.lines, fits.mass_fractions[0], strict=True))
    for line, known in {"Cr K": 0.1837, "Fe Ka": 0.654, "Ni K": 0.1235, "Mn K": 0.01619}.items():
        assert found[line] == pytest.approx(known, rel=0.1)
    assert found["As K"] == 0  # which is not there


def test_uncertainties_are_how_areas_scatter():
    sample = FluorescenceSample(elements={"Ca": 0.02, "Fe": 0.01, "Cu": 0.004}, n_channels=1200, continuum=0.0)
    model = fluorescence_model(sample.cfg.replace(b"stripflag = 1", b"stripflag = 0"))
    spectra = np.random.default_rng(0).poisson(sample.expected(0.0, 0.0), (2000, 1200)).astype(float)
    fits = [model.fit(one) for one in spectra]
    areas = np.array([one.areas for one in fits])
    said = np.mean([one.uncertainties for one in fits], axis=0)
    np.testing.assert_allclose(areas.std(axis=0), said, rtol=0.06)
    np.testing.assert_allclose(areas.mean(axis=0), sample.areas(0.0, 0.0), atol=4 * said.max() / 2000**0.5)


def test_channels_that_are_no_measurement_play_no_part(steel):
    spectrum, cfg = steel
    model = fluorescence_model(cfg)
    whole = model.fit(spectrum)
    strongest = int(np.argmax(spectrum))
    broken = spectrum.copy()
    broken[[300, strongest]] = np.nan
    counted = np.minimum(spectrum, 65534).astype(np.uint16)
    counted[[300, strongest]] = 65535
    for given in (broken, counted):
        total = combine(given[np.newaxis])
        assert total.bad is not None
        assert np.flatnonzero(total.bad).tolist() == [300, strongest]
    fit = model.fit(*combine(broken[np.newaxis]))
    for line in ("Cr K", "Ni K", "Mn K"):
        at = model.lines.index(line)
        assert fit.areas[at] == pytest.approx(whole.areas[at], rel=0.01)
    with pytest.raises(ValueError, match="of the 1233 channels that are fitted 1233 are no measurement"):
        model.fit(*combine(np.full((1, 2000), np.nan)))


@pytest.mark.parametrize("n_bad", [20, 100, 200])
def test_a_line_whose_peak_is_not_measured_has_no_area(n_bad):
    sample = FluorescenceSample(seed=1)
    model, spectrum = sample.model, sample.expected(0.0, 0.0)
    at = model.lines.index("Fe K")
    peak = model.first + int(np.argmax(model.shapes[at]))
    broken = spectrum.copy()
    broken[peak - n_bad // 2 : peak + n_bad // 2] = np.nan
    whole, fit = model.fit(spectrum), model.fit(*combine(broken[np.newaxis]))
    assert np.isnan([fit.areas[at], fit.uncertainties[at], model.mass_fractions(fit.areas)[at]]).all()
    measured = np.isfinite(fit.areas)
    assert measured[model.lines.index("Zn K")]
    assert np.abs(fit.areas - whole.areas)[measured].max() < 2 * whole.uncertainties[measured].max()
    assert np.isfinite(fit.chi2)


def test_chi2_is_about_1_for_noise_alone_whatever_a_count_weighs_and_however_many_are_bad():
    sample = FluorescenceSample(elements={"Ca": 0.02, "Fe": 0.01}, n_channels=1200, continuum=0.0)
    model = fluorescence_model(
        sample.cfg.replace(b"stripflag = 1", b"stripflag = 0").replace(b"continuum = 0", b"continuum = 1")
    )
    expected = np.full(1200, 100.0)
    expected[model.first : model.n_channels] += np.array([1e4, 1e4]) @ model.shapes[1:]
    flat = np.random.default_rng(0).poisson(expected).astype(float)[np.newaxis]
    chi2 = model.fit(*combine(flat)).chi2
    assert chi2 == pytest.approx(1, abs=0.1)
    for weight in (10.0, 0.01):
        assert model.fit(*combine(flat, np.array([weight]))).chi2 == pytest.approx(chi2)
    flat[0, int(np.argmax(expected)) + np.arange(3)] = np.nan
    assert model.fit(*combine(flat)).chi2 == pytest.approx(chi2, rel=0.05)


def test_counts_below_0_are_no_measurement():
    total = combine(np.array([[1, -1, 3], [1, 2, np.iinfo(np.int32).max]], np.int32))
    assert total.bad is not None
    assert total.bad.tolist() == [False, True, True]


def test_the_sum_of_spectra_has_the_last_word_on_each():
    total = SpectrumSum(3, room=0)
    for frame in range(1, 40):
        total.put(frame, np.full(3, 7.0))
    total.put(39, np.full(3, 1.0))
    assert total.total.tolist() == [267, 267, 267]
    assert total[39].tolist() == [1, 1, 1]
    with pytest.raises(LookupError, match="event 1 is not kept"):
        total[1]
    total.put(1, np.full(3, 7.0))
    assert total.twice == {1}
    kept = SpectrumSum(3, room=10**6)
    for frame in range(1, 40):
        kept.put(frame, np.full(3, frame * 1000.0))
    assert kept[2].tolist() == [2000, 2000, 2000]


CFG = FluorescenceSample().cfg


@pytest.mark.parametrize(
    ("cfg", "said"),
    [
        (b"\xff\xfe", "line 1: give the content of a configuration"),
        (CFG.replace(b"flux = 1e9", b"flux"), r"can't be read, line 94: 'flux'"),
        (b"xmin = 3\n" + CFG, r"can't be read, line 1: 'xmin = 3'"),
        (CFG.replace(b"gain = 0.01\n", b""), "gain = None: give the energy of a channel, in keV"),
        (CFG.replace(b"zero = 0.0", b"zero = ?"), "zero = [?]: give the energy of channel 0"),
        (CFG.replace(b"Fe = K", b"Xx = K"), "'Xx', which is no element that PyMca knows"),
        (CFG.replace(b"xmax = 1150", b"xmax = 100"), "xmin = 150 and xmax = 100: give the channels"),
        (CFG.replace(b"xmin = 150", b"xmin = 1120"), "no peak of it lies in the channels that are fitted"),
        (CFG.replace(b"xmax = 1150", b"xmax = 1e12"), "no spectrum has more than 1048576 channels"),
        (CFG.replace(b"usexrfmc = 0", b"usexrfmc = 1"), "no program is run for it"),
        (CFG.replace(b"time = 1.0", b"time = 0"), "time = 0: give a time above 0"),
        (CFG.replace(b"flux = 1e9", b"flux = 0"), "flux = 0[.0]*: give one above 0"),
        (CFG.replace(b"snipwidth = 40", b"snipwidth = -4"), "snipwidth = -4: at least 1 channel"),
        (CFG.replace(b"\nnoise = 0.08", b""), "noise = None: give a number"),
        (CFG.replace(b"Fe = K", b"Fe ="), "no lines of Fe"),
        (CFG.replace(b"usematrix = 0", b"usematrix = 1"), "usematrix = 1 and reference = Auto: name an element"),
        (
            CFG.replace(b"xmin = 150", b"xmin = 1149"),
            "xmin = 1149 and xmax = 1150: give the channels that are fitted, 10",
        ),
        (CFG.replace(b"Si1O2, 2.2", b"Foo, 2.2"), "the .cfg: it has no 'Foo'"),
        (CFG.replace(b"Dry air", b"100% air"), r"\[materials.Air\] of the .cfg has a Comment that can't be read: '%'"),
        (CFG.replace(b"[peaks]", b"[lines]"), r"has no section \[peaks\]"),
        (CFG.replace(b"Matrix = 1", b"Matrix = 0"), "Invalid or undefined sample matrix"),
    ],
)
def test_a_configuration_that_is_wrong_is_refused_in_a_line(cfg, said):
    with pytest.raises(ValueError, match=said) as info:
        fluorescence_model(cfg)
    assert "\n" not in str(info.value)


def test_a_spectrum_that_is_too_short_is_refused():
    with pytest.raises(ValueError, match="500 channels are no spectrum"):
        fluorescence_model(CFG).fit(np.ones(500))
