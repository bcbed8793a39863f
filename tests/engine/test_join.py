from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bluesky import plans as bp
from event_model import DocumentNames, pack_datum_page, pack_event_page, schema_validators
from hypothesis import given, settings
from hypothesis import strategies as st
from ophyd.sim import NumpySeqHandler, SynSignal, hw

from bluesky_ext.engine.documents.intervals import Intervals
from bluesky_ext.engine.frames.datums import DatumReference
from bluesky_ext.engine.frames.join import Joiner, Missing
from bluesky_ext.engine.frames.references import FrameNotAvailable, as_image
from bluesky_ext.engine.frames.stream_files import StreamReference
from bluesky_ext.engine.frames.streams import EVENTS_KEPT

# What they say of themselves is not what the RunEngine's types say.
Documents = list[tuple[str, Any]]
motor: Any = hw().motor


def join(documents: Iterable[tuple[str, Any]], joiner: Joiner | None = None, **options: Any) -> list[Any]:
    """The events that a joiner gives for documents, which it must not change."""
    documents = list(documents)
    joiner = joiner or Joiner(**options)
    before = pickle.dumps(documents)
    events = [event for name, doc in documents for event in joiner(name, doc)]
    assert pickle.dumps(documents) == before
    for event in events:
        schema_validators[DocumentNames.event].validate({**event, "data": dict.fromkeys(event["data"], 0)})
        assert event["data"].keys() == event["timestamps"].keys()
        assert event.get("filled", {}).keys() <= event["data"].keys()
    return events


def of_kind(documents: Documents, name: str) -> list[dict[str, Any]]:
    return [doc for kind, doc in documents if kind == name]


# --- images in the events ---------------------------------------------------------------------------------


def test_events_without_frames_in_files_are_the_same_objects(documents_of: Any) -> None:
    numbers = itertools.count()
    camera: Any = SynSignal(func=lambda: np.full((2, 2), next(numbers), "uint16"), name="camera")
    devices = hw()
    documents = documents_of(bp.count([camera, devices.det, devices.direct_img, devices.direct_img_list], 2))
    joiner = Joiner()
    events = join(documents, joiner)
    assert [id(event) for event in events] == [id(event) for event in of_kind(documents, "event")]
    assert [event["seq_num"] for event in events] == [1, 2]
    first, second = (as_image(event["data"]["camera"]) for event in events)
    np.testing.assert_array_equal(first, np.full((2, 2), first[0, 0], "uint16"), strict=True)
    np.testing.assert_array_equal(second, first + 1, strict=True)
    assert as_image(events[0]["data"]["direct_img_list"]).shape == (10, 10)
    assert joiner.finish() == ([], [])


# --- resource and datum -----------------------------------------------------------------------------------


@pytest.fixture
def counted(documents_of: Any) -> Documents:
    """The documents of three events with an image in a file and a motor."""
    return documents_of(bp.scan([hw().img], motor, 0, 2, 3))


@pytest.mark.parametrize("handlers", [None, {"NPY_SEQ": NumpySeqHandler}])
def test_an_image_behind_a_datum_is_referred_to_and_read(counted: Documents, handlers: Any) -> None:
    joiner = Joiner(["img"], handlers)
    events = join(counted, joiner)
    assert joiner.needs(of_kind(counted, "descriptor")[0]["uid"])
    assert [event["data"]["motor"] for event in events] == [0, 1, 2]
    for number, (event, raw) in enumerate(zip(events, of_kind(counted, "event"), strict=True)):
        assert {**event, "data": None, "filled": None} == {**raw, "data": None, "filled": None}
        frame = event["data"]["img"]
        assert isinstance(frame, DatumReference)
        assert frame.datum_kwargs == {"index": number}
        assert frame.handler is (handlers or {}).get("NPY_SEQ")
        np.testing.assert_array_equal(as_image(frame), np.ones((10, 10)))
        assert event["filled"] == {"img": False}
    assert joiner.finish() == ([], [])


def test_a_frame_that_is_not_wanted_is_left_out(counted: Documents) -> None:
    for data_keys in ([], ["motor"]):
        joiner = Joiner(data_keys)
        events = join(counted, joiner)
        for event in events:
            assert event["data"].keys() == event["timestamps"].keys() == {"motor", "motor_setpoint"}
            assert event["filled"] == {}
        assert len(events) == 3
        assert joiner.finish() == ([], [])


