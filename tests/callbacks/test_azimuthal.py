"""From a scan to diffractograms and maps of strain, while it runs and in a file; and what bad input costs."""

import logging
import pickle
import shutil
import weakref

import h5py
import numpy as np
import pytest
import silx.io
from bluesky import RunEngine
from bluesky.plans import grid_scan
from cases import KEY, PONI, SHAPE, collect, content, raw_run, run_through
from nexusformat.nexus.validate import logger, validate_application
from runs import feed
from silx.io import nxdata

from bluesky_ext import AzimuthalIntegrator, Diffractograms, ImageProcessor, compose
from bluesky_ext.live import ProcessedFiles
from bluesky_ext.sim import powder_beamline
from bluesky_ext.spectra.azimuthal import integrator

IMAGE = "dexela_image"


@pytest.fixture(scope="module")
def beamline():
    return powder_beamline(shape=(200, 200), acquire_time=2.0)


def scanned(beamline, stage, shape=(4, 5)):
    """Have a stage see a grid scan; the documents of the scan."""
    docs = []
    RE = RunEngine({})
    RE.subscribe(stage)
    plan = grid_scan([beamline.detector], beamline.y, -1, 1, shape[0], beamline.x, -1, 1, shape[1])
    RE(plan, lambda name, doc: docs.append((name, doc)))
    return docs


@pytest.mark.parametrize("sectors", [None, 2])
def test_a_scan_of_a_powder_gives_its_strain_and_a_file(beamline, sectors, tmp_path):
    rings = dict(zip(("111", "220"), beamline.powder.rings(9, 0), strict=False))
    ai = AzimuthalIntegrator(IMAGE, beamline.powder.poni, 400, sectors=sectors, error_model="poisson")
    dg = Diffractograms(IMAGE, {name: (q - 1.5, q + 1.5) for name, q in rings.items()})
    ai.subscribe(dg)
    files = ProcessedFiles(dg, tmp_path)
    scanned(beamline, ai)
    y, x = np.meshgrid(dg.dataset["sample_y"], dg.dataset["sample_x"], indexing="ij")
    assert dg.dataset["position"].dims == ("roi", "sample_y", "sample_x")
    for name, q in rings.items():
        for roi in [name] if sectors is None else [f"{name}_0", f"{name}_1"]:
            strain = q / dg.dataset["position"].sel(roi=roi) - 1
            np.testing.assert_allclose(strain, beamline.powder.strain(y, x), atol=2e-4)
    kind = "NXazint1d" if sectors is None else "NXazint2d"
    (path,) = files.artifacts
    logger.setLevel(logging.CRITICAL)
    copied = shutil.copy(path, tmp_path / "copy.nxs")
    assert validate_application(str(copied), path="/entry", application=kind)[:2] == (0, 0)
    with silx.io.open(str(path)) as file:
        plot = nxdata.get_default(file)
        assert (plot.signal.name, plot.axes[-1].name) == ("/entry/data/I", "/entry/data/radial_axis")
    with h5py.File(path) as file:
        entry = file["entry"]
        assert entry["definition"].asstr()[()] == kind
        assert entry["process/status"].asstr()[()] == "success"
        assert entry["reduction/input/poni"].asstr()[()].encode() == beamline.powder.poni
        assert len(entry["reduction/input/poni_sha256"].asstr()[()]) == 64
        shape = (20, 400) if sectors is None else (20, 2, 400)
        assert entry["data/I"].shape == entry["data/I_errors"].shape == shape
        np.testing.assert_array_equal(entry["data/frame"], np.arange(1, 21))
        expected = ai.integrator.integrate(beamline.powder.frame(-1, -1, 0 if sectors is None else 20, acquire_time=2))
        np.testing.assert_array_equal(entry["data/I"][0], expected.intensity)


def test_what_is_published_grows_and_what_was_published_does_not(beamline):
    ai, dg = AzimuthalIntegrator(IMAGE, beamline.powder.poni, 50), Diffractograms(IMAGE)
    ai.subscribe(dg)
    seen = []
    dg.subscribe(lambda name, doc: None)
    ai.subscribe(lambda name, doc: seen.append(dg.publish().tree), "event")
    scanned(beamline, ai, (2, 3))
    assert [tree["data"]["I"].shape for tree in seen] == [(number, 50) for number in range(1, 7)]
    assert np.shares_memory(seen[0]["data"]["I"], seen[1]["data"]["I"])  # snapshots cost nothing
    maps = [tree["grid"]["intensity"]["all"]["values"] for tree in seen]
    assert [np.count_nonzero(np.isfinite(one)) for one in maps] == [1, 2, 3, 4, 5, 6]


