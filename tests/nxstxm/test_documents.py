"""The forms that documents come in: pages, any order, lists, repeated events, many detectors, odd metadata."""

import json

import event_model
import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from suitcase_nxstxm import export_scan


def edited(docs, **changes):
    """The run with other metadata: a value of None takes a key away."""
    metadata = json.loads(docs[0][1]["metadata"])
    for key, value in changes.items():
        metadata.pop(key, None)
        if value is not None:
            metadata[key] = value
    return [("start", {**docs[0][1], "metadata": json.dumps(metadata)}), *docs[1:]]


def edited_wdg(docs, **changes):
    """The run with another scan request."""
    wdg = json.loads(json.loads(docs[0][1]["metadata"])["wdg_com"])
    for key, value in changes.items():
        wdg.pop(key, None)
        if value is not None:
            wdg[key] = value
    return edited(docs, wdg_com=json.dumps(wdg))


def primary_events(docs):
    descriptors = {doc["uid"]: doc["name"] for name, doc in docs if name == "descriptor"}
    return [doc for name, doc in docs if name == "event" and descriptors[doc["descriptor"]] == "primary"]


def with_events(docs, events):
    """The run with other documents in place of its primary events."""
    old = [id(doc) for doc in primary_events(docs)]
    rest = [(name, doc) for name, doc in docs if id(doc) not in old]
    return [*rest[:-1], *events, rest[-1]]


@pytest.mark.parametrize(
    ("name", "size"),
    [
        *(("osa image", 100), ("sample image", 2), ("point spectra", 2)),
        *(("stack", 100), ("ptychography", 2), ("generic", 2)),
    ],
)
def test_every_row_of_a_page(stxm, tmp_path, read, name, size):
    case = stxm.make(name)
    runs = []
    for docs in case.runs:
        events = primary_events(docs)
        pages = [event_model.pack_event_page(*events[i : i + size]) for i in range(0, len(events), size)]
        runs.append(with_events(docs, [("event_page", page) for page in pages]))
    found = read(export_scan(runs, tmp_path, "scan"))
    for entry, expected in case.data.items():
        np.testing.assert_array_equal(found[f"{entry}/counter0/data"], expected)


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    name=st.sampled_from(["osa image", "sample image", "point spectra", "stack", "generic", "osa focus"]),
)
def test_events_in_any_order_some_of_them_twice(stxm, tmp_path_factory, read, name, data):
    case = stxm.make(name)
    runs = []
    for docs in case.runs:
        events = primary_events(docs)
        order = data.draw(st.permutations(range(len(events))))
        # After a pause an event comes once more; the last one is the one that counts.
        again = data.draw(st.lists(st.sampled_from(order), max_size=2, unique=True))
        first = []
        for i in again:
            told = events[i]["data"].items()
            zeros = {k: 0.0 if isinstance(v, float) and "setpoint" not in k else v for k, v in told}
            first.append(("event", {**events[i], "data": zeros}))
        runs.append(with_events(docs, [*first, *[("event", events[i]) for i in order]]))
    found = read(export_scan(runs, tmp_path_factory.mktemp("any"), "scan"))
    for entry, expected in case.data.items():
        np.testing.assert_array_equal(found[f"{entry}/counter0/data"], expected)
        np.testing.assert_array_equal(found[f"{entry}/instrument/counter0/data"], expected.ravel())


@pytest.mark.parametrize(
    ("convert", "dtype"),
    [
        (list, "f8"),
        (lambda a: np.asarray(a, "f4"), "f4"),
        (lambda a: np.asarray(a, "f2"), "f4"),
        (lambda a: np.asarray(a, "u2"), "f8"),
        (lambda a: np.asarray(a, "i8"), "f8"),
        (lambda a: [int(v) for v in a], "f8"),
        (lambda a: np.asarray(a) > 1000, "f8"),
    ],
)
def test_numbers_of_every_type_are_exact(stxm, tmp_path, read, convert, dtype):
    case = stxm.make("sample image")
    (docs,) = case.runs
    events = [
        ("event", {**doc, "data": {key: convert(value) for key, value in doc["data"].items()}})
        for doc in primary_events(docs)
    ]
    found = read(export_scan([with_events(docs, events)], tmp_path, "scan"))["entry0/counter0/data"]
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.array([doc["data"]["counter0_wave"] for _, doc in events], dtype=float))