def test_a_datum_may_come_after_its_event_and_its_resource_too(counted: Documents) -> None:
    descriptor, resource = (
        ("descriptor", of_kind(counted, "descriptor")[0]),
        ("resource", of_kind(counted, "resource")[0]),
    )
    datums = [("datum", doc) for doc in of_kind(counted, "datum")]
    events = [("event", doc) for doc in of_kind(counted, "event")]
    joiner = Joiner()
    assert join([descriptor, *events], joiner) == []
    assert [(seq_num, missing.data_key) for missing in joiner.finish()[1] for seq_num in missing.seq_nums] == [
        (1, "img"),
        (2, "img"),
        (3, "img"),
    ]
    assert datums[0][1]["datum_id"] in joiner.finish()[1][0].reason
    assert join([datums[1]], joiner) == []
    assert resource[1]["uid"] in joiner.finish()[1][1].reason
    assert [event["seq_num"] for event in join([resource], joiner)] == [2]
    assert [event["seq_num"] for event in join([datums[2], datums[0]], joiner)] == [3, 1]
    assert joiner.finish() == ([], [])


def test_pages_are_unpacked(counted: Documents) -> None:
    others = [(name, doc) for name, doc in counted if name not in ("event", "datum")]
    datums: Any = pack_datum_page(*of_kind(counted, "datum"))  # pyright: ignore
    events: Any = pack_event_page(*of_kind(counted, "event"))  # pyright: ignore
    for pages in ([("datum_page", datums), ("event_page", events)], [("event_page", events), ("datum_page", datums)]):
        joined = join([*others, *pages])
        assert [event["data"]["img"].datum_kwargs["index"] for event in joined] == [0, 1, 2]
        assert [event["data"]["motor"] for event in joined] == [0, 1, 2]


def test_a_root_map_and_a_file_that_is_not_where_it_was(counted: Documents, tmp_path: Path) -> None:
    root = of_kind(counted, "resource")[0]["root"]
    frame = join(counted, root_map={root: str(tmp_path)})[1]["data"]["img"]
    with pytest.raises(FrameNotAvailable, match=r"^img \(run \w{8}, stream primary, seq_num 2\)") as caught:
        frame.read(patience=0)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    np.save(f"{frame.file}_1.npy", np.zeros((2, 2)))
    np.testing.assert_array_equal(frame.read(patience=0), np.zeros((2, 2)))


def test_what_is_filled_or_is_no_datum_is_not_looked_up() -> None:
    descriptor: dict[str, Any] = {"uid": "d", "run_start": "r", "time": 0.0, "name": "primary"}
    descriptor["data_keys"] = {
        "sample": {"dtype": "string", "shape": [], "source": ""},
        "img": {"dtype": "array", "shape": [2, 2], "source": "", "external": "FILESTORE:"},
    }
    image = np.ones((2, 2))

    def event(value: Any, filled: Any, sample: str = "Si") -> dict[str, Any]:
        data = {"sample": sample, "img": value}
        times = dict.fromkeys(data, 1.0)
        doc = {"uid": "e", "descriptor": "d", "seq_num": 1, "time": 1.0, "data": data, "timestamps": times}
        return doc if filled is None else {**doc, "filled": filled}

    for doc in (event(image, {"img": True}), event(image, {}), event(image, None), event("a string", {"img": "r/1"})):
        joiner = Joiner()
        joiner("descriptor", descriptor)
        (joined,) = joiner("event", doc)
        assert joined is doc
    for doc in (event("r/1", {"img": False}), event("r/1", {}), event("r/1", None)):
        joiner = Joiner()
        joiner("descriptor", descriptor)
        assert list(joiner("event", doc)) == []
        assert joiner.finish()[1] == [Missing("d", range(1, 2), "img", "datum 'r/1' never came")]
    # a device that does not say external, but whose event says that it is not filled
    plain = {**descriptor, "data_keys": {"img": {"dtype": "array", "shape": [2, 2], "source": ""}}}
    joiner = Joiner()
    joiner("descriptor", plain)
    doc = event("r/1", {"img": False})
    assert not joiner.needs("d")
    assert list(joiner("event", {**doc, "data": {"img": "r/1"}, "timestamps": {"img": 1.0}})) == []