def test_an_integrator_behind_a_dark_in_one_task_and_a_stack_that_is_full(beamline, caplog):
    ai = AzimuthalIntegrator(KEY, PONI, 30, monitor="counts")
    maps = compose(ImageProcessor(KEY, "dark"), ai)
    dg = Diffractograms(KEY, max_bytes=4 * 30 * 4)
    maps.subscribe(dg)
    sink = collect(maps)
    feed(maps, raw_run())
    events = content(sink)["events"]["primary"]
    image = ai.integrator.integrate(
        content(run_through(ImageProcessor(KEY, "dark"), raw_run()))["events"]["primary"][3][KEY]
    )
    np.testing.assert_allclose(events[3][f"{KEY}_intensity"], image.intensity / 3, rtol=1e-6)
    assert "failed" not in sink.stop
    tree = dg.publish().tree
    assert (tree["data"]["I"].shape, tree["n_left_out_of_data"]) == ((4, 30), 2)
    assert np.isfinite(tree["map"]["intensity"]["all"]["values"]).all()
    assert caplog.text.count("is full (max_bytes=480): diffractograms from event 5 on are left out of it") == 1


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("keys", [(KEY, f"saxs_{KEY}"), (f"saxs_{KEY}", KEY)])
def test_each_of_two_integrators_has_its_own_axis_though_a_key_ends_with_the_other(keys, together):
    docs = raw_run(dark=False)
    for name, doc in docs:
        if name == "descriptor":
            doc["data_keys"][f"saxs_{KEY}"] = doc["data_keys"][KEY]
            doc["object_keys"]["det"].append(f"saxs_{KEY}")
        elif name == "event":
            for part in ("data", "timestamps"):
                doc[part][f"saxs_{KEY}"] = doc[part][KEY]
    ai = {key: AzimuthalIntegrator(key, PONI, number) for number, key in enumerate(keys, 30)}
    first, last = ai.values()
    if together:
        first = last = compose(first, last)
    else:
        first.subscribe(last)
    dgs = [Diffractograms(key) for key in keys]
    for dg in dgs:
        last.subscribe(dg)
    feed(first, docs)
    for key, dg in zip(keys, dgs, strict=True):
        np.testing.assert_array_equal(dg.publish().tree["data"]["radial_axis"], ai[key].integrator.radial)


def test_what_the_stack_is_not_told_is_said(caplog):
    dg = Diffractograms(KEY)
    docs = list(run_through(AzimuthalIntegrator(KEY, PONI, 30), raw_run()))
    bare = [(name, {**doc, "configuration": {}} if name == "descriptor" else doc) for name, doc in docs]
    assert run_through(dg, bare).stop["failed_counts"] == {"primary": 6}
    assert caplog.text.count("no radial axis of 'det_image': subscribe to an AzimuthalIntegrator") == 1
    assert run_through(Diffractograms(KEY, {"far": (900, 1000)}), docs).stop["failed_counts"] == {"primary": 6}
    assert caplog.text.count("the region from 900 to 1000 has no bins") == 1
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"poni": b"Distance: 1"}, "the .poni has no line 'Poni1'"),
        ({"poni": "nowhere.poni"}, "nowhere.poni"),
        ({"poni": 3}, "poni=3: give the path of a .poni file, or its bytes"),
        ({"mask": np.ones((3, 3), bool)}, r"the mask has shape \(3, 3\), the image \(64, 64\)"),
        ({"unit": "q"}, "unit='q': give one of"),
        ({"errormodel": "poisson"}, "no keyword errormodel='poisson': did you mean 'error_model'"),
    ],
)
def test_mistakes_are_said_when_the_stage_is_made(given, message):
    with pytest.raises((ValueError, TypeError, OSError), match=message):
        AzimuthalIntegrator(KEY, **{"poni": PONI, "n_bins": 30, **given})


@pytest.mark.parametrize(
    ("rois", "message"),
    [
        ({}, "give ranges by name"),
        ({"a/b": (1, 2)}, "a region is called 'a/b': give text without '/'"),
        ({"a": (2, 1)}, r"the region 'a' is \(2, 1\): give two numbers"),
    ],
)
def test_regions_that_make_no_sense_are_refused(rois, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Diffractograms(KEY, rois)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (0, "the monitor 'counts' is 0: intensities can't be divided by it"),
        ("many", "the monitor 'counts' is 'many': intensities"),
        ([1.0, 2.0], "the monitor 'counts' is [1.0, 2.0]: intensities can't be divided by it"),
    ],
)
def test_a_monitor_that_is_none_costs_its_event(counts, message, caplog):
    docs = raw_run(dark=False)
    docs[4][1]["data"]["counts"] = counts
    sink = run_through(AzimuthalIntegrator(KEY, PONI, 30, monitor="counts"), docs)
    assert sink.stop["failed"] == {"primary": [3]}
    assert message in caplog.text


def test_kernels_in_a_worker_hold_their_integrators_however_many():
    kernels = [pickle.loads(pickle.dumps(AzimuthalIntegrator(KEY, PONI, n).kernel)) for n in range(30, 38)]
    image = {KEY: np.ones(SHAPE, np.uint16)}
    for kernel in kernels:
        kernel(image, 1)
    held = [weakref.ref(integrator(kernel.poni, kernel.settings)) for kernel in kernels]
    assert all(one() is not None for one in held)
    assert len(pickle.dumps(kernels[0])) < 2000


def test_images_of_another_shape_cost_their_events(caplog):
    small = np.ones((2, SHAPE[0] // 2, SHAPE[1]), np.uint16)
    docs = raw_run(dark=False, image=lambda number: small if number == 2 else np.ones((2, *SHAPE), np.uint16))
    sink = run_through(AzimuthalIntegrator(KEY, PONI, 30), docs)
    assert sink.stop["failed"] == {"primary": [2]}
    assert "the image has shape (2, 32, 64), and the .poni is of a detector of 64 x 64 pixels" in caplog.text