@pytest.mark.parametrize("form", ["line", "plane", "flat plane", "half lines"])
def test_a_plane_comes_as_points_lines_or_at_once(stxm, tmp_path, read, form):
    x, y = np.arange(6.0), np.arange(4.0)
    data = stxm.numbers(4, 6)
    pieces = {
        "line": list(data),
        "plane": [data],
        "flat plane": [data.ravel()],
        "half lines": [data[:2], data[2:]],  # two lines at once
    }[form]
    keys = {"counter0_wave": stxm.key("counter0", "array", [3])}
    start = {"metadata": stxm.metadata(6, {"0": stxm.region(x, y, [700.0])}, {})}
    docs = stxm.run(start, keys, [{"counter0_wave": piece} for piece in pieces])
    found = read(export_scan([docs], tmp_path, "scan"))
    np.testing.assert_array_equal(found["entry0/counter0/data"], data)


def test_an_aborted_scan_keeps_all_that_was_measured(stxm, tmp_path, read):
    x, y = np.arange(6.0), np.arange(4.0)
    data = stxm.numbers(4, 6)
    keys = {"counter0_wave": stxm.key("counter0", "array", [6])}
    start = {"metadata": stxm.metadata(6, {"0": stxm.region(x, y, [700.0])}, {})}
    # Two lines, and four points of the third.
    events = [{"counter0_wave": data[0]}, {"counter0_wave": data[1]}, {"counter0_wave": data[2, :4]}]
    docs = stxm.run(start, keys, events, status="abort")
    docs[-1] = ("stop", {**docs[-1][1], "reason": "the beam is gone"})
    found = read(export_scan([docs], tmp_path, "scan"))
    expected = np.full((4, 6), np.nan)
    expected[:2], expected[2, :4] = data[:2], data[2, :4]
    np.testing.assert_array_equal(found["entry0/counter0/data"], expected)
    np.testing.assert_array_equal(found["entry0/instrument/counter0/data"], expected.ravel())
    assert found["entry0/collection/exit_status"].tolist() == [b"abort"]
    assert found["entry0/collection/runs"]["reason"].tolist() == [b"the beam is gone"]


def test_a_scan_aborted_before_its_first_event(stxm, tmp_path, read):
    case = stxm.make("osa image")
    (docs,) = case.runs
    docs = with_events(docs, [])
    docs[-1] = ("stop", {**docs[-1][1], "exit_status": "abort"})
    found = read(export_scan([docs], tmp_path, "scan"))
    assert found["entry0/counter0/data"].shape == (3, 4)
    assert np.isnan(found["entry0/counter0/data"]).all()


def test_planes_that_were_never_measured_are_nan(stxm, tmp_path, read):
    case = stxm.make("stack")
    last = case.runs[2]
    stopped = stxm.run(
        {"metadata": last[0][1]["metadata"]}, None, [], baseline=False, status="abort", time=1_700_000_200.0
    )
    found = read(export_scan([case.runs[0], case.runs[1], stopped], tmp_path, "scan"))
    np.testing.assert_array_equal(found["entry0/counter0/data"][:2], case.data["entry0"][:2])
    assert np.isnan(found["entry0/counter0/data"][2]).all()
    assert found["entry0/collection/exit_status"][0] == b"abort"


def test_a_stack_of_large_planes(stxm, tmp_path, read):
    """One plane a chunk, compressed; the list of the detector is the same numbers, not a copy of them."""
    x, y, energies = np.arange(256.0), np.arange(256.0), np.arange(700.0, 706.0)
    data = stxm.numbers(6, 256, 256).astype("f4")
    asked = {"0": stxm.region(x, y, energies)}
    keys = {"counter0_image": stxm.key("counter0", "array", [256, 256])}
    runs = [
        stxm.run(
            {"metadata": stxm.metadata(7, asked, {"e_idx": e})}, keys, [{"counter0_image": data[e]}], baseline=not e
        )
        for e in (3, 0, 5, 1, 2, 4)
    ]
    path = export_scan(runs, tmp_path, "scan")
    with h5py.File(path) as file:
        stored = file["entry0/counter0/data"]
        assert stored.chunks == (1, 256, 256)
        assert stored.compression == "gzip"
        assert file["entry0/instrument/counter0/data"].is_virtual
    found = read(path)
    np.testing.assert_array_equal(found["entry0/counter0/data"], data)
    np.testing.assert_array_equal(found["entry0/instrument/counter0/data"], data.ravel())
    np.testing.assert_array_equal(found["entry0/instrument/monochromator/energy"], np.repeat(energies, 256 * 256))
    assert path.stat().st_size < data.nbytes