# --- stream_resource and stream_datum: what comes when ----------------------------------------------------


def descriptor(
    *streamed: str, inline: tuple[str, ...] = ("x",), uid: str = "d", name: str = "primary"
) -> tuple[str, Any]:
    keys: dict[str, Any] = {
        key: {"dtype": "array", "shape": [1, 4, 5], "source": "", "external": "STREAM:"} for key in streamed
    }
    keys |= {key: {"dtype": "number", "shape": [], "source": ""} for key in inline}
    return "descriptor", {"uid": uid, "run_start": "run", "time": 5.0, "name": name, "data_keys": keys}


def stream_resource(key: str = "det", uid: str = "r") -> tuple[str, Any]:
    parameters = {"dataset": "data"}
    doc = {
        "uid": uid,
        "data_key": key,
        "mimetype": "application/x-hdf5",
        "uri": f"file:///{uid}",
        "parameters": parameters,
    }
    return "stream_resource", {**doc, "run_start": "run"}


def stream_datum(
    seq_num: int, index: int, count: int = 1, resource: str = "r", descriptor: str = "d"
) -> tuple[str, Any]:
    doc: dict[str, Any] = {"uid": f"{resource}/{index}", "stream_resource": resource, "descriptor": descriptor}
    doc["seq_nums"] = {"start": seq_num, "stop": seq_num + count}
    return "stream_datum", {**doc, "indices": {"start": index, "stop": index + count}}


def event(seq_num: int, uid: str = "", descriptor: str = "d", **data: Any) -> tuple[str, Any]:
    doc = {"uid": uid or f"e{seq_num}", "descriptor": descriptor, "seq_num": seq_num, "time": 10.0 + seq_num}
    return "event", {**doc, "data": data, "timestamps": dict.fromkeys(data, 1.0), "filled": {}}


def told(events: Iterable[Any], key: str = "det") -> list[tuple[int, str, int]]:
    return [(event["seq_num"], event["uid"], event["data"][key].index) for event in events]


def test_an_event_waits_for_all_of_its_streams() -> None:
    joiner = Joiner()
    start = [descriptor("a", "b"), stream_resource("a", "ra"), stream_resource("b", "rb")]
    assert join([*start, event(1, x=1), event(2, x=2), stream_datum(1, 0, 2, "ra")], joiner) == []
    assert joiner.finish()[1] == [
        Missing("d", range(1, 2), "b", "neither a value nor a stream_datum of this seq_num came for it"),
        Missing("d", range(2, 3), "b", "neither a value nor a stream_datum of this seq_num came for it"),
    ]
    (second,) = join([stream_datum(2, 7, 1, "rb")], joiner)
    assert (second["seq_num"], second["data"]["a"].index, second["data"]["b"].index, second["data"]["x"]) == (
        2,
        1,
        7,
        2,
    )
    assert second["data"]["a"].file == "/ra"
    # a stage that works on one of them does not wait for the other
    assert told(join([*start, event(1, x=1), stream_datum(1, 4, 2, "ra")], data_keys=["a"]), "a") == [(1, "e1", 4)]


def test_a_key_without_any_stream_resource_is_reported() -> None:
    joiner = Joiner()
    assert join([descriptor("det"), event(1, x=1)], joiner) == []
    assert joiner.finish()[1] == [Missing("d", range(1, 2), "det", "neither a value nor a stream_resource came for it")]
    assert [event["seq_num"] for event in join([descriptor("det"), event(1, x=1)], data_keys=["x"])] == [1]


def test_a_stream_key_need_not_be_called_external() -> None:
    for order in (0, 1):
        joiner = Joiner()
        streamed = [stream_resource(), stream_datum(1, 0, 2)]
        events = [event(1, x=1), event(2, x=2)]
        documents = [descriptor(inline=("det", "x")), *((streamed, events)[order]), *((events, streamed)[order])]
        assert told(join(documents, joiner)) == [(1, "e1", 0), (2, "e2", 1)]
        assert joiner.needs("d")
        assert joiner.finish() == ([], [])


