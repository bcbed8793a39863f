"""Which data key is what: roles are told by what the run says of its devices, not by what a name looks like."""

import numpy as np
import pytest

from suitcase_nxstxm import NXstxmWriter, export_scan

X, Y = np.linspace(-1, 1, 4), np.linspace(0, 2, 3)


def image(stxm, more, *, detectors=("counter0",), new=False, **start):
    """An image point by point; `more` has the key and the values of other readings."""
    data, keys = stxm.numbers(3, 4), {}
    events, _ = stxm.points(data, keys, ("GoniY", Y), ("GoniX", X))
    for name, (key, values) in more.items():
        keys[name] = key
        for event, value in zip(events, values, strict=True):
            event[name] = value
    start |= {"metadata": stxm.metadata(6, {"0": stxm.region(X, Y, [705.0])}, {}, detectors=detectors, new=new)}
    return data, stxm.run(start, keys, events)


def another_stream(stxm, docs, name, data):
    """The run with one more stream, whose events come last."""
    uid = docs[0][1]["uid"]
    keys = {key: stxm.key(key) for key in data}
    descriptor = {"uid": f"{name}-{uid}", "run_start": uid, "name": name, "time": 1.0, "data_keys": keys}
    events = [
        ("event", {"descriptor": descriptor["uid"], "seq_num": i + 1, "time": 1.0, "data": dict.fromkeys(data, value)})
        for i, value in enumerate(next(iter(data.values())))
    ]
    return [*docs[:-1], ("descriptor", descriptor), *events, docs[-1]]


@pytest.mark.parametrize("name", ["primary_2", "not primary", "primary_monitor"])
def test_a_stream_that_is_called_like_the_primary_one_is_another(stxm, read, tmp_path, name):
    data, docs = image(stxm, {})
    docs = another_stream(stxm, docs, name, {"counter0_value": [-1.0, -2.0]})
    found = read(export_scan([docs], tmp_path, "scan"))
    np.testing.assert_array_equal(found["entry0/counter0/data"], data)
    rows = f"entry0/collection/{name.replace(' ', '_')}/counter0_value"
    np.testing.assert_array_equal(found[f"{rows}/value"], [-1, -2])


@pytest.mark.parametrize("name", ["xrf_energy", "deposited_energy", "photon_energy"])
def test_a_detector_that_is_called_like_a_motor_is_a_detector(stxm, read, tmp_path, name):
    values = 100.0 + np.arange(12)
    _, docs = image(stxm, {name: (stxm.key(name, units="keV"), values.tolist())})
    found = read(export_scan([docs], tmp_path, "scan"))
    np.testing.assert_array_equal(found[f"entry0/{name}/data"].ravel(), values)
    np.testing.assert_array_equal(found["entry0/instrument/monochromator/energy"], np.full(12, 705.0))


ODD = {
    "a time in ns": ("integer", [1_764_000_000_000_000_001 + i for i in range(12)]),
    "text in one event": ("number", [*range(11), "off-line"]),
}


@pytest.mark.parametrize("odd", ODD)
def test_what_has_no_place_on_the_grid_costs_no_scan(stxm, read, tmp_path, odd):
    dtype, values = ODD[odd]
    data, docs = image(stxm, {"odd": (stxm.key("odd", dtype), values)}, detectors=("counter0",))
    docs = [(name, doc) for name, doc in docs]
    writer = NXstxmWriter(tmp_path, "scan")
    stxm.feed(writer, docs)
    found = read(*writer.artifacts["all"])
    np.testing.assert_array_equal(found["entry0/counter0/data"], data)
    stored = found["entry0/collection/primary/odd/value"]
    told = [value.decode() if isinstance(value, bytes) else value for value in stored.tolist()]
    assert told == ([str(value) for value in values] if "text" in odd else values)
    assert "entry0/odd/data" not in found


def test_a_waveform_that_fits_nothing_beside_lines_that_fit(stxm, read, tmp_path):
    data = stxm.numbers(3, 4)
    keys = {"counter0_wave": stxm.key("counter0", "array", [4]), "odd": stxm.key("odd", "array", [7])}
    start = {"metadata": stxm.metadata(6, {"0": stxm.region(X, Y, [705.0])}, {})}
    docs = stxm.run(start, keys, [{"counter0_wave": line, "odd": np.arange(7) + i} for i, line in enumerate(data)])
    found = read(export_scan([docs], tmp_path, "scan"))
    np.testing.assert_array_equal(found["entry0/counter0/data"], data)
    expected = np.arange(7) + np.arange(3)[:, np.newaxis]
    np.testing.assert_array_equal(found["entry0/collection/primary/odd/value"], expected)


def test_all_detectors_of_a_list_have_all_their_points(stxm, read, tmp_path, validated):
    diode = 7.0 + np.arange(12)
    more = {"pmt_value": (stxm.key("pmt", units="V"), diode.tolist())}
    data, docs = image(stxm, more, detectors=("counter0", "pmt"), new=True)
    path = export_scan([docs], tmp_path, "scan")
    found = read(path)
    for name, expected in (("counter0", data), ("pmt", diode.reshape(3, 4))):
        np.testing.assert_array_equal(found[f"entry0/{name}/data"], expected)
        np.testing.assert_array_equal(found[f"entry0/instrument/{name}/data"], expected.ravel())
    assert found["entry0@default"] == "counter0"
    assert validated(path) == [(0, 0), (0, 0)]


def test_settings_and_times_of_events_are_in_the_file(stxm, read, tmp_path):
    _, docs = image(stxm, {})
    number = next(i for i, (name, doc) in enumerate(docs) if name == "descriptor" and doc.get("name") == "primary")
    settings = {
        "counter0": {
            "data": {"counter0_dwell": 12.5, "counter0_gain": 3, "counter0_mode": "fast"},
            "timestamps": {},
            "data_keys": {"counter0_dwell": {"units": "ms", "dtype": "number", "shape": [], "source": "PV"}},
        }
    }
    docs[number] = ("descriptor", {**docs[number][1], "configuration": settings})
    found = read(export_scan([docs], tmp_path, "scan"))
    device = "entry0/collection/configuration/counter0"
    np.testing.assert_array_equal(found[f"{device}/dwell"], [12.5])
    assert found[f"{device}/dwell@units"] == "ms"
    np.testing.assert_array_equal(found[f"{device}/gain"], [3])
    assert found[f"{device}/mode"].tolist() == [b"fast"]
    times = [doc["time"] for name, doc in docs if name == "event"][1:]
    np.testing.assert_array_equal(found["entry0/collection/primary/time"], times)


def test_a_dwell_of_the_settings_is_the_time_of_counting(measured, read, tmp_path):
    import bluesky.plans as bp
    from ophyd.sim import SynAxis, SynSignal

    counter = SynSignal(name="counter", func=lambda: 1.0)
    docs = measured(bp.grid_scan([counter], SynAxis(name="sample_y"), 0, 1, 2, SynAxis(name="sample_x"), 0, 1, 3))
    settings = {"data": {"counter_exposure_time": 0.25}, "data_keys": {"counter_exposure_time": {"units": "s"}}}
    docs = [
        (name, {**doc, "configuration": {"counter": settings}} if name == "descriptor" else doc) for name, doc in docs
    ]
    found = read(export_scan([docs], tmp_path, "scan"))
    np.testing.assert_array_equal(found["entry0/counter/count_time"], [0.25])