def test_small_arrays_are_not_compressed(stxm, tmp_path):
    with h5py.File(export_scan(stxm.make("stack").runs, tmp_path, "scan")) as file:
        assert file["entry0/counter0/data"].compression is None
        assert file["entry0/counter0/data"].chunks == (1, 2, 4)


def test_all_detectors_have_a_plot_and_the_primary_one_is_the_default(stxm, tmp_path, read):
    (docs,) = stxm.make("sample image").runs
    keys = {name: stxm.key(name.partition("_")[0], "array", [5]) for name in ("aaa_wave", "counter0_wave", "zzz_wave")}
    values = {name: stxm.numbers(3, 5, seed=i) for i, name in enumerate(keys)}
    events = [{name: value[i] for name, value in values.items()} for i in range(3)]
    docs = stxm.run({"metadata": docs[0][1]["metadata"]}, keys, events)
    path = export_scan([docs], tmp_path, "scan")
    found = read(path)
    for name, value in values.items():
        detector = name.partition("_")[0]
        np.testing.assert_array_equal(found[f"entry0/{detector}/data"], value)
        np.testing.assert_array_equal(found[f"entry0/{detector}/sample_x"], found["entry0/counter0/sample_x"])
        assert found[f"entry0/{detector}@signal"] == "data"
    assert found["entry0@default"] == "counter0"
    with h5py.File(path) as file:
        # Some readers take the first that they find.
        assert next(n for n, g in file["entry0"].items() if g.attrs.get("NX_class") == "NXdata") == "counter0"
    other = read(export_scan([docs], tmp_path, "other", primary_det="zzz"))
    assert other["entry0@default"] == "zzz"


def test_a_scaler_with_all_channels_in_one_reading(stxm, tmp_path, read):
    """New detectors hold a dictionary of channels; in spectra each channel is one of a region."""
    (docs,) = stxm.make("sample image", new=True).runs
    values = {name: stxm.numbers(3, 5, seed=i) for i, name in enumerate(("CHAN_00", "CHAN_01"))}
    keys = {"SIS3820": stxm.key("SIS3820", "array", [5])}
    events = [{"SIS3820": {name: value[i].tolist() for name, value in values.items()}} for i in range(3)]
    docs = stxm.run({"metadata": docs[0][1]["metadata"]}, keys, events)
    docs = edited(docs, primary_det=["CHAN_01", "CHAN_00"], default_det="CHAN_01")
    found = read(export_scan([docs], tmp_path, "image"))
    for name, value in values.items():
        np.testing.assert_array_equal(found[f"entry0/{name}/data"], value)
    assert found["entry0@default"] == "CHAN_01"

    case = stxm.make("point spectra", new=True)
    spectra = np.stack(list(case.data.values()))
    (spectrum,) = case.runs
    regions = ["1", "2", "0"]  # in the order of their acquisition
    events = [
        {"SIS3820": {f"CHAN_00-spid-{region}": [float(spectra[k, e])] for k, region in enumerate(regions)}}
        for e in range(6)
    ]
    docs = stxm.run({"metadata": spectrum[0][1]["metadata"]}, keys, events)
    docs = edited(docs, primary_det=["CHAN_00"], default_det="CHAN_00-spid-0")
    found = read(export_scan([docs], tmp_path, "spectra"))
    for k in range(3):
        np.testing.assert_array_equal(found[f"entry{k}/CHAN_00/data"], spectra[k])


