"""Fluorescence of a simulated film, from the scan to the maps: the truth about the film is found."""

import h5py
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.plans import count, grid_scan, list_scan
from cases import Collector, feed

from bluesky_ext import FluorescenceFit, FluorescenceMap
from bluesky_ext.live import ProcessedFiles
from bluesky_ext.sim.fluorescence import fluorescence_beamline
from bluesky_ext.spectra.fluorescence import fluorescence_model

KEY = "xspress3_spectra"


def documents_of(plan, **metadata):
    docs = []
    RunEngine({})(plan, lambda name, doc: docs.append((name, doc)), **metadata)
    return docs


@pytest.fixture(scope="module")
def beam():
    beam = fluorescence_beamline(seed=1, continuum=0.0, n_channels=1200)
    beam.detector.pulse_time = 1e-4
    return beam


@pytest.fixture(scope="module")
def scan(beam):
    """A snaked grid over the film."""
    return documents_of(grid_scan([beam.detector], beam.y, -0.1, 0.1, 5, beam.x, -0.1, 0.1, 6, snake_axes=True))


def mapped(cfg, docs, **options):
    fit, maps = FluorescenceFit(KEY, cfg, **options), FluorescenceMap(KEY, cfg)
    fit.subscribe(maps)
    feed(fit, docs)
    return maps


def truth(beam, dataset, line):
    element = line.split()[0]
    return np.array(
        [
            [beam.sample.mass_fractions(y, x)[element] for x in dataset["sample_x"].to_numpy()]
            for y in dataset["sample_y"].to_numpy()
        ]
    )


@pytest.mark.parametrize(
    "options",
    [
        {"live_time": "xspress3_live_time"},
        {"dead_time": "xspress3_dead_time"},
        {"live_time": "xspress3_live_time", "sums": "after"},
    ],
    ids=lambda options: "-".join(map(str, options)),
)
def test_the_composition_of_the_film_is_found(beam, scan, options):
    maps = mapped(beam.sample.cfg, scan, **options)
    dataset = maps.dataset
    assert dataset["massfractions"].dims == ("line", "sample_y", "sample_x")
    model = beam.sample.model
    for at, line in enumerate(model.lines):
        away = dataset["massfractions"].sel(line=line) - truth(beam, dataset, line)
        deviations = dataset["uncertainties"].sel(line=line) * model.fractions[at]
        ratio = (away / deviations).to_numpy()
        assert abs(ratio.mean()) < 1
        assert np.abs(ratio).max() < 5


def test_what_a_detector_misses_is_missed_unless_it_is_told(beam, scan):
    without, told = (
        mapped(beam.sample.cfg, scan, **options).publish().tree["map"]["parameters"]["Fe K"]["values"]
        for options in ({}, {"dead_time": "xspress3_dead_time"})
    )
    dead = np.array([doc["data"]["xspress3_dead_time"].mean() for name, doc in scan if name == "event"])
    assert 5 < dead.max() < 50
    np.testing.assert_allclose(without / told, 1 - dead / 100, rtol=0.01)


def test_elements_are_chosen_and_a_monitor_divides(beam, scan):
    def with_monitor(docs):
        for name, doc in docs:
            if name == "descriptor":
                doc = {**doc, "data_keys": {**doc["data_keys"], "i0": {"source": "s", "dtype": "number", "shape": []}}}
            elif name == "event":
                doc = {**doc, "data": {**doc["data"], "i0": 5.0}, "timestamps": {**doc["timestamps"], "i0": 1.0}}
            yield name, doc

    docs = list(with_monitor(scan))
    whole, divided, half = (
        mapped(beam.sample.cfg, docs, refit=False, **options).dataset["parameters"].to_numpy()
        for options in ({}, {"monitor": "i0", "monitor_reference": 20.0}, {"elements": (1, 3)})
    )
    np.testing.assert_allclose(divided, 4 * whole)
    np.testing.assert_allclose(half.sum() / whole.sum(), 0.5, rtol=0.05)


def test_what_the_configuration_asks_for_in_vain_is_said(beam, caplog):
    cfg = beam.sample.cfg.replace(b"fitweight = 0", b"fitweight = 1").replace(b"useautotime = 0", b"useautotime = 1")
    FluorescenceFit(KEY, cfg, live_time="seconds")
    FluorescenceFit(KEY, cfg)
    FluorescenceFit(KEY, beam.sample.cfg)
    said = [one.getMessage().split(" in ")[1] for one in caplog.records]
    assert said == ["fitweight = 1", "fitweight = 1, useautotime = 1"]


