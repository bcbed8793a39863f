"""Bad input: each a one-line error that names it, and no file that looks whole."""

import json

import pytest

from suitcase_nxstxm import Serializer, errors, export, export_scan, finish_export
from suitcase_nxstxm import scan_types as types


def changed(docs, **changes):
    metadata = json.loads(docs[0][1]["metadata"])
    for key, value in changes.items():
        if value is None:
            del metadata[key]
        else:
            metadata[key] = value
    return [("start", {**docs[0][1], "metadata": json.dumps(metadata)}), *docs[1:]]


@pytest.fixture
def docs(stxm):
    return stxm.make("sample image").runs[0]


@pytest.fixture
def refused(tmp_path):
    """Export documents that are refused, by every way of exporting them; the error."""

    def of(documents, kind, builtin):
        with pytest.raises(kind) as error:
            export(documents, tmp_path, file_prefix="C1")
        assert isinstance(error.value, builtin)
        assert isinstance(error.value, errors.NXstxmError)
        assert "\n" not in str(error.value)
        with pytest.raises(kind):
            export_scan([documents], tmp_path, "C2")
        assert not list(tmp_path.glob("*.hdf5"))
        for uid in {doc["uid"] for name, doc in documents if name == "start"}:
            with pytest.raises(errors.NXstxmError):
                finish_export(tmp_path, "C1", uid)
        return str(error.value)

    return of


@pytest.mark.parametrize("value", [99, -1, "HOLOGRAPHY", 6.5, True, [6]])
def test_an_unknown_scan_type(docs, refused, value):
    assert repr(value) in refused(changed(docs, scan_type=value), errors.UnknownScanTypeError, ValueError)


NOWHERE = {"POSITIONER": "GoniY", "SETPOINTS": [], "NPOINTS": 0, "START": None, "STOP": None}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scan_type": None}, "'scan_type'"),
        ({"rois": None, "wdg_com": None}, "'rois'"),
        ({"rois": {"0": {"Y": NOWHERE}}}, "'Y'"),
        ({"img_idx_map": '{"e_idx'}, "'img_idx_map'"),
        ({"img_idx_map": json.dumps({"e_idx": 5, "entry": "entry0", "sp_id": 0})}, "energy 5"),
        ({"img_idx_map": json.dumps({"e_idx": "a"})}, "'a'"),
        ({"wdg_com": json.dumps({"SINGLE_LST": "{"})}, "'SINGLE_LST'"),
        ({"sequence_map": {"0": 5}}, "'sequence_map'"),
        ({"rois": {"0": 5}}, "region '0'"),
    ],
)
def test_metadata_that_lack_something(docs, refused, changes, said):
    if isinstance((changes.get("rois") or {}).get("0"), dict):
        region = json.loads(docs[0][1]["metadata"])["rois"]["0"]
        changes = {"rois": {"0": region | changes["rois"]["0"]}}
    error = refused(changed(docs, **changes), errors.MetadataError, ValueError)
    assert said in error
    assert docs[0][1]["uid"] in error


@pytest.mark.parametrize(
    ("points", "axis", "device"),
    [
        ([1.0, None, 3.0], "X", "GoniX"),
        ("1 2 3", "EV_ROIS", "ENERGY"),
        ([[1.0, 2.0], [3.0, 4.0]], "X", "GoniX"),
        (3.0, "EV_ROIS", "ENERGY"),
        ([0.0, float("nan")], "X", "GoniX"),
    ],
)
def test_set_points_that_are_no_list_of_numbers(docs, refused, points, axis, device):
    rois = json.loads(docs[0][1]["metadata"])["rois"]
    (rois["0"]["EV_ROIS"][0] if axis == "EV_ROIS" else rois["0"][axis])["SETPOINTS"] = points
    said = refused(changed(docs, rois=rois, wdg_com=None), errors.MetadataError, ValueError)
    assert f"'SETPOINTS' of '{device}'" in said
    assert str(points)[:20] in said
    assert docs[0][1]["uid"] in said


