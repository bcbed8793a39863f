import re
import uuid

import event_model
import numpy as np
import pytest
from event_model import DocumentNames, schema_validators

from bluesky_ext.engine.documents.derived_run import DerivedRun
from bluesky_ext.engine.documents.descriptors import data_key
from bluesky_ext.engine.documents.provenance import Provenance, new_uid


@pytest.fixture
def parent():
    return {
        "uid": "raw",
        "time": 1.0,
        "motors": ["mx"],
        "hints": {"dimensions": []},
        "detectors": ["det"],
        "sample": {"a": [1]},
    }


@pytest.fixture
def sink():
    return []


@pytest.fixture
def derived(parent, sink):
    return DerivedRun(lambda name, doc: sink.append((name, doc)), parent, Provenance.of("Test", {}))


def named(sink, kind):
    return [doc for name, doc in sink if name == kind]


def test_uids_are_random_uuids_of_version_4():
    uids = [uuid.UUID(new_uid()) for _ in range(1000)]
    assert {(uid.version, uid.variant) for uid in uids} == {(4, uuid.RFC_4122)}
    assert len(set(uids)) == 1000
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", new_uid())


def test_objects_that_no_descriptor_will_carry_are_not_promised(parent):
    kept = Provenance.of("Test", {}).start(parent)
    assert (kept["motors"], kept["hints"], kept["detectors"]) == (["mx"], {"dimensions": []}, ["det"])
    dropped = Provenance.of("Test", {}, keeps_objects=False).start(parent)
    assert not {"motors", "hints", "detectors"} & dropped.keys()
    assert kept["sample"] == dropped["sample"] == {"a": [1]}
    assert kept["sample"]["a"] is not parent["sample"]["a"]


@pytest.mark.parametrize(
    ("value", "dtype", "shape", "numpy_dtype"),
    [
        (1, "integer", [], "<i8"),
        (1.5, "number", [], "<f8"),
        (True, "boolean", [], "|b1"),
        ("text", "string", [], None),
        (np.zeros((2, 3), ">u2"), "array", [2, 3], ">u2"),
        ([1, 2, 3], "array", [3], "<i8"),
        (np.array(["ab", "c"]), "array", [2], "<U2"),
    ],
)
def test_data_keys_say_what_a_value_is(value, dtype, shape, numpy_dtype):
    said = data_key(value, "here", {"units": "mm", "shape": [9], "external": "STREAM:", "limits": {}})
    assert (said["dtype"], said["shape"], said.get("dtype_numpy")) == (dtype, shape, numpy_dtype)
    assert said["source"] == "here"
    assert said["units"] == "mm"
    assert not {"external", "limits"} & said.keys()


def test_numpy_scalars_become_python_numbers(derived, sink):
    derived.event("primary", None, {"a": np.float32(0.5), "b": np.int16(3), "c": np.bool_(True), "d": np.str_("x")})
    derived.event("primary", None, {"a": np.float32(1.5), "b": np.int16(4), "c": np.bool_(False), "d": np.str_("y")})
    (descriptor,) = named(sink, "descriptor")
    assert [[type(value) for value in doc["data"].values()] for doc in named(sink, "event")] == [
        [float, int, bool, str]
    ] * 2
    assert [key["dtype"] for key in descriptor["data_keys"].values()] == ["number", "integer", "boolean", "string"]


def test_rows_are_one_page_and_count_on(derived, sink):
    assert derived.rows("primary", {"x": np.array([1.0, 2.0]), "n": np.array([1, 2])}, number=1) == 1
    assert derived.rows("primary", {"x": np.array([]), "n": np.array([], int)}, number=2) == 3
    assert derived.rows("primary", {"x": np.array([3.0]), "n": np.array([3])}, number=3) == 3
    stop = derived.stop("success", "", {})
    assert [doc["seq_num"] for doc in named(sink, "event_page")] == [[1, 2], [3]]
    assert named(sink, "event_page")[0]["data"] == {"x": [1.0, 2.0], "n": [1, 2]}
    assert stop["num_events"] == {"primary": 3}
    for name, doc in sink:
        schema_validators[DocumentNames[name]].validate(doc)
    assert list(event_model.unpack_event_page(named(sink, "event_page")[0]))[1]["data"] == {"x": 2.0, "n": 2}


def test_rows_have_the_time_of_their_event_and_one_that_sorts_them(derived, sink):
    now = 1796075581.25
    derived.rows("primary", {"x": np.arange(10_000)}, event={"time": now, "timestamps": {}})
    (page,) = named(sink, "event_page")
    assert page["time"] == sorted({*page["time"]})
    assert page["time"][0] == page["timestamps"]["x"][0] == now
    assert page["time"][-1] < now + 0.0025


def test_a_value_that_is_taken_away_is_gone(derived, sink):
    event = {"uid": "e", "time": 2.0, "seq_num": 1, "data": {"a": 1, "b": 2}, "timestamps": {"a": 1.0, "b": 1.5}}
    keys = {key: {"source": "dev", "dtype": "integer", "shape": [], "units": "s"} for key in "ab"}
    descriptor = {
        "uid": "d",
        "data_keys": keys,
        "object_keys": {"one": ["a"], "two": ["b"]},
        "hints": {"one": {"fields": ["a"]}, "two": {"fields": ["b"]}},
        "configuration": {"one": {"data": {}}, "two": {"data": {"x": 1}}},
    }
    derived.event("primary", 1, {"a": None, "c": 3.0}, event=event, descriptor=descriptor)
    (said,), (out,) = named(sink, "descriptor"), named(sink, "event")
    assert out["data"] == {"b": 2, "c": 3.0}
    assert out["timestamps"] == {"b": 1.5, "c": 2.0}
    assert said["object_keys"] == {"two": ["b"], "Test": ["c"]}
    assert said["data_keys"]["b"] == keys["b"]
    assert said["data_keys"]["c"]["source"] == "bluesky_ext:Test"
    assert said["hints"] == {"two": {"fields": ["b"]}, "Test": {"fields": []}}
    assert said["configuration"] == {"two": {"data": {"x": 1}}}
    assert event["data"] == {"a": 1, "b": 2}


def test_a_start_that_is_not_valid_is_refused(parent):
    with pytest.raises(Exception, match="no/good"):
        DerivedRun(lambda name, doc: None, parent | {"no/good": 1}, Provenance.of("Test", {}))
