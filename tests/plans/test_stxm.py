"""The plans of an STXM on a real RunEngine."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.plan_stubs import null, one_nd_step, trigger_and_read
from bluesky.plans import count
from bluesky.simulators import RunEngineSimulator
from bluesky.utils import FailedStatus, RunEngineInterrupted
from ophyd.sim import det as unknowing
from ophyd.status import DeviceStatus

import bluesky_ext.stxm as plans
from bluesky_ext.plots import reshape
from bluesky_ext.stxm import Axis, Endstation, make_standard_metadata
from bluesky_ext.stxm.sim import STXM, PointCounter, stxm
from suitcase_nxstxm import scan_types

# Rows, columns.
NY, NX = 2, 3
IMAGE = (-1.0, 1.0, NY, -2.0, 2.0, NX)
WIDE = (-100.0, 100.0, NY, -200.0, 200.0, NX)
ENERGIES = [280.0, 285.2, 290.0]
POSITIONS = [(0.5, 1.5), (-1.0, 2.0)]

# For each type of scan: the plan, what it is told, how many runs and how many events in each.
SCANS: dict[scan_types, tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], int, int]] = {
    scan_types.DETECTOR_IMAGE: (plans.detector_image, WIDE, {}, 1, 6),
    scan_types.OSA_IMAGE: (plans.osa_image, WIDE, {}, 1, 6),
    scan_types.OSA_FOCUS: (plans.osa_focus, (-1700.0, -1690.0, 2, -50.0, 50.0, -20.0, 20.0, 3), {}, 1, 6),
    scan_types.SAMPLE_FOCUS: (plans.sample_focus, (-1450.0, -1430.0, 2, -1.0, 1.0, 0.0, 2.0, 3), {}, 1, 6),
    scan_types.SAMPLE_POINT_SPECTRA: (plans.sample_point_spectra, (POSITIONS, ENERGIES), {}, 1, 6),
    scan_types.SAMPLE_LINE_SPECTRA: (plans.sample_line_spectra, (0.0, 1.0, 0.0, 2.0, 4, ENERGIES), {}, 1, 12),
    scan_types.SAMPLE_IMAGE: (plans.sample_image, IMAGE, {}, 1, 6),
    scan_types.SAMPLE_IMAGE_STACK: (plans.sample_image_stack, ([IMAGE], ENERGIES), {"polarizations": [2, 3]}, 6, 6),
    scan_types.COARSE_IMAGE_SCAN: (plans.coarse_image_scan, WIDE, {}, 1, 6),
    scan_types.COARSE_GONI_SCAN: (plans.coarse_goni_scan, WIDE, {}, 1, 6),
    scan_types.TOMOGRAPHY_SCAN: (plans.tomography_scan, (IMAGE, [280.0, 285.2], [-30.0, 0.0, 30.0]), {}, 6, 6),
    scan_types.PATTERN_GEN_SCAN: (plans.pattern_gen_scan, (-1.0, 1.0, -2.0, 2.0, [[1, 2, 3], [4, 5, 6]]), {}, 1, 6),
    scan_types.PTYCHOGRAPHY_SCAN: (plans.ptychography_scan, ((-0.1, 0.1, 2, -0.1, 0.1, 3), [280.0, 285.2]), {}, 2, 6),
}
STACKS = {"sample_image_stack", "tomography_scan", "ptychography_scan"}
KINDS = [*SCANS, scan_types.GENERIC_SCAN]
IMAGES = {scan_types.DETECTOR_IMAGE, scan_types.OSA_IMAGE, scan_types.COARSE_IMAGE_SCAN, scan_types.COARSE_GONI_SCAN}
ALL, DIFFERENT = (
    pytest.mark.parametrize("kind", kinds, ids=lambda kind: kind.name.lower())
    for kinds in (KINDS, [kind for kind in KINDS if kind not in IMAGES])  # the images differ in their axes alone
)


@pytest.fixture
def s() -> STXM:
    return stxm(seed=3)


@pytest.fixture
def station(s: STXM) -> Endstation:
    return Endstation(s.devices, s.shutter, zp_def=s.zp_def)


@pytest.fixture
def make(s: STXM, station: Endstation) -> Callable[..., Any]:
    """Give the plan of a type of scan."""

    def make(kind: scan_types, **options: Any) -> Any:
        if kind is scan_types.GENERIC_SCAN:
            return plans.generic_scan(
                [s.counter], station, s.sample_y, 0, 1, 2, s.zoneplate_z, -1450, -1440, 3, **options
            )
        plan, args, more, *_ = SCANS[kind]
        detectors = [s.ccd, s.counter] if kind is scan_types.PTYCHOGRAPHY_SCAN else [s.counter, s.diode]
        return plan(detectors, station, *args, **{**more, **options})

    return make


def plan_name(kind: scan_types) -> str:
    """The plan of a type of scan."""
    return "generic_scan" if kind is scan_types.GENERIC_SCAN else SCANS[kind][0].__name__


def numbers(kind: scan_types) -> tuple[int, int]:
    """Runs, and events in each of them."""
    return (1, 6) if kind is scan_types.GENERIC_SCAN else SCANS[kind][3:]


def positions(s: STXM) -> dict[str, float]:
    return {name: device.user_setpoint.get() for name, device in s.devices.items() if hasattr(device, "user_setpoint")}


def told(start: dict[str, Any]) -> dict[str, Any]:
    """The metadata of a start document with the JSON in it read."""
    metadata = json.loads(start["metadata"])
    return {**metadata, "wdg_com": json.loads(metadata["wdg_com"]), "img_idx_map": json.loads(metadata["img_idx_map"])}


@ALL
def test_every_scan_leaves_documents_that_say_all(run_engine: RunEngine, s, station, make, documents, kind):
    before = positions(s)
    seen = []
    run_engine.subscribe(lambda name, doc: seen.append(s.shutter.is_open), "event")
    uids = run_engine(make(kind), documents)
    documents.validate()
    runs, events = numbers(kind)
    assert list(uids) == [start["uid"] for start in documents.of("start")]
    assert len(uids) == runs
    assert [stop["num_events"]["primary"] for stop in documents.of("stop")] == [events] * runs
    assert {stop["exit_status"] for stop in documents.of("stop")} == {"success"}
    for start in documents.of("start"):
        metadata = told(start)
        assert metadata["scan_type"] == kind
        assert start["plan_name"] == plan_name(kind)
        assert metadata["primary_det"] == start["detectors"]
        assert metadata["default_det"] == start["detectors"][0]
        assert metadata["rev_lu_dct"]["ENERGY"] == "energy"
        assert metadata["zp_def"] == s.zp_def
        assert start["num_points"] == events
        # LiveGrid relies on it.
        assert np.prod(start.get("shape", [events])) == events
        # What BestEffortCallback looks up is there.
        fields = {name for names, _ in start["hints"]["dimensions"] for name in names}
        keys = {key for doc in documents.of("descriptor") for key in doc["data_keys"]}
        assert fields <= keys
    # Setpoint and readback of all that moves, and the ring, at each event.
    for event in documents.events():
        data = event["data"]
        assert data["ring_current_val"] > 219
        for motor in documents.of("start")[0]["motors"]:
            assert 0 <= abs(data[motor] - data[f"{motor}_user_setpoint"]) < 1
    # Before and after, the baseline of all devices.
    baseline = documents.events("baseline")
    assert len(baseline) == 2 * len({told(start)["entry_name"] for start in documents.of("start")})
    assert {"goni_theta", "epu_polarization", "energy", "zoneplate_z", "detector_x"} <= set(baseline[0]["data"])
    # All is as it was: the shutter was open for the scan and is closed.
    assert any(seen)
    assert not s.shutter.is_open
    assert positions(s) == pytest.approx(before)


def grid(spans: dict[str, Any], axis: str) -> list[float]:
    return spans[axis]["SETPOINTS"]


@pytest.mark.parametrize(
    ("kind", "y", "x"),
    [
        (scan_types.DETECTOR_IMAGE, "detector_y", "detector_x"),
        (scan_types.OSA_IMAGE, "osa_y", "osa_x"),
        (scan_types.SAMPLE_IMAGE, "sample_y", "sample_x"),
        (scan_types.COARSE_IMAGE_SCAN, "coarse_y", "coarse_x"),
        (scan_types.COARSE_GONI_SCAN, "goni_y", "goni_x"),
        (scan_types.PATTERN_GEN_SCAN, "sample_y", "sample_x"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_an_image_goes_row_by_row(run_engine: RunEngine, s, make, documents, kind, y, x):
    run_engine(make(kind), documents)
    rois = told(documents.start)["rois"]["0"]
    assert (rois["Y"]["SRC"], rois["X"]["SRC"]) == (y, x)
    at = list(zip(documents.data(f"{y}_user_setpoint"), documents.data(f"{x}_user_setpoint"), strict=True))
    assert at == list(itertools.product(grid(rois, "Y"), grid(rois, "X")))
    assert rois["Y"]["POSITIONER"] in s.devices
    assert s.devices[rois["X"]["POSITIONER"]].name == x


def test_a_snaked_image_goes_back_and_forth(run_engine: RunEngine, make, documents):
    run_engine(make(scan_types.SAMPLE_IMAGE, snake=True), documents)
    xs = np.reshape(documents.data("sample_x_user_setpoint"), (NY, NX))
    forwards = np.linspace(-2, 2, NX)
    np.testing.assert_array_equal(xs, [forwards, forwards[::-1]])
    assert documents.start["snaking"] == [False, True]


def test_an_image_shows_the_sample(run_engine: RunEngine, s, station, documents):
    particle = s.microscope.sample.particles[0]
    args = (particle.y - 2, particle.y + 2, 7, particle.x - 2, particle.x + 2, 7)
    run_engine(plans.sample_image([s.counter], station, *args, energy=285.2, dwell=100.0), documents)
    counts = np.reshape(documents.data("counter0_single_value_rbv"), (7, 7))
    y, x = np.meshgrid(np.linspace(*args[:3]), np.linspace(*args[3:]), indexing="ij")
    through = s.microscope.sample.transmission(y, x, 285.2, 0.0)
    assert np.corrcoef(counts.ravel(), through.ravel())[0, 1] > 0.99
    assert told(documents.start)["wdg_com"]["SINGLE_LST"] == {
        **told(documents.start)["wdg_com"]["SINGLE_LST"],
        "EV_ROIS": [285.2],
        "DWELL": [100.0],
    }
    # What the plan was told to set stays set.
    assert s.counter.dwell.get() == 100
    assert s.energy.user_setpoint.get() == 285.2


def test_an_image_line_by_line_is_the_image_point_by_point(run_engine: RunEngine, s, station, documents):
    before = s.sample_x.where
    run_engine(plans.sample_image([s.line], station, *IMAGE, dwell=2.0), documents)
    documents.validate()
    assert [len(row) for row in documents.data("line0_waveform_rbv")] == [NX] * NY
    assert documents.data("sample_y_user_setpoint") == [-1, 1]
    assert documents.start["shape"] == [NY]
    (descriptor,) = [doc for doc in documents.of("descriptor") if doc["name"] == "primary"]
    assert descriptor["data_keys"]["line0_waveform_rbv"]["shape"] == [NX]
    assert descriptor["configuration"]["line0"]["data"]["line0_line_start"] == -2
    assert told(documents.start)["rois"]["0"]["X"]["SETPOINTS"] == np.linspace(-2, 2, NX).tolist()
    rates = [s.microscope.rate(s.conditions())] * NX
    for row in documents.data("line0_waveform_rbv"):
        np.testing.assert_allclose(row, np.multiply(rates, 2e-3), rtol=0.9)
    assert s.sample_x.where == before


def test_a_focus_scan_finds_the_focus(run_engine: RunEngine, s, station, documents):
    particle, focus = s.microscope.sample.particles[0], s.microscope.focus(285.2)
    z = (focus - 9, focus + 9, 7)
    border = (particle.y, particle.y, particle.x + particle.radius - 0.4, particle.x + particle.radius + 0.4, 17)
    s.goni_theta.set(0).wait()
    run_engine(plans.sample_focus([s.counter], station, *z, *border, energy=285.2, dwell=1000.0), documents)
    lines = np.reshape(documents.data("counter0_single_value_rbv"), (7, 17))
    at = np.reshape(documents.data("zoneplate_z"), (7, 17))[:, 0]
    sharpness = (np.diff(lines, axis=1) ** 2).sum(axis=1)
    assert at[int(np.argmax(sharpness))] == pytest.approx(focus, abs=1.6)
    rois = told(documents.start)["rois"]["0"]
    assert rois["ZP"]["Z"]["SETPOINTS"] == np.linspace(*z).tolist()
    assert rois["ZP"]["Z"]["SRC"] == "zoneplate_z"


def test_the_focus_on_the_aperture_is_upstream_of_that_on_the_sample(run_engine: RunEngine, s, station, documents):
    y, x = s.microscope.osa_centre
    focus = s.microscope.osa_focus(285.2)
    args = (focus - 60, focus + 60, 5, y, y, x + 20, x + 60, 21)
    run_engine(plans.osa_focus([s.counter], station, *args, dwell=1000.0), documents)
    lines = np.reshape(documents.data("counter0_single_value_rbv"), (5, 21))
    assert int(np.argmax(np.abs(np.diff(lines, axis=1)).max(axis=1))) == 2
    # The sample is in focus again: the aperture is 250 um upstream of it.
    assert s.zoneplate_z.where - focus == pytest.approx(250 + s.microscope.focus_offset, abs=0.05)


def test_point_spectra_interleave_the_points(run_engine: RunEngine, s, make, documents):
    run_engine(make(scan_types.SAMPLE_POINT_SPECTRA, dwell=1000.0), documents)
    assert documents.data("energy_user_setpoint") == [280, 280, 285.2, 285.2, 290, 290]
    places = zip(documents.data("sample_y_user_setpoint"), documents.data("sample_x_user_setpoint"), strict=True)
    assert list(places) == POSITIONS * 3
    regions = told(documents.start)["wdg_com"]["SINGLE_LST"]["SP_ROIS"]
    assert [(roi["Y"]["SETPOINTS"], roi["X"]["SETPOINTS"]) for roi in regions] == [([y], [x]) for y, x in POSITIONS]
    assert told(documents.start)["sp_id_lst"] == [0, 1]
    # The zone plate followed the energy: the spot was sharp at each.
    spectrum = np.array(documents.data("counter0_single_value_rbv"))[1::2]
    y, x = POSITIONS[1]
    through = [float(s.microscope.sample.transmission(y, x, energy, 0.0)) for energy in ENERGIES]
    np.testing.assert_allclose(spectrum / spectrum[0], np.divide(through, through[0]), rtol=0.02)


def test_line_spectra_measure_the_line_at_each_energy(run_engine: RunEngine, make, documents):
    run_engine(make(scan_types.SAMPLE_LINE_SPECTRA), documents)
    assert documents.data("energy_user_setpoint") == np.repeat(ENERGIES, 4).tolist()
    assert documents.data("sample_x_user_setpoint") == np.tile(np.linspace(0, 2, 4), 3).tolist()
    assert documents.data("sample_y_user_setpoint") == np.tile(np.linspace(0, 1, 4), 3).tolist()
    assert told(documents.start)["wdg_com"]["SINGLE_LST"]["EV_ROIS"] == ENERGIES


def test_a_stack_is_a_run_for_each_image(run_engine: RunEngine, s, station, documents):
    regions = [IMAGE, (0, 1, 2, 0, 1, 2)]
    plan = plans.sample_image_stack([s.counter], station, regions, ENERGIES[:2], polarizations=[2, (5, 0.5, 45.0)])
    run_engine(plan, documents)
    documents.validate()
    indices = [told(start)["img_idx_map"] for start in documents.of("start")]
    assert [(i["pol_idx"], i["e_idx"], i["sp_idx"], i["sp_id"], i["entry"]) for i in indices] == [
        (pol, e, sp, sp, f"entry{2 * pol + sp}") for pol in (0, 1) for e in (0, 1) for sp in (0, 1)
    ]
    assert all("rotation_angle" not in index for index in indices)
    # One baseline for each entry: in the first of its runs.
    run_of = {doc["uid"]: doc["run_start"] for doc in documents.of("descriptor") if doc["name"] == "baseline"}
    starts = [start["uid"] for start in documents.of("start")]
    assert sorted(starts.index(uid) for uid in run_of.values()) == [0, 1, 4, 5]
    streams = {doc["uid"]: doc["run_start"] for doc in documents.of("descriptor") if doc["name"] == "primary"}
    for event in documents.events():
        index = indices[starts.index(streams[event["descriptor"]])]
        assert event["data"]["energy_user_setpoint"] == ENERGIES[index["e_idx"]]
        assert event["data"]["epu_polarization"] == (2, 5)[index["pol_idx"]]
        assert event["data"]["epu_angle"] == (0, 45)[index["pol_idx"]]
    single = told(documents.of("start")[0])["wdg_com"]["SINGLE_LST"]
    assert single["EV_ROIS"] == ENERGIES[:2]
    assert [(roi["POL"], roi["OFF"], roi["ANGLE"]) for roi in single["POL_ROIS"]] == [(2, 0, 0), (5, 0.5, 45)]
    assert len(single["SP_ROIS"]) == 2


def test_a_stack_in_one_run_has_the_same_events(run_engine: RunEngine, make, documents):
    run_engine(make(scan_types.SAMPLE_IMAGE_STACK, single_run=True), documents)
    documents.validate()
    index = told(documents.start)["img_idx_map"]
    assert [index[str(number)]["e_idx"] for number in range(6)] == [0, 1, 2, 0, 1, 2]
    assert [index[str(number)]["entry"] for number in range(6)] == ["entry0"] * 3 + ["entry1"] * 3
    assert documents.stop["num_events"] == {"baseline": 2, "primary": 6 * NY * NX}
    assert documents.start["num_points"] == 6 * NY * NX
    assert documents.start["shape"] == [2, 3, NY, NX]
    assert documents.data("energy_user_setpoint") == np.tile(np.repeat(ENERGIES, NY * NX), 2).tolist()


def test_a_stack_of_several_regions_in_one_run_has_the_points_of_all(run_engine: RunEngine, s, station, documents):
    regions = [IMAGE, (0, 1, NY, 0, 1, NX)]
    run_engine(plans.sample_image_stack([s.counter], station, regions, [280.0, 285.2], single_run=True), documents)
    indices = told(documents.start)["img_idx_map"].values()
    assert [(index["e_idx"], index["sp_id"], index["entry"]) for index in indices] == [
        (e, sp, f"entry{sp}") for e in (0, 1) for sp in (0, 1)
    ]
    assert documents.start["shape"] == [2, 2 * NY * NX]
    places = zip(documents.data("sample_y_user_setpoint"), documents.data("sample_x_user_setpoint"), strict=True)
    axes = [(np.linspace(y0, y1, ny), np.linspace(x0, x1, nx)) for y0, y1, ny, x0, x1, nx in regions]
    expected = [place for y, x in axes for place in itertools.product(y, x)]
    assert list(places) == expected * 2


def test_tomography_turns_the_sample(run_engine: RunEngine, make, documents):
    run_engine(make(scan_types.TOMOGRAPHY_SCAN), documents)
    indices = [told(start)["img_idx_map"] for start in documents.of("start")]
    assert [(i["entry"], i["rotation_angle"], i["e_idx"]) for i in indices] == [
        (f"entry{turn}", angle, e) for turn, angle in enumerate((-30.0, 0.0, 30.0)) for e in (0, 1)
    ]
    assert documents.events()[0]["data"]["goni_theta_user_setpoint"] == -30
    rois = told(documents.of("start")[0])["rois"]["0"]
    assert rois["GONI"]["T"]["SETPOINTS"] == [-30, 0, 30]
    # The baseline of each entry has its angle.
    assert [event["data"]["goni_theta_user_setpoint"] for event in documents.events("baseline")] == [
        -30,
        -30,
        0,
        0,
        30,
        30,
    ]


def test_a_pattern_exposes_each_point_for_its_time(run_engine: RunEngine, s, make, documents):
    run_engine(make(scan_types.PATTERN_GEN_SCAN), documents)
    assert documents.data("counter0_dwell") == documents.data("pmt_dwell") == [1, 2, 3, 4, 5, 6]
    places = zip(documents.data("sample_y"), documents.data("sample_x"), strict=True)
    through = [float(s.microscope.sample.transmission(y, x, s.energy.where, 0.0)) for y, x in places]
    expected = 2e3 * np.multiply(through, [1, 2, 3, 4, 5, 6])
    counts = np.array(documents.data("counter0_single_value_rbv"))
    np.testing.assert_allclose(counts, expected, atol=6 * np.sqrt(expected.max()))
    assert told(documents.start)["dwell"] is None


def test_ptychography_takes_frames(run_engine: RunEngine, s, make, documents):
    run_engine(make(scan_types.PTYCHOGRAPHY_SCAN, dwell=50.0), documents)
    frames = [event["data"]["ccd_image"] for event in documents.events()]
    assert {frame.shape for frame in frames} == {(64, 64)}
    for event, frame in zip(documents.events(), frames, strict=True):
        assert event["data"]["ccd_stats_total"] == frame.sum()
    assert told(documents.of("start")[0])["default_det"] == "ccd"
    assert s.ccd.dwell.get() == 50


def test_a_generic_scan_scans_what_it_is_given(run_engine: RunEngine, s, station, documents):
    run_engine(plans.generic_scan(s.counter, station, s.energy, 280, 290, 5), documents)
    metadata = told(documents.start)
    assert metadata["rois"]["0"]["X"]["POSITIONER"] == "ENERGY"
    assert metadata["wdg_com"]["SINGLE_LST"]["EV_ROIS"] == [280, 282.5, 285, 287.5, 290]
    assert documents.start["shape"] == [5]
    args = (s.zoneplate_z, -1450, -1440, 2, s.sample_y, 0, 1, 2, s.sample_x, 0, 3, 4)
    run_engine(plans.generic_scan(s.counter, station, *args, snake=True), documents)
    start = documents.of("start")[1]
    rois = told(start)["rois"]["0"]
    assert [rois[axis]["SRC"] for axis in "ZYX"] == ["zoneplate_z", "sample_y", "sample_x"]
    assert start["shape"] == [2, 2, 4]
    assert start["snaking"] == [False, True, True]


def test_a_sparse_endstation_is_enough(run_engine: RunEngine, s, documents):
    """What is not there is not made up."""
    station = Endstation({name: s.devices[name] for name in ("SampleFineY", "SampleFineX")})
    run_engine(plans.sample_image([s.counter], station, *IMAGE), documents)
    metadata = told(documents.start)
    assert metadata["wdg_com"]["SINGLE_LST"]["EV_ROIS"] == []
    assert metadata["wdg_com"]["SINGLE_LST"]["POL_ROIS"] == []
    assert metadata["zp_def"] == {}
    assert s.shutter.is_open


def test_md_is_added_and_nothing_of_the_callers_is_changed(run_engine: RunEngine, s, station, documents):
    md = {"sample": "soot", "hints": {"extra": 1}, "plan_name": "mine"}
    regions, energies, detectors = [list(IMAGE)], [280.0], [s.counter]
    kept = copy.deepcopy((md, regions, energies))
    run_engine(plans.sample_image_stack(detectors, station, regions, energies, md=md), documents)
    assert (md, regions, energies) == kept
    assert detectors == [s.counter]
    assert documents.start["sample"] == "soot"
    assert documents.start["plan_name"] == "mine"
    assert documents.start["hints"]["extra"] == 1
    assert documents.start["hints"]["dimensions"]


def test_numbers_of_numpy_become_those_of_json(run_engine: RunEngine, s, station, documents):
    region = (np.float32(-1), np.float32(1), np.int64(2), -1, 1, np.int32(3))
    energies, turns = np.array([280, 285], np.float32), np.array([2, 3])
    run_engine(
        plans.sample_image_stack(
            [s.counter], station, [region], energies, polarizations=turns, dwell=np.float32(2.5), md={"sample": "dust"}
        ),
        documents,
    )
    for start in documents.of("start"):
        assert json.loads(json.dumps(start)) == {**start, "hints": json.loads(json.dumps(start["hints"]))}
        assert start["plan_args"]["regions"] == [[-1.0, 1.0, 2, -1, 1, 3]]
        assert start["plan_args"]["dwell"] == told(start)["dwell"] == 2.5


def test_metadata_that_are_no_json():
    with pytest.raises(TypeError, match="is no JSON: give numbers"):
        make_standard_metadata(6, {0: {}}, primary_det=["counter0"], zp_def={"zpD": 1 + 2j})  # pyright: ignore[reportArgumentType]


@DIFFERENT
def test_pause_and_resume(run_engine: RunEngine, s, make, paused, documents, kind):
    runs, events = numbers(kind)
    before = positions(s)
    # Two baselines come first: the second point of the first run.
    with pytest.raises(RunEngineInterrupted):
        run_engine(paused(make(kind), 3), documents)
    assert not s.shutter.is_open
    run_engine.resume()
    documents.validate()
    assert [stop["num_events"]["primary"] for stop in documents.of("stop")] == [events] * runs
    assert {stop["exit_status"] for stop in documents.of("stop")} == {"success"}
    assert not s.shutter.is_open
    assert positions(s) == pytest.approx(before)
    # Nothing was counted in the dark.
    dark = [event["data"].get("counter0_single_value_rbv", 1e9) for event in documents.events()]
    if kind in (scan_types.SAMPLE_IMAGE, scan_types.SAMPLE_IMAGE_STACK, scan_types.TOMOGRAPHY_SCAN):
        assert min(dark) > 100


@pytest.mark.parametrize("offset", [-30, -21, -12, -6, -3, -1, 0, 1, 3, 6, 12, 27])
def test_a_pause_anywhere_between_two_runs(run_engine: RunEngine, s, station, paused, documents, offset):
    """What came before the end of a run is not repeated in the next one."""
    args = ([(-1, 1, 1, -1, 1, 2)], [280.0, 285.2])
    closed = plan_messages(plans.sample_image_stack([s.counter], station, *args)).index("close_run")
    plan = plans.sample_image_stack([s.counter], station, *args)
    with pytest.raises(RunEngineInterrupted):
        run_engine(paused(plan, closed + offset + 1, lambda msg: True), documents)
    run_engine.resume()
    documents.validate()
    assert [stop["num_events"]["primary"] for stop in documents.of("stop")] == [2, 2]
    assert {stop["exit_status"] for stop in documents.of("stop")} == {"success"}
    run_of = {doc["uid"]: doc["run_start"] for doc in documents.of("descriptor")}
    events = {(run_of[event["descriptor"]], event["seq_num"]): event for event in documents.events()}
    energies = [event["data"]["energy_user_setpoint"] for event in events.values()]
    assert energies == [280, 280, 285.2, 285.2]


def plan_messages(plan: Any) -> list[str]:
    return [msg.command for msg in RunEngineSimulator().simulate_plan(plan)]


@DIFFERENT
def test_abort_in_the_middle(run_engine: RunEngine, s, make, paused, documents, kind):
    before = positions(s)
    with pytest.raises(RunEngineInterrupted):
        run_engine(paused(make(kind), 3), documents)
    run_engine.abort("enough")
    documents.validate()
    assert documents.of("stop")[-1]["exit_status"] == "abort"
    assert len(documents.of("start")) == len(documents.of("stop")) == 1
    assert not s.shutter.is_open
    assert positions(s) == pytest.approx(before)
    # The next scan works.
    run_engine(count([s.counter]))


def test_a_detector_that_fails_leaves_all_as_it_was(run_engine: RunEngine, s, station, documents):
    class Failing(PointCounter):
        def trigger(self) -> DeviceStatus:
            status = DeviceStatus(self)
            status.set_exception(RuntimeError("out of gas"))
            return status

    options = {"microscope": s.microscope, "conditions": s.conditions, "beam_time": s.counter._beam_time}  # noqa: SLF001
    before = positions(s)
    with pytest.raises(FailedStatus):
        run_engine(plans.sample_image([Failing(name="gas", **options)], station, *IMAGE), documents)
    assert documents.stop["exit_status"] == "fail"
    assert not s.shutter.is_open
    assert positions(s) == before


def test_the_messages_of_an_image(s, station):
    plan = plans.sample_image([s.counter], station, 0, 1, 2, 0, 1, 2, energy=290.0, dwell=5.0)
    simulator = RunEngineSimulator()
    for name in ("EPUPolarization", "EPUOffset", "EPUAngle"):
        simulator.add_read_handler_for(s.devices[name], 2.0)
    messages = simulator.simulate_plan(plan)
    story = [
        f"{msg.obj.name} {msg.args[0]}" if msg.command == "set" else msg.command
        for msg in messages
        if (msg.command == "set" and msg.obj is not s.ring_current) or msg.command in ("open_run", "close_run", "save")
    ]
    assert story == [
        *("counter0_dwell 5.0", "energy 290.0", "shutter open", "open_run", "save"),
        *("sample_y 0.0", "sample_x 0.0", "save", "sample_x 1.0", "save"),
        *("sample_y 1.0", "sample_x 0.0", "save", "sample_x 1.0", "save"),
        *("save", "close_run", "shutter closed", "sample_y 0.0", "sample_x 0.0"),
    ]
    staged = [msg.obj for msg in messages if msg.command == "stage"]
    unstaged = [msg.obj for msg in messages if msg.command == "unstage"]
    assert staged == unstaged[::-1]


@ALL
def test_a_plan_can_be_listed_without_hardware(make, kind):
    """Nobody answers a reading then."""
    assert plan_messages(make(kind)).count("open_run") == numbers(kind)[0]


BAD: list[tuple[Callable[[STXM, Endstation], Any], str]] = [
    (lambda s, e: plans.sample_image([], e, *IMAGE), "detectors is empty"),
    (lambda s, e: plans.sample_image([unknowing], e, *IMAGE), r"none of the detectors \(det\) has dwell"),
    (lambda s, e: plans.sample_image([s.counter], s.counter, *IMAGE), "give an Endstation"),
    (lambda s, e: plans.sample_image([s.counter], e, *IMAGE, dwell=0), "dwell is 0"),
    (lambda s, e: plans.sample_image([s.counter], e, *IMAGE, energy=1e5), "energy has to go to 100000 and cannot"),
    (lambda s, e: plans.sample_image([s.counter], e, -1, 1, 0, -1, 1, 4), "num of SampleFineY is 0"),
    (lambda s, e: plans.sample_image([s.counter], e, -99, 1, 3, -1, 1, 4), "sample_y has to go to -99 and cannot"),
    (lambda s, e: plans.sample_image([s.counter], e, -1, 1, 3, -1, float("nan"), 4), "stop of SampleFineX is nan"),
    (lambda s, e: plans.sample_image([s.counter, s.line], e, *IMAGE), "give detectors of one kind"),
    (lambda s, e: plans.sample_image([s.line], e, *IMAGE, snake=True), "leave it out"),
    (lambda s, e: plans.osa_image([s.line], e, *WIDE), "line0 counts whole lines"),
    (lambda s, e: plans.sample_point_spectra([s.counter], e, [], ENERGIES), "positions is empty"),
    (lambda s, e: plans.sample_point_spectra([s.counter], e, [(1, 2, 3)], ENERGIES), r"positions has \(1, 2, 3\)"),
    (lambda s, e: plans.sample_point_spectra([s.counter], e, POSITIONS, 280.0), "energies is 280.0"),
    (lambda s, e: plans.sample_line_spectra([s.counter], e, 0, 1, 0, 1, 3, [1.0]), "energy has to go to 1 and cannot"),
    (lambda s, e: plans.sample_image_stack([s.counter], e, [], ENERGIES), "regions is empty"),
    (lambda s, e: plans.sample_image_stack([s.counter], e, [(1, 2)], ENERGIES), r"\(1, 2\) is no region"),
    (
        lambda s, e: plans.sample_image_stack([s.counter], e, [IMAGE], ENERGIES, polarizations=[]),
        "polarizations is empty",
    ),
    (lambda s, e: plans.sample_image_stack([s.line], e, [IMAGE, WIDE], ENERGIES), "has to go to -100"),
    (
        lambda s, e: plans.sample_image_stack([s.line], e, [IMAGE, (0, 1, 2, 0, 1, 2)], ENERGIES),
        "regions with the same x",
    ),
    (
        lambda s, e: plans.sample_image_stack([s.counter], e, [IMAGE, (0, 1, 2, 0, 1, 2)], ENERGIES, single_run=True),
        "differ in their numbers of points",
    ),
    (lambda s, e: plans.tomography_scan([s.counter], e, IMAGE, ENERGIES, [90.0]), "goni_theta has to go to 90"),
    (lambda s, e: plans.generic_scan([s.counter], e, s.energy, 1, 2), "3 arguments for the motors"),
    (
        lambda s, e: plans.generic_scan(
            *([s.counter], e, s.osa_x, 0, 1, 2, s.osa_y, 0, 1, 2, s.sample_x, 0, 1, 2, s.sample_y, 0, 1, 2)
        ),
        "4 devices are too many",
    ),
    (lambda s, e: plans.pattern_gen_scan([s.counter], e, 0, 1, 0, 1, [[1, 2], [3]]), r"rows of \[2, 1\] points"),
    (lambda s, e: plans.pattern_gen_scan([s.counter], e, 0, 1, 0, 1, [[1, 0]]), "pattern has 0 in it"),
    (
        lambda s, e: plans.tomography_scan([s.counter], Endstation({"ENERGY": s.energy}), IMAGE, ENERGIES, [0.0]),
        "has no SampleFineY",
    ),
    (lambda s, e: plans.sample_image([s.counter, s.counter], e, *IMAGE), "counter0 is among the detectors 2 times"),
    (lambda s, e: plans.sample_image([s.counter], e, *IMAGE, dwell=1e9), "counter0_dwell: 1000000000.0 cannot be set"),
    (lambda s, e: plans.sample_image([s.line], e, *IMAGE[:5], 100_001), "line0_line_num: 100001 cannot be set"),
    (lambda s, e: plans.sample_image([s.counter], e, *IMAGE, snake="no"), "snake is 'no': give True or False"),
    (lambda s, e: plans.generic_scan(s.counter, e, s.osa_x, 0, 1, 2, snake=1), "snake is 1: give True or False"),
    (lambda s, e: plans.sample_image([s.counter], e, *IMAGE, per_step=3), "per_step is 3"),
    (lambda s, e: plans.sample_image([s.counter], e, *IMAGE, md="dark"), "md is 'dark': give a dict"),
    (lambda s, e: plans.sample_image([s.counter], e, *IMAGE, md={"hints": 3}), "hints of md is 3: give a dict"),
    (lambda s, e: plans.sample_point_spectra([s.counter], e, (0.5, 1.5), ENERGIES), "a position is 0.5"),
    (lambda s, e: plans.sample_image_stack(s.counter, e, [IMAGE], ENERGIES, polarizations=2), "polarizations is 2"),
    (
        lambda s, e: plans.sample_image_stack(s.counter, e, [IMAGE], ENERGIES, polarizations=[4]),
        "4.0 is no place of it",
    ),
    (lambda s, e: plans.sample_image_stack(s.counter, e, [IMAGE], ENERGIES, single_run="no"), "single_run is 'no'"),
    (lambda s, e: plans.tomography_scan([s.counter], e, IMAGE, ENERGIES, None), "angles is None"),
    (lambda s, e: plans.generic_scan(s.counter, e, s.energy, 280, 290, 3, energy=285.2), "the energy is scanned"),
    (lambda s, e: plans.pattern_gen_scan([s.counter], e, 0, 1, 0, 1, [1, 2]), "a row of pattern is 1"),
    (lambda s, e: plans.pattern_gen_scan([s.counter], e, 0, 1, 0, 1, [[1, 1e9]]), "1000000000.0 cannot be set"),
    (lambda s, e: Endstation(s.devices, zp_def={"zpD": float("nan")}), "zpD of zp_def is nan"),
    (lambda s, e: Endstation({}), "give a dict of devices"),
    (lambda s, e: Endstation({"ENERGY": 3}), "'ENERGY' of the endstation endstation is 3"),
    (lambda s, e: Endstation(s.devices, s.shutter, shutter_open="closed"), "shutter_open and shutter_close"),
]


@pytest.mark.parametrize(("make_bad", "word"), BAD, ids=[word for _, word in BAD])
def test_mistakes_are_said_in_one_line_before_anything_moves(s, station, make_bad, word):
    before = positions(s)
    sent: list[Any] = []
    with pytest.raises((ValueError, TypeError), match=word) as raised:
        sent.extend(make_bad(s, station))
    assert "\n" not in str(raised.value)
    # What a detector is set to is not found wrong after it was set, nor after another one was.
    assert not [message for message in sent if message.command == "set"]
    assert positions(s) == before


def test_metadata_say_what_is_not_known():
    spot = {7: {"X": Axis("SampleX", (1.0,)), "Y": Axis("SampleY", (2.0,))}}
    metadata = told({"metadata": make_standard_metadata(4, spot, primary_det=["counter0"])})
    assert metadata["rois"]["7"]["X"]["IS_POINT"]
    assert metadata["rois"]["7"]["OSA"]["X"] == {**metadata["rois"]["7"]["OSA"]["X"], "ENABLED": False, "START": None}
    assert metadata["dwell"] is None
    assert metadata["img_idx_map"] == {"e_idx": 0, "pol_idx": 0, "sp_idx": 0, "sp_id": 7, "entry": "entry0"}
    polarized = make_standard_metadata(
        *(7, spot),
        primary_det=["b", "a"],
        energies=[1.0, 2.0],
        polarizations=[(3.0, 0.0, 0.0)],
        dwell=2.0,
    )
    assert told({"metadata": polarized})["rois"]["7"]["EV_ROIS"][0]["EPU_POL_PNTS"] == [3]
    assert told({"metadata": polarized})["default_det"] == "b"


@pytest.mark.parametrize(
    ("arguments", "options", "word"),
    [
        ((14, {}), {"primary_det": ["a"]}, "14 is unknown"),
        ((6, {}), {"primary_det": ["a"]}, "regions is empty"),
        ((6, {0: {}}), {"primary_det": "a"}, "primary_det is 'a'"),
        ((6, {0: {}}), {"primary_det": ["a"], "dwell": float("nan")}, "dwell is nan"),
    ],
)
def test_metadata_that_cannot_be(arguments, options, word):
    with pytest.raises(ValueError, match=word):
        make_standard_metadata(*arguments, **options)


def test_a_region_has_known_axes_only():
    with pytest.raises(ValueError, match="'W' is no axis"):
        make_standard_metadata(6, {0: {"W": Axis("x", (1.0,))}}, primary_det=["a"])


def pattern_points(s: STXM, start: dict[str, Any]) -> list[dict[str, float]]:
    """The points that Bluesky makes of the pattern in a start document, by the names of the motors."""
    devices = {repr(device): device for device in s.devices.values()}
    kwargs = dict(start["plan_pattern_args"])
    args = [devices.get(arg, arg) if isinstance(arg, str) else arg for arg in kwargs.pop("args")]
    made = getattr(import_module(start["plan_pattern_module"]), start["plan_pattern"])(args, *kwargs.values())
    return [{device.name: float(at) for device, at in point.items()} for point in made]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *((kind, {}) for kind in KINDS),
        *((kind, {"single_run": True, "polarizations": None}) for kind in KINDS if plan_name(kind) in STACKS),
    ],
)
def test_the_pattern_is_what_bluesky_makes_of_it(run_engine: RunEngine, s, make, documents, kind, options):
    run_engine(make(kind, **options), documents)
    start = documents.of("start")[0]
    if len(start["motors"]) > len(start["shape"]):
        assert "plan_pattern" not in start  # what moves together, along a line, is none of Bluesky's patterns
        return
    motors = start["motors"]
    events = [event["data"] for event in documents.events()][: start["num_points"]]
    assert pattern_points(s, start) == [{name: data[f"{name}_user_setpoint"] for name in motors} for data in events]


def test_uneven_energies_are_not_told_as_even(run_engine: RunEngine, s, station, documents):
    uneven = [280.0, 290.0, 285.2]
    run_engine(plans.sample_line_spectra([s.counter], station, 0, 1, 0, 2, 4, uneven), documents)
    run_engine(plans.sample_image_stack([s.counter], station, [IMAGE], uneven, single_run=True), documents)
    run_engine(
        plans.sample_image_stack([s.counter], station, [IMAGE], [280.0, 285.0, 290.0], single_run=True), documents
    )
    line, stack, even = documents.of("start")
    for start in (line, stack):
        assert start["shape"][0] == 3
        assert "extents" not in start
        assert "gridding" not in start["hints"]
        (roi,) = told(start)["rois"]["0"]["EV_ROIS"]
        assert (roi["SETPOINTS"], roi["STEP"]) == (uneven, None)
    assert stack["plan_pattern_args"]["args"][1] == uneven
    assert even["extents"] == [[280, 290], [-1, 1], [-2, 2]]
    assert even["hints"]["gridding"] == "rectilinear"
    # Without the readbacks, no position is made up.
    counts = {"counter": np.arange(3 * NY * NX)}
    assert "energy" not in reshape(counts, "counter", metadata=stack).coords
    assert reshape(counts, "counter", metadata=even)["energy"].values.tolist() == [280, 285, 290]


def test_a_tomogram_of_one_run_says_its_angles_and_energies(run_engine: RunEngine, make, documents):
    run_engine(make(scan_types.TOMOGRAPHY_SCAN, single_run=True), documents)
    start = documents.start
    assert start["motors"] == ["goni_theta", "energy", "sample_y", "sample_x"]
    assert start["shape"] == [3, 2, NY, NX]
    assert start["extents"] == [[-30, 30], [280, 285.2], [-1, 1], [-2, 2]]
    tomogram = reshape(documents, "counter0_single_value_rbv")
    assert tomogram.shape == (3, 2, NY, NX)
    np.testing.assert_allclose(tomogram["energy"], [280, 285.2], atol=0.01)


@pytest.mark.parametrize("num", [99, 101])
def test_a_start_document_has_no_line_for_each_point(run_engine: RunEngine, s, station, documents, num):
    """Neither for those of a small scan, nor for those of a large one."""
    args = (-1, 1, num, -2, 2, 100)
    run_engine(plans.sample_image([s.counter], station, *args, per_step=lambda *_: null()), documents)
    assert len(json.dumps(documents.start)) < 50_000
    assert told(documents.start)["sequence_map"] == {}


def test_per_step_is_what_is_done_at_each_point(run_engine: RunEngine, s, station, documents):
    def thrice(detectors: Any, step: Any, pos_cache: Any) -> Any:
        yield from one_nd_step(detectors, step, pos_cache)
        assert list(step) == [s.sample_y, s.sample_x]
        assert s.counter in detectors
        for _ in range(2):
            yield from trigger_and_read([*detectors, *step])

    run_engine(plans.sample_image([s.counter], station, *IMAGE, per_step=thrice), documents)
    documents.validate()
    assert documents.stop["num_events"]["primary"] == 3 * NY * NX
    xs = documents.data("sample_x_user_setpoint")
    assert xs == np.tile(np.repeat(np.linspace(-2, 2, NX), 3), NY).tolist()
    assert not s.shutter.is_open


def test_an_endstation_is_read_as_a_device(run_engine: RunEngine, station, documents):
    run_engine(count([station]), documents)
    documents.validate()
    assert {"energy", "osa_x", "ring_current_val"} <= set(documents.events()[0]["data"])