def test_set_points_that_are_null_are_those_from_start_to_stop(docs, tmp_path, read):
    rois = json.loads(docs[0][1]["metadata"])["rois"]
    rois["0"]["X"]["SETPOINTS"] = None
    found = read(export_scan([changed(docs, rois=rois)], tmp_path, "C1"))
    assert found["entry0/counter0/sample_x"].tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]


def test_a_region_that_is_none_of_several(stxm, docs, refused):
    rois = json.loads(docs[0][1]["metadata"])["rois"]
    place = json.dumps({"e_idx": 0, "sp_id": 77, "sp_idx": 0, "entry": "entry0"})
    several = changed(docs, rois=rois | {"4": rois["0"]}, img_idx_map=place)
    assert "77 ('sp_id'): there are 0, 4" in refused(several, errors.MetadataError, ValueError)


def test_an_unknown_region_is_the_only_one_there_is(docs, tmp_path, caplog):
    place = json.dumps({"e_idx": 0, "sp_id": 77, "sp_idx": 0, "entry": "entry0"})
    export_scan([changed(docs, img_idx_map=place)], tmp_path, "C1")
    assert "region 77, which is unknown: '0' is the only one" in caplog.text


@pytest.mark.parametrize("what", ["regions", "polarisations"])
def test_a_stack_that_does_not_say_which_of_several_it_is(stxm, refused, what):
    x = [0.0, 1.0, 2.0]
    pols = ((1, 0.0, 0.0), (2, 90.0, 0.0)) if what == "polarisations" else ((1, 0.0, 0.0),)
    asked = {k: stxm.region(x, x, [700.0, 701.0], polarizations=pols) for k in ("01" if what == "regions" else "0")}
    start = {"metadata": stxm.metadata(7, asked, None)}
    keys = {"counter0_wave": stxm.key("counter0", "array", [3], "counts")}
    documents = stxm.run(start, keys, [{"counter0_wave": x}] * 3)
    said = refused(documents, errors.MetadataError, ValueError)
    assert "'img_idx_map'" in said
    assert f"2 {what}" in said


@pytest.mark.parametrize("value", [5, ["counter0", 5], [""], b"counter0", {"counter0": 1}])
def test_a_primary_detector_that_is_no_name(tmp_path, value):
    with pytest.raises(TypeError, match=r"^primary_det is "):
        Serializer(tmp_path, primary_det=value)


@pytest.mark.parametrize(("new", "value"), [(False, "counter0"), (True, ["counter0"]), (False, ("counter0",))])
def test_a_primary_detector_or_a_list_of_them(stxm, tmp_path, read, new, value):
    found = read(export_scan(stxm.make("stack", new).runs, tmp_path, "C1", primary_det=value))
    assert found["entry0@default"] == "counter0"
    with pytest.raises(errors.UnknownDetectorError, match="'pmt'"):
        export_scan(stxm.make("stack", new).runs, tmp_path, "C2", primary_det=["counter0", "pmt"])


def test_broken_json(docs, refused):
    broken = [("start", {**docs[0][1], "metadata": '{"scan_type": 6, "rois'}), *docs[1:]]
    assert "'metadata' of run" in refused(broken, errors.MetadataError, ValueError)


def test_two_starts_in_one_serializer(docs, tmp_path):
    with Serializer(tmp_path, "C1") as serializer:
        serializer(*docs[0])
        with pytest.raises(errors.SecondStartError, match=docs[0][1]["uid"]) as error:
            serializer("start", {**docs[0][1], "uid": "another"})
    assert isinstance(error.value, RuntimeError)
    assert "another" in str(error.value)


def test_no_primary_stream(stxm, docs, refused):
    empty = stxm.run({"metadata": docs[0][1]["metadata"]}, None, [])
    said = refused(empty, errors.NoPrimaryStreamError, ValueError)
    assert empty[0][1]["uid"] in said
    assert "'primary'" in said