def test_a_fly_scan_may_show_itself_late() -> None:
    """Without `external`, it is not known to be one before all of its stream_resources are here."""
    joiner = Joiner(["a"])
    documents = [descriptor(inline=("a", "b")), stream_resource("a", "ra"), stream_datum(1, 0, 2, "ra")]
    assert join(documents, joiner) == []
    events = join([stream_resource("b", "rb"), stream_datum(1, 0, 2, "rb"), stream_datum(3, 2, 1, "ra")], joiner)
    assert [(event["seq_num"], event["data"]["a"].index) for event in events] == [(1, 0), (2, 1), (3, 2)]
    assert joiner.finish() == ([], [])


def test_the_frames_of_one_event_may_be_a_whole_fly_scan() -> None:
    joiner = Joiner()
    assert join([descriptor("det", inline=()), stream_resource(), stream_datum(1, 0)], joiner) == []
    (made,), missing = joiner.finish()
    assert (made["seq_num"], made["data"]["det"].index, missing) == (1, 0, [])
    assert joiner.finish() == ([], [])


def test_a_fly_scan_gives_an_event_when_all_wanted_keys_are_there() -> None:
    joiner = Joiner()
    start = [descriptor("a", "b", inline=()), stream_resource("a", "ra"), stream_resource("b", "rb")]
    assert join([*start, stream_datum(1, 0, 10, "ra")], joiner) == []
    assert told(join([stream_datum(1, 0, 3, "rb")], joiner), "b") != []
    (four, five) = join([stream_datum(4, 3, 2, "rb")], joiner)
    assert (four["seq_num"], four["data"]["a"].index, four["data"]["b"].index) == (4, 3, 3)
    assert (five["seq_num"], five["time"], five["timestamps"]) == (5, 5.0, {"a": 5.0, "b": 5.0})
    assert [(seq_num, missing.data_key) for missing in joiner.finish()[1] for seq_num in missing.seq_nums] == [
        (n, "b") for n in range(6, 11)
    ]


def test_frames_alone_are_held_until_their_event_or_those_of_a_second_one_come() -> None:
    """Only what never has events is a fly scan; where the first event was lost, later ones still have their own uid."""
    start = [descriptor("det", inline=()), stream_resource()]
    joiner = Joiner()
    assert join([*start, stream_datum(1, 0)], joiner) == []
    assert join([stream_datum(1, 1)], joiner) == []  # a resumed scan repeats it
    assert told(join([event(1), stream_datum(2, 2), event(2)], joiner)) == [(1, "e1", 1), (2, "e2", 2)]
    assert join([stream_datum(3, 3), stream_datum(4, 4)], joiner) == []  # now events are known to come
    assert told(join([event(4)], joiner)) == [(4, "e4", 4)]
    joiner = Joiner()
    made = told(join([*start, stream_datum(1, 0), stream_datum(2, 1)], joiner))
    assert [(seq_num, index) for seq_num, _, index in made] == [(1, 0), (2, 1)]
    assert told(join([event(2), stream_datum(3, 2), event(3)], joiner)) == [(2, "e2", 1), (3, "e3", 2)]


def test_an_event_of_frames_alone_may_have_its_image_or_a_new_frame() -> None:
    joiner = Joiner()
    join([descriptor("det", inline=()), stream_resource(), stream_datum(1, 0, 2), event(1), event(2)], joiner)
    assert told(join([stream_datum(1, 2, 2)], joiner)) == [(1, "e1", 2), (2, "e2", 3)]
    inline = np.ones((4, 5))
    (with_data,) = join([event(2, "inline", det=inline)], joiner)
    assert with_data["data"]["det"] is inline
    assert joiner.finish() == ([], [])


def test_a_fly_scan_of_no_interest_gives_nothing() -> None:
    documents = [descriptor("det", inline=()), stream_resource(), stream_datum(1, 0, 5)]
    for keys in (["other"], ["det", "other"], []):
        joiner = Joiner(keys)
        assert join(documents, joiner) == []
        assert joiner.finish() == ([], [])


def test_frames_of_a_stream_that_lacks_a_wanted_key_are_left_out_and_not_waited_for() -> None:
    joiner = Joiner(["det", "other"])
    (waiting,) = join([descriptor("det"), stream_resource(), event(1, x=1)], joiner)
    assert waiting["data"] == {"x": 1}
    assert join([stream_datum(1, 0)], joiner) == []
    assert joiner.finish() == ([], [])


