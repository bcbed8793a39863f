"""Things whose legal names coincide: each has its own group, and its own name as an attribute."""

import numpy as np
import pytest

from suitcase_nxstxm import export_scan

X, Y = np.linspace(-1, 1, 4), np.linspace(0, 2, 3)


def points(stxm, keys, data, *, detectors=None, primary="det-1", **start):
    """An image point by point; `data` has the numbers of each key, one a point."""
    asked = {"0": stxm.region(X, Y, [705.0])}
    start |= {"metadata": stxm.metadata(6, asked, {"sp_id": 0}, detectors=(primary,))}
    if detectors is not None:
        start["detectors"] = detectors
    events = [dict(zip(data, values, strict=True)) for values in zip(*data.values(), strict=True)]
    return stxm.run(start, keys, events, baseline=False)


@pytest.mark.parametrize("order", [("det-1", "det_1", "det:1"), ("det_1", "det:1", "det-1")])
def test_detectors_whose_legal_names_coincide(stxm, read, tmp_path, validated, order):
    data = {name: 100.0 * i + np.arange(12) for i, name in enumerate(order)}
    keys = {name: stxm.key(name, units="counts") for name in order}
    path = export_scan([points(stxm, keys, data)], tmp_path, "scan")
    found = read(path)
    own = {found[f"entry0/instrument/{group}/local_name"].decode(): group for group in ("det_1", "det_1_2", "det_1_3")}
    assert set(own) == set(order)
    for name, group in own.items():
        np.testing.assert_array_equal(found[f"entry0/{group}/data"].ravel(), data[name])
        np.testing.assert_array_equal(found[f"entry0/instrument/{group}/data"], data[name])
        assert found.get(f"entry0/{group}/data@name", group) == name
    assert found["entry0@default"] == own["det-1"]
    assert validated(path) == [(0, 0), (0, 0)]


def test_they_stay_apart_when_the_file_is_opened_again(stxm, read, tmp_path):
    names = ("counter-0", "counter_0")
    keys = {name: stxm.key(name, "array", [9], "counts") for name in names}
    energies = np.linspace(700, 702, 3)
    data = stxm.numbers(2, 3, 3, 4)
    runs = []
    for e in range(3):
        place = {"e_idx": e, "sp_id": 0}
        start = {"metadata": stxm.metadata(7, {"0": stxm.region(X, Y, energies)}, place, detectors=names)}
        # The second run has them the other way round, the third one has one of them.
        told = names[:: 1 if e != 1 else -1][: 1 if e == 2 else 2]
        lines = [{name: data[names.index(name), e, i] for name in told} for i in range(3)]
        runs.append(stxm.run(start, {name: keys[name] for name in told}, lines, baseline=False))
    found = read(export_scan(runs, tmp_path, "scan"))  # it is opened for each run
    np.testing.assert_array_equal(found["entry0/counter_0/data"], data[0])
    np.testing.assert_array_equal(found["entry0/counter_0_2/data"][:2], data[1, :2])
    assert np.isnan(found["entry0/counter_0_2/data"][2]).all()


def test_a_detector_does_not_take_the_place_of_something_else(stxm, read, tmp_path, validated):
    names = ["source", "monochromator", "sample", "instrument", "control", "collection", "title"]
    data = {f"{name}_value": 100.0 * i + np.arange(12) for i, name in enumerate(names)}
    keys = {f"{name}_value": stxm.key(name, units="counts") for name in names}
    data["ring_current"], keys["ring_current"] = np.full(12, 200.0), stxm.key("ring_current", units="mA")
    path = export_scan([points(stxm, keys, data, detectors=names, primary="source")], tmp_path, "scan")
    found = read(path)
    for i, name in enumerate(names):
        np.testing.assert_array_equal(found[f"entry0/{name}_2/data"].ravel(), 100.0 * i + np.arange(12))
    np.testing.assert_array_equal(found["entry0/control/data"].ravel(), np.full(12, 200.0))
    assert found["entry0/instrument/source@NX_class"] == "NXsource"
    assert validated(path) == [(0, 0), (0, 0)]


def test_a_device_that_is_called_like_the_key_of_another(stxm, read, tmp_path):
    data = {key: 100.0 * i + np.arange(12) for i, key in enumerate(("det_a", "det_b", "det_a_value"))}
    keys = {"det_a": stxm.key("det"), "det_b": stxm.key("det"), "det_a_value": stxm.key("det_a")}
    found = read(export_scan([points(stxm, keys, data, primary="det_b")], tmp_path, "scan"))
    for key, numbers in data.items():
        np.testing.assert_array_equal(found[f"entry0/{key}/data"].ravel(), numbers)


def test_channels_of_two_scalers_with_one_name(stxm, read, tmp_path):
    asked = {"0": stxm.region(X, Y, [705.0])}
    data = stxm.numbers(2, 3, 4)
    keys = {name: stxm.key(name, "array", [4], "counts") for name in ("s1", "s2")}
    events = [{"s1": {"0": data[0, i].tolist()}, "s2": {"0": data[1, i].tolist()}} for i in range(3)]
    for primary, default in (("s1", "_0"), ("s2", "s2_0")):
        start = {"metadata": stxm.metadata(6, asked, {"sp_id": 0}, new=True, detectors=(primary,))}
        found = read(export_scan([stxm.run(start, keys, events)], tmp_path, primary))
        np.testing.assert_array_equal(found["entry0/_0/data"], data[0])
        np.testing.assert_array_equal(found["entry0/s2_0/data"], data[1])
        assert found["entry0@default"] == default


def test_devices_of_the_baseline_whose_legal_names_coincide(stxm, read, tmp_path):
    documents = stxm.make("sample image").runs[0]
    names = ["a-1", "a_1", "a:1"]
    (_, descriptor), (_, event) = documents[1:3]
    keys = {name: stxm.key(name) for name in names}
    keys |= {"a:1.x-y": stxm.key("a:1"), "a:1.x_y": stxm.key("a:1")}
    values = dict(zip(keys, range(5), strict=True))
    changed = [
        documents[0],
        ("descriptor", {**descriptor, "data_keys": keys, "object_keys": {}}),
        ("event", {**event, "data": values}),
        *documents[3:],
    ]
    found = read(export_scan([changed], tmp_path, "scan"))
    stored = {
        found[f"{path}@name"]: value[0]
        for path, value in found.items()
        if path.startswith("entry0/collection/baseline/") and f"{path}@name" in found
    }
    assert stored == values
    assert {found[f"entry0/collection/baseline/{own}@name"] for own in ("a_1", "a_1_2", "a_1_3")} == set(names)