@pytest.mark.parametrize("refit", [True, False])
def test_the_curve_of_a_point_is_its_fit(beam, refit):
    cfg = beam.sample.cfg.replace(b"Zn = K", b"Zn = K\nMn = K\nNi = K").replace(b"stripflag = 1", b"stripflag = 0")
    fit, maps = FluorescenceFit(KEY, cfg, refit=refit), FluorescenceMap(KEY, cfg)
    fit.subscribe(maps)
    docs = documents_of(count([beam.detector], 2))
    for name, doc in docs:
        if name == "event":
            doc["data"][KEY] = np.array(doc["data"][KEY], float)
            doc["data"][KEY][:, 640] = np.nan
    feed(fit, docs)
    tree, model = maps.publish().tree, fluorescence_model(cfg, refit=refit)
    areas = np.array([tree["map"]["parameters"][line]["values"][1] for line in fit.lines])
    curve = maps.curve(2)
    np.testing.assert_allclose(curve.fit - curve.background, areas @ model.shapes, atol=1e-9)
    assert np.flatnonzero(np.isnan(curve.spectrum)).tolist() == [640 - model.first]
    assert np.isfinite(tree["spectrum"]["counts"]).all()


def test_a_reading_that_is_in_no_stream_is_a_warning(beam, scan, caplog):
    feed(FluorescenceFit(KEY, beam.sample.cfg, live_time="xspress3_livetime"), scan)
    assert [one.levelname for one in caplog.records if "no stream has" in one.getMessage()] == ["WARNING"]


def test_two_fits_in_a_chain_have_lines_and_channels_of_their_own(beam):
    other = beam.sample.cfg.replace(b"Ca = K\nFe = K", b"Mn = K\nNi = K").replace(b"gain = 0.01\n", b"gain = 0.011\n")
    first, second = FluorescenceFit(KEY, beam.sample.cfg), FluorescenceFit("second", other)
    maps = FluorescenceMap(KEY), FluorescenceMap("second")
    first.subscribe(second)
    for one in maps:
        second.subscribe(one)
    docs = []
    for name, doc in documents_of(count([beam.detector], 2)):
        if name == "descriptor":
            doc = {**doc, "data_keys": {**doc["data_keys"], "second": doc["data_keys"][KEY]}}
        elif name == "event":
            doc = {**doc, "data": {**doc["data"], "second": doc["data"][KEY]}}
            doc["timestamps"] = {**doc["timestamps"], "second": 1.0}
        docs.append((name, doc))
    feed(first, docs)
    for one, stage, gain in zip(maps, (first, second), (0.01, 0.011), strict=True):
        tree = one.publish().tree
        assert tuple(tree["map"]["parameters"])[1:] == stage.lines
        np.testing.assert_allclose(np.diff(tree["spectrum"]["energy"]), gain)


def test_the_tree_is_what_users_of_the_nanomax_pipeline_read(beam, scan, tmp_path):
    fit, maps = FluorescenceFit(KEY, beam.sample.cfg), FluorescenceMap(KEY, beam.sample.cfg)
    fit.subscribe(maps)
    files = ProcessedFiles(maps, tmp_path)
    feed(fit, scan[:-3])
    tree = maps.publish().tree
    assert list(tree["map"])[1:] == ["massfractions", "parameters", "uncertainties"]
    iron = tree["map"]["massfractions"]["Fe K"]
    assert len(iron["x"]) == len(iron["y"]) == len(iron["values"]) == 28
    spectra = [doc["data"][KEY].sum(axis=0) for name, doc in scan[:-3] if name == "event"]
    np.testing.assert_array_equal(tree["spectrum"]["counts"], np.sum(spectra, axis=0))
    peak = tree["spectrum"]["energy"][400 + np.argmax(tree["spectrum"]["counts"][400:])]
    assert peak == pytest.approx(6.40, abs=0.05)  # the K alpha line of iron
    assert tree["latest_fit"]["seq_num"] == 28
    np.testing.assert_allclose(tree["latest_fit"]["fit"].sum(), tree["latest_fit"]["spectrum"].sum(), rtol=0.02)
    curve = maps.curve(3)
    np.testing.assert_array_equal(curve.spectrum, spectra[2][150:1151])
    with pytest.raises(LookupError, match="no spectrum of event 1000"):
        maps.curve(1000)
    feed(fit, scan[-3:])
    with h5py.File(files.artifacts[0]) as file:
        np.testing.assert_array_equal(file["entry/map/massfractions/Fe K/values"][:28], iron["values"])
        assert file["entry/grid/parameters/Zn K/values"].shape == (5, 6)
        assert file["entry/process/parameters/data_key"].asstr()[()] == KEY