def test_the_last_event_and_the_last_frame_win() -> None:
    start = [descriptor("det"), stream_resource()]
    before = [stream_datum(1, 0), event(1, "a", x=1), stream_datum(2, 1), event(2, "b", x=2)]
    after = [
        stream_datum(1, 2),
        event(1, "c", x=3),
        stream_datum(2, 3),
        event(2, "d", x=4),
        stream_datum(3, 4),
        event(3, x=5),
    ]
    joined = told(join([*start, *before, *after]))
    assert joined[:2] == [(1, "a", 0), (2, "b", 1)]
    assert {seq_num: rest for seq_num, *rest in joined} == {1: ["c", 2], 2: ["d", 3], 3: ["e3", 4]}
    # a frame of before that comes late changes nothing; a document that comes twice neither
    joiner = Joiner()
    join([*start, *before[1::2], *after], joiner)
    assert join([before[0], *after[::2]], joiner) == []
    # a new file after the first one counts from 0 again
    (again,) = join([stream_resource(uid="r2"), stream_datum(1, 0, resource="r2")], joiner)
    assert (again["uid"], again["data"]["det"].file, again["data"]["det"].index) == ("c", "/r2", 0)
    assert join([stream_datum(1, 9)], joiner) == []
    assert joiner.finish() == ([], [])


def test_a_repeated_event_that_waits_is_not_overtaken_by_the_one_before() -> None:
    name, doc = descriptor("det", inline=("x", "img"))
    doc["data_keys"]["img"]["external"] = "FILESTORE"
    resource = ("resource", {"uid": "q", "spec": "NPY_SEQ", "root": "/", "resource_path": "p", "resource_kwargs": {}})
    datums = [("datum", {"datum_id": f"q/{n}", "resource": "q", "datum_kwargs": {"index": n}}) for n in range(2)]
    joiner = Joiner()
    start = [(name, doc), stream_resource(), resource, datums[0], stream_datum(1, 0)]
    assert told(join([*start, event(1, "a", x=1, img="q/0")], joiner)) == [(1, "a", 0)]
    assert join([event(1, "b", x=2, img="q/1"), stream_datum(1, 1)], joiner) == []
    assert told(join([datums[1]], joiner)) == [(1, "b", 1)]


def test_a_stream_resource_that_comes_twice_is_the_same() -> None:
    documents = [descriptor("det"), stream_resource(), stream_datum(1, 1), event(1, x=1)]
    joiner = Joiner()
    assert told(join(documents, joiner)) == [(1, "e1", 1)]
    assert join([stream_resource(), stream_datum(1, 1), stream_datum(1, 0)], joiner) == []


def test_an_event_does_not_tell_of_frames_that_are_left_out() -> None:
    name, doc = event(1, x=1)
    doc["filled"], doc["timestamps"] = {"det": False}, {"x": 1.0, "det": 1.0}
    (joined,) = join([descriptor("det"), (name, doc)], data_keys=["x"])
    assert joined == {**doc, "filled": {}, "timestamps": {"x": 1.0}}


def test_a_frame_that_is_replaced_long_after_its_event_is_reported() -> None:
    joiner = Joiner()
    many = EVENTS_KEPT + 1
    join([descriptor("det"), stream_resource(), stream_datum(1, 0, many)], joiner)
    assert len(join([event(number, x=0) for number in range(1, many + 1)], joiner)) == many
    assert told(join([stream_datum(2, many)], joiner)) == [(2, "e2", many)]
    assert join([stream_datum(1, many + 1)], joiner) == []
    assert joiner.finish()[1] == [
        Missing("d", range(1, 2), "det", "its new frame came when the event was no longer kept")
    ]
    assert told(join([event(1, "again", x=0)], joiner)) == [(1, "again", many + 1)]
    assert joiner.finish() == ([], [])


def test_a_repeated_event_is_kept_from_its_last_time_on() -> None:
    joiner = Joiner()
    join([descriptor("det"), stream_resource(), stream_datum(1, 0, EVENTS_KEPT + 1)], joiner)
    join([event(number, x=0) for number in [*range(1, EVENTS_KEPT + 1), 1, EVENTS_KEPT + 1]], joiner)
    assert told(join([stream_datum(1, 5000, 2)], joiner)) == [(1, "e1", 5000)]
    assert [seq_num for missing in joiner.finish()[1] for seq_num in missing.seq_nums] == [2]