def test_the_monitor_is_on_the_grid_and_the_baseline_has_legal_names_and_units(stxm, tmp_path, read):
    case = stxm.make("osa image")
    found = read(export_scan(case.runs, tmp_path, "scan"))
    expected = np.array([doc["data"]["PCT:mA:fbk_val"] for doc in primary_events(case.runs[0])]).reshape(3, 4)
    np.testing.assert_array_equal(found["entry0/control/data"], expected)
    assert found["entry0/control/data@units"] == "mA"
    assert "entry0/PCT_mA_fbk/data" not in found
    assert found["entry0/counter0/osa_x@units"] == "um"
    assert found["entry0/sample/rotation_angle@units"] == "deg"
    baseline = "entry0/collection/baseline"
    assert found[f"{baseline}/PCT_mA_fbk@name"] == "PCT:mA:fbk"
    assert found[f"{baseline}/PCT_mA_fbk@label"] == "StorageRingCurrent"
    np.testing.assert_array_equal(found[f"{baseline}/PCT_mA_fbk/value"], [219.5])
    # Units that can not be are mended.
    assert found[f"{baseline}/BL_ENERGY/value@units"] == "eV"
    assert found[f"{baseline}/BL_ENERGY/value@units_of_the_document"] == "um"
    assert found[f"{baseline}/IOC_m110/value@units"] == "deg"
    assert found[f"{baseline}/IOC_m117/value@units"] == "um"


def test_the_request_and_the_runs_are_kept(stxm, tmp_path, read):
    case = stxm.make("stack")
    for i, docs in enumerate(case.runs):
        docs[0] = ("start", {**docs[0][1], "scan_id": 40 + i, "plan_name": "stack", "user": "me"})
    found = read(export_scan(case.runs, tmp_path, "scan"))
    runs = found["entry0/collection/runs"]
    assert runs["uid"].tolist() == [docs[0][1]["uid"].encode() for docs in case.runs[:3]]
    assert runs["scan_id"].tolist() == [40, 41, 42]
    assert runs["plan_name"].tolist() == [b"stack"] * 3
    assert runs["user"].tolist() == [b"me"] * 3
    assert runs["exit_status"].tolist() == [b"success"] * 3
    asked = json.loads(found["entry0/collection/scan_request"])
    assert asked == json.loads(case.runs[0][0][1]["metadata"])
    assert found["entry0/collection/zone_plate/outer_diameter"] == 250.0
    assert found["entry0/collection/polarization/offset"] == -0.2
    assert found["entry0/start_time"].tolist() == [b"2023-11-14T22:13:20+00:00"]
    assert found["entry0/end_time"].tolist() == [b"2023-11-14T22:17:40+00:00"]


ODD = {
    "no img_idx_map": lambda docs: edited(docs, img_idx_map=None),
    "a map of all images": lambda docs: edited(
        docs, img_idx_map=json.dumps({"0": {"e_idx": 0, "entry": "entry0", "sp_id": 0, "pol_idx": 0, "sp_idx": 0}})
    ),
    "no SINGLE_LST": lambda docs: edited_wdg(docs, SINGLE_LST=None),
    "no SPATIAL_ROIS": lambda docs: edited_wdg(docs, SPATIAL_ROIS=None),
    "no wdg_com": lambda docs: edited(docs, wdg_com=None),
    "no rois": lambda docs: edited(docs, rois=None),
    "JSON thrice": lambda docs: [("start", {**docs[0][1], "metadata": json.dumps(docs[0][1]["metadata"])}), *docs[1:]],
    "no JSON": lambda docs: [("start", {**docs[0][1], "metadata": json.loads(docs[0][1]["metadata"])}), *docs[1:]],
    "in the start": lambda docs: [
        ("start", {k: v for k, v in docs[0][1].items() if k != "metadata"} | json.loads(docs[0][1]["metadata"])),
        *docs[1:],
    ],
    "no primary_det": lambda docs: edited(docs, primary_det=None),
    "primary_det a list": lambda docs: edited(docs, primary_det=["counter0"]),
    "primary_det a key": lambda docs: edited(docs, primary_det="counter0_wave"),
    "primary_det and default_det": lambda docs: edited(docs, primary_det=["counter0_wave"], default_det="counter0"),
    "primary_det DNM_": lambda docs: edited(docs, primary_det="DNM_COUNTER0"),
    "no zp_def": lambda docs: edited(docs, zp_def=None),
    "no rev_lu_dct": lambda docs: edited(docs, rev_lu_dct=None),
    "no dwell": lambda docs: edited(docs, dwell=None),
    "the type as text": lambda docs: edited(docs, scan_type="SAMPLE_IMAGE"),
    "no baseline": lambda docs: [docs[0], *docs[3:]],
}