def test_a_detector_that_no_stream_has_in_a_run_without_events(docs, refused):
    empty = [*changed(docs, primary_det="photodiode")[:4], docs[-1]]
    assert "'photodiode'" in refused(empty, errors.UnknownDetectorError, ValueError)


@pytest.mark.parametrize("number", [6, 14, 16, 54])
def test_a_waveform_that_fits_nothing(docs, refused, number):
    """Lines have 5 points, and there are 3; fewer than 5 are a line that was broken off."""
    event = {**docs[4][1], "data": {"counter0_wave": [1.0] * number}}
    documents = [*docs[:4], ("event", event), *docs[5:]]
    said = refused(documents, errors.MisfitError, ValueError)
    assert f"{number} numbers" in said
    assert "3 x 5" in said


def test_more_events_than_points(docs, refused):
    more = [*docs[:-1], ("event", {**docs[-2][1], "seq_num": 4}), docs[-1]]
    said = refused(more, errors.MisfitError, ValueError)
    assert "event 4" in said
    assert "3 x 5" in said


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"data": {"counter0_wave": ["a"] * 5}}, errors.MisfitError, "not numbers"),
        ({"data": {"counter0_wave": [2**60 + 1] * 5}}, errors.MisfitError, "2**53"),  # which no float holds
        (
            {"filled": {"counter0_wave": False}, "data": {"counter0_wave": "datum-id"}},
            *(errors.UnfilledError, "'counter0_wave'"),
        ),
    ],
)
def test_events_without_numbers(docs, refused, changes, kind, said):
    assert said in refused([*docs[:4], ("event", {**docs[4][1], **changes}), *docs[5:]], kind, ValueError)


def test_data_in_a_file_beside_the_documents(docs, refused):
    keys = {"counter0_wave": {**docs[3][1]["data_keys"]["counter0_wave"], "external": "STREAM:"}}
    documents = [*docs[:3], ("descriptor", {**docs[3][1], "data_keys": keys}), docs[-1]]
    assert "'counter0_wave'" in refused(documents, errors.UnfilledError, ValueError)


def test_documents_without_a_start(docs, tmp_path):
    for documents in (docs[1:], docs[-1:]):
        with pytest.raises(errors.MetadataError, match="start document"):
            export(documents, tmp_path, file_prefix="C1")
        with pytest.raises(errors.MetadataError, match="start document"):
            export_scan([documents], tmp_path, "C1")
    assert not list(tmp_path.iterdir())


def test_an_event_without_its_descriptor(docs, tmp_path):
    with pytest.raises(errors.MetadataError, match="descriptor"):
        export([docs[0], docs[4]], tmp_path, file_prefix="C1")


def test_runs_of_different_scans(stxm, tmp_path):
    runs = [stxm.make("sample image").runs[0], stxm.make("osa image").runs[0]]
    with pytest.raises(errors.MetadataError, match="OSA_IMAGE in a scan that is SAMPLE_IMAGE"):
        export_scan(runs, tmp_path, "C1")


def test_no_runs(tmp_path):
    with pytest.raises(errors.NothingToFinishError, match="no run was given"):
        export_scan([], tmp_path, "C1")
    with pytest.raises(TypeError, match="a run is"):
        export_scan(["d9ea70fb"], tmp_path, "C1")
    with pytest.raises(TypeError, match="a run is"):
        export_scan([7], tmp_path, "C1")


def test_names_numbers_and_aliases():
    assert [member.value for member in types] == list(range(14))
    assert types.SAMPLE_POINT_SPECTRUM is types.SAMPLE_POINT_SPECTRA
    assert types.COARSE_GONI is types(10)
    assert types.PTYCHOGRAPHY.name == "PTYCHOGRAPHY_SCAN"