def test_events_with_images_in_them_are_not_kept() -> None:
    joiner = Joiner()
    start = [descriptor("det", inline=("x",)), stream_resource(), stream_datum(1, 0, 2)]
    for number, image in ((1, np.zeros((200, 200))), (2, [[0, 0], [0, 0]])):
        join([*start, event(number, x=image)], joiner)
        assert join([stream_datum(number, 2 * number)], joiner) == []
        assert [seq_num for missing in joiner.finish()[1] for seq_num in missing.seq_nums] == list(range(1, number + 1))


def test_events_that_wait_for_ever_are_missing() -> None:
    joiner = Joiner()
    documents = [descriptor("det"), stream_resource(), stream_datum(1, 0, 5), event(1, x=1), event(9, x=1)]
    assert len(join(documents, joiner)) == 1
    assert [seq_num for missing in joiner.finish()[1] for seq_num in missing.seq_nums] == [9]


def test_streams_do_not_mix_and_descriptors_of_one_stream_do() -> None:
    documents = [
        descriptor("det"),
        descriptor("det", uid="d2"),
        descriptor("det", uid="b", name="baseline"),
        stream_resource(),
        event(1, descriptor="b", x=1),
        event(1, x=1),
        event(2, descriptor="d2", x=2),
        stream_datum(1, 0, 2, descriptor="d2"),
        stream_datum(1, 2, descriptor="b"),
    ]
    joined = [
        (event["descriptor"], *(event["data"][key] for key in ("x",)), event["data"]["det"].index)
        for event in join(documents)
    ]
    assert joined == [("d", 1, 0), ("d2", 2, 1), ("b", 1, 2)]


def test_a_long_fly_scan_is_not_made_before_it_is_asked_for() -> None:
    joiner = Joiner()
    join([descriptor("det", inline=()), stream_resource()], joiner)
    events = iter(joiner(*stream_datum(1, 0, 10**12)))
    assert told([next(events), next(events)])[1][::2] == (2, 1)


def test_datum_and_stream_in_one_event() -> None:
    name, doc = descriptor("det", inline=("x", "img"))
    doc["data_keys"]["img"]["external"] = "FILESTORE"
    resource = ("resource", {"uid": "q", "spec": "NPY_SEQ", "root": "/", "resource_path": "p", "resource_kwargs": {}})
    datum = ("datum", {"datum_id": "q/0", "resource": "q", "datum_kwargs": {"index": 0}})
    rest = [stream_resource(), stream_datum(1, 0), event(1, x=1, img="q/0"), resource, datum]
    for order in ([0, 1, 2, 3, 4], [2, 0, 1, 3, 4], [3, 4, 2, 0, 1], [2, 4, 3, 0, 1], [4, 0, 2, 3, 1]):
        joiner = Joiner()
        (joined,) = join([(name, doc), *(rest[number] for number in order)], joiner)
        assert isinstance(joined["data"]["det"], StreamReference)
        assert isinstance(joined["data"]["img"], DatumReference)
        assert joiner.finish() == ([], [])


# --- any order --------------------------------------------------------------------------------------------


@st.composite
def interleavings(draw: st.DrawFn) -> tuple[list[tuple[str, Any]], dict[int, tuple[int, int]]]:
    """The documents of a scan with pauses, in some order, and what they come to: {seq_num: (x, frame)}.

    A frame is 100 times the number of its stream_resource plus its index there.
    """
    final: dict[int, tuple[int, int]] = {}
    events, datums = [], []
    for number in range(draw(st.integers(1, 2))):
        index = 0
        for first, count in draw(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 4)), min_size=1, max_size=4)):
            datums.append((number, stream_datum(first, index, count, f"r{number}")))
            for seq_num in range(first, first + count):
                final[seq_num] = (len(events), 100 * number + index)
                events.append(event(seq_num, f"e{len(events)}", x=len(events)))
                index += 1
    # Events come in their order, which is all that tells the last one; stream_datums in any, after their resource.
    left = iter(events)
    order = [descriptor("det")]
    known = 0
    for item in draw(st.permutations([*datums, *[None] * len(events)])):
        if item is None:
            order.append(next(left))
            continue
        number, datum = item
        order += [stream_resource(uid=f"r{each}") for each in range(known, number + 1)]
        order.append(datum)
        known = max(known, number + 1)
    return order, final