@pytest.mark.parametrize("odd", ODD)
def test_metadata_as_they_are_found(stxm, tmp_path, read, odd):
    case = stxm.make("sample image")
    found = read(export_scan([ODD[odd](case.runs[0])], tmp_path, "scan"))
    np.testing.assert_array_equal(found["entry0/counter0/data"], case.data["entry0"])
    assert found["entry0@default"] == "counter0"
    np.testing.assert_array_equal(found["entry0/counter0/energy"], [705.0])


def test_point_spectra_without_a_list_of_regions(stxm, tmp_path, read):
    case = stxm.make("point spectra")
    # Nothing but their numbers tells their order then.
    found = read(export_scan([edited_wdg(case.runs[0], SINGLE_LST=None)], tmp_path, "scan"))
    assert [found[f"entry{k}/counter0/sample_x"][0] for k in range(3)] == [-1.5, 7.25, 4.0]
    np.testing.assert_array_equal(found["entry1/counter0/data"], case.data["entry1"])


def test_energies_without_a_list_of_them(stxm, tmp_path, read):
    case = stxm.make("stack")
    found = read(export_scan([edited_wdg(docs, SINGLE_LST=None) for docs in case.runs], tmp_path, "scan"))
    np.testing.assert_array_equal(found["entry0/counter0/energy"], [700, 701, 702])
    np.testing.assert_array_equal(found["entry0/counter0/count_time"], [0.002] * 3)


def test_set_points_that_are_not_listed_are_even(stxm, tmp_path, read):
    (docs,) = stxm.make("sample image").runs
    metadata = json.loads(docs[0][1]["metadata"])
    metadata["rois"]["0"]["X"] |= {"SETPOINTS": [], "NPOINTS": 5.0}
    found = read(export_scan([edited(docs, rois=metadata["rois"])], tmp_path, "scan"))
    np.testing.assert_array_equal(found["entry0/counter0/sample_x"], np.linspace(-1, 1, 5))


def test_a_snake_without_a_word_about_it(stxm, tmp_path, read):
    """Events that have their set points say where they belong."""
    case = stxm.make("osa image")
    events = primary_events(case.runs[0])
    rows = [events[i : i + 4] for i in range(0, 12, 4)]
    order = [*rows[0], *rows[1][::-1], *rows[2]]
    docs = with_events(case.runs[0], [("event", {**doc, "seq_num": i + 1}) for i, doc in enumerate(order)])
    found = read(export_scan([docs], tmp_path, "scan"))
    np.testing.assert_array_equal(found["entry0/counter0/data"], case.data["entry0"])
    taken = case.data["entry0"].copy()
    taken[1] = taken[1, ::-1].copy()
    np.testing.assert_array_equal(found["entry0/instrument/counter0/data"], taken.ravel())


@pytest.mark.parametrize("name", ["osa image", "stack"])
def test_streams_beside_the_primary_one_are_kept(stxm, tmp_path, read, name):
    case = stxm.make(name)
    bundle_docs = case.runs[0]
    uid = bundle_docs[0][1]["uid"]
    descriptor = {
        "uid": f"other-{uid}",
        "run_start": uid,
        "name": "temperature monitor",
        "time": 1.0,
        "data_keys": {"t": stxm.key("cryo:t", units="K"), "state": stxm.key("cryo:state", "string")},
    }
    events = [
        ("event", {"uid": str(i), "descriptor": descriptor["uid"], "seq_num": i + 1, "time": 1.0, "data": data})
        for i, data in enumerate([{"t": 4, "state": "cold"}, {"t": 4.5, "state": "cold"}, {"t": 7, "state": "warm"}])
    ]
    docs = [*bundle_docs[:-1], ("descriptor", descriptor), *events, bundle_docs[-1]]
    found = read(export_scan([docs, *case.runs[1:]], tmp_path, "scan"))
    np.testing.assert_array_equal(found["entry0/collection/temperature_monitor/cryo_t/t"], [4, 4.5, 7])
    assert found["entry0/collection/temperature_monitor/cryo_t/t@units"] == "K"
    assert found["entry0/collection/temperature_monitor/cryo_state/state"].tolist() == [b"cold", b"cold", b"warm"]