def test_points_on_no_grid_are_mapped_too(beam):
    rng = np.random.default_rng(2)
    ys, xs = (rng.uniform(-0.1, 0.1, 30).tolist() for _ in range(2))
    docs = documents_of(list_scan([beam.detector], beam.y, ys, beam.x, xs))
    tree = mapped(beam.sample.cfg, docs).publish().tree
    iron = tree["map"]["massfractions"]["Fe K"]
    np.testing.assert_allclose(iron["x"], xs)
    np.testing.assert_allclose(iron["y"], ys)
    assert tree["regridded"]["massfractions"]["Fe K"]["values"].ndim == 2
    without_motors = mapped(beam.sample.cfg, documents_of(count([beam.detector], 3))).publish().tree
    assert without_motors["map"]["parameters"]["Fe K"]["x"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(("option", "dead"), [("live_time", 0.0), ("dead_time", 100.0), ("correction", np.nan)])
def test_an_element_that_is_left_out_may_be_dead(beam, option, dead):
    spectra = np.ones((4, 1200), np.uint32)
    spectra[2] = 0
    fit = FluorescenceFit(KEY, beam.sample.cfg, elements=(0, 1, 3), **{option: "reading"})
    made = fit.kernel({KEY: spectra, "reading": [1.0, 1.0, dead, 1.0]}, 1)
    assert made[KEY].sum() > 3500


@pytest.mark.parametrize("sums", ["before", "after"])
def test_frames_of_an_event_are_added_element_by_element(beam, sums):
    spectra = np.random.default_rng(0).poisson(beam.sample.expected(0.0, 0.0), (5, 4, 1200)).astype(np.uint32)
    live = np.random.default_rng(1).uniform(0.5, 1.0, (5, 4))
    fit = FluorescenceFit(KEY, beam.sample.cfg, sums=sums, elements=(0, 1, 3), live_time="live")
    frames = fit.kernel({KEY: spectra, "live": live}, 1)
    added = fit.kernel({KEY: spectra.sum(axis=0, dtype=np.uint32), "live": live.sum(axis=0)}, 1)
    assert frames.keys() == added.keys()
    for name, value in added.items():
        np.testing.assert_allclose(frames[name], value, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("changes", "options", "said"),
    [
        ({KEY: np.ones((4, 300), np.uint32)}, {}, "300 channels are no spectrum"),
        ({KEY: np.full((4, 1200), "x")}, {}, "not numeric"),
        (
            {"xspress3_dead_time": np.array([1.0, 100.0, 1.0, 1.0])},
            {"dead_time": "xspress3_dead_time"},
            "less than 100 %",
        ),
        ({"xspress3_live_time": np.zeros(4)}, {"live_time": "xspress3_live_time"}, "a live time is above 0"),
        ({"xspress3_live_time": np.ones(3)}, {"live_time": "xspress3_live_time"}, "3 values for 4 elements"),
        ({"xspress3_live_time": "x"}, {"live_time": "xspress3_live_time"}, "xspress3_live_time is no number: 'x'"),
        ({}, {"elements": (0, 7)}, "4 elements and none of number 7"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, str) else "",
)
def test_what_is_wrong_with_an_event_is_said_in_a_line_and_the_run_goes_on(beam, scan, changes, options, said, caplog):
    docs = [
        (name, {**doc, "data": {**doc["data"], **changes}} if name == "event" and doc["seq_num"] == 3 else doc)
        for name, doc in scan
    ]
    fit = FluorescenceFit(KEY, beam.sample.cfg, **options)
    sink = Collector()
    fit.subscribe(sink)
    feed(fit, docs)
    failed = sink.stop["failed"]["primary"]
    assert failed == [3] if changes else len(failed) == 30
    (line,) = [one.getMessage() for one in caplog.records if "failed on run" in one.getMessage()]
    assert said in line
    assert "\n" not in line


def test_channels_that_are_no_measurement_are_counted(beam, scan, caplog):
    spectra = {doc["seq_num"]: doc["data"][KEY].astype(float) for name, doc in scan if name == "event"}
    spectra[2][1, [600, 601]] = np.nan
    spectra[2][0, 10] = np.inf  # which is not fitted
    docs = [
        (name, {**doc, "data": {**doc["data"], KEY: spectra[doc["seq_num"]]}} if name == "event" else doc)
        for name, doc in scan
    ]
    fit = FluorescenceFit(KEY, beam.sample.cfg)
    sink = Collector()
    fit.subscribe(sink)
    feed(fit, docs)
    counts = [doc["data"][f"{KEY}_n_bad"] for doc in sink.named("event") if f"{KEY}_n_bad" in doc["data"]]
    assert counts == [0, 2] + [0] * 28
    assert "leaves out 2 channels" in caplog.text
    areas = [doc["data"][f"{KEY}_areas"] for doc in sink.named("event") if f"{KEY}_areas" in doc["data"]]
    assert np.isfinite(areas).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cfg": b""}, r"no section \[fit\]"),
        ({"cfg": "nowhere.cfg"}, "cfg='nowhere.cfg' can't be read"),
        ({"sums": "never"}, "sums='never'"),
        ({"elements": ()}, r"elements=\(\)"),
        ({"elements": (0, 0)}, "each once"),
        ({"live_time": "a", "dead_time": "b"}, "give one of them"),
        ({"monitor_reference": 0}, "monitor_reference=0"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(beam, options, said):
    with pytest.raises(ValueError, match=said):
        FluorescenceFit(KEY, **{"cfg": beam.sample.cfg, **options})