@settings(deadline=None)
@given(interleavings())
def test_any_interleaving_comes_to_the_same(given_: tuple[list[tuple[str, Any]], dict[int, tuple[int, int]]]) -> None:
    documents, final = given_
    joiner = Joiner()
    last = {
        event["seq_num"]: (
            event["data"]["x"],
            100 * int(event["data"]["det"].resource["uid"][1:]) + event["data"]["det"].index,
        )
        for name, doc in documents
        for event in joiner(name, doc)
    }
    assert last == final
    assert joiner.finish() == ([], [])


ADDITIONS = st.lists(
    st.tuples(st.integers(1, 12), st.integers(0, 6), st.integers(0, 2), st.integers(0, 12)), max_size=8
)


@given(ADDITIONS, ADDITIONS)
def test_ranges_are_a_table_that_is_not_written_out(ones: list[tuple], others: list[tuple]) -> None:
    tables: list[dict[int, tuple[int, int]]] = [{}, {}]
    both = [Intervals(), Intervals()]
    for table, ranges, additions in zip(tables, both, (ones, others), strict=True):
        for start, count, rank, index in additions:
            new = {start + step: (rank, index + step) for step in range(count)}
            better = {
                seq_num: frame for seq_num, frame in new.items() if seq_num not in table or frame > table[seq_num]
            }
            table.update(better)
            changed = ranges.add(start, start + count, rank, index)
            assert [seq_num for seq_nums in changed for seq_num in seq_nums] == sorted(better)
        assert {seq_num: ranges.get(seq_num) for seq_num in range(20) if ranges.get(seq_num)} == table
        assert [seq_num for seq_nums in ranges for seq_num in seq_nums] == sorted(table)
        assert bool(ranges) == bool(table)
    outside = [seq_num for seq_nums in both[0].outside(both[1]) for seq_num in seq_nums]
    assert outside == sorted(tables[0].keys() - tables[1].keys())


def test_frames_one_after_the_other_are_one_range() -> None:
    ranges = Intervals()
    for seq_num in [*range(1, 100, 2), *range(2, 100, 2)]:
        ranges.add(seq_num, seq_num + 1, 0, seq_num - 1)
    assert list(ranges) == [range(1, 100)]
    ranges.add(50, 60, 1, 0)
    assert list(ranges) == [range(1, 50), range(50, 60), range(60, 100)]


# --- what cannot be ---------------------------------------------------------------------------------------


def test_documents_out_of_order_are_refused_in_one_line() -> None:
    joiner = Joiner()
    for documents, says in (
        ([event(1, x=1)], "event e1: its descriptor 'd' has not come"),
        ([stream_datum(1, 0)], "stream_datum r/0: its descriptor 'd' has not come"),
        ([descriptor("det"), stream_datum(1, 0)], "stream_datum r/0: its stream_resource r has not come"),
    ):
        with pytest.raises(ValueError, match=says) as caught:
            join(documents, joiner)
        assert "\n" not in str(caught.value)
    name, doc = stream_datum(1, 0, 3)
    with pytest.raises(ValueError, match="3 indices for 1 seq_nums"):
        join([stream_resource(), (name, {**doc, "seq_nums": {"start": 1, "stop": 2}})], joiner)
    with pytest.raises(ValueError, match="'unknown'"):
        joiner.needs("unknown")


def test_numbers_that_no_event_has_are_refused_at_once() -> None:
    joiner = Joiner()
    join([descriptor("det"), stream_resource()], joiner)
    for number in (0, 2**61):
        for document in (event(number, x=1), stream_datum(number, 0)):
            with pytest.raises(ValueError, match=r"stream 'primary' has seq_num .*: they count from 1"):
                join([document], joiner)
    name, doc = event(1, x=1)
    with pytest.raises(TypeError):
        join([(name, {**doc, "seq_num": "1"})], joiner)
    assert joiner.finish() == ([], [])


def test_arguments_that_cannot_be_are_refused() -> None:
    with pytest.raises(TypeError, match="'SPEC'"):
        Joiner(handlers={"SPEC": "a string"})  # pyright: ignore
