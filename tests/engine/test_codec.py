"""The codec and what it stands on (framing, dtypes, arrays), by way of `dumps` and `loads`.

More of the random documents and frames, here 50 times as many::

    EXAMPLES=50 pytest -o timeout=0 tests/engine/test_codec.py
"""

from __future__ import annotations

import enum
import math
import os
import pickle
import random
import struct
import tracemalloc
from collections import ChainMap, OrderedDict, deque, namedtuple
from datetime import UTC, date, datetime, timedelta, timezone
from types import MappingProxyType

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from runs import assert_same

from bluesky_ext.engine.codec.documents import MAX_DEPTH, MAX_OBJECTS, DecodeError, dumps, loads

NUMBERS = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "f16", "c8", "c16", "c32"]
DTYPES = [
    "?",
    *(order + kind for kind in NUMBERS for order in "<>"),
    *("<U5", ">U5", "S5", "V6", "<M8[ns]", ">M8[ns]", "<M8[D]", "<M8[25s]", "<M8", "<m8[us]", ">m8[us]"),
]


def values(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """An array in which all the bytes that may differ do."""
    dtype = np.dtype(dtype)
    numbers = np.arange(3, 3 + math.prod(shape)).reshape(shape)
    if dtype.kind == "V":
        return np.array([b"abc\0\0f"] * math.prod(shape), dtype).reshape(shape)
    if dtype.kind in "Mm":
        return numbers.astype("<i8").astype(dtype)
    return numbers.astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_and_scalars_of_any_dtype_come_back(dtype: str) -> None:
    for shape in [(), (0,), (4, 0), (7,), (2, 3, 4)]:
        array = values(dtype, shape)
        assert_same(loads(dumps({"image": array}))["image"], array)
    scalar = values(dtype, (1,))[0]
    assert isinstance(scalar, np.generic)
    assert_same(loads(dumps([scalar]))[0], scalar)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24).reshape(4, 6)[:, ::2],
        np.arange(24).reshape(4, 6)[::-1, 1:3],
        np.arange(24).reshape(4, 6).T,
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.broadcast_to(np.float32(2.5), (3, 4)),
        np.zeros(3, "i1,f8")["f1"],
    ],
    ids=["strided", "reversed", "transposed", "fortran", "broadcast", "field"],
)
def test_an_array_that_is_not_contiguous_comes_back(array: np.ndarray) -> None:
    back = loads(dumps(array))
    assert back.dtype == array.dtype
    assert back.flags.c_contiguous
    np.testing.assert_array_equal(back, array)


def test_what_is_not_a_number_comes_back_bit_by_bit() -> None:
    odd = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_0000_1234))[0]
    document = {
        "python": [math.nan, -math.nan, odd, math.inf, -math.inf, -0.0],
        "scalar": [np.float32("nan"), np.float64("-inf"), np.datetime64("NaT", "ns"), np.timedelta64("NaT", "s")],
        "array": np.array([math.nan, odd, -0.0, math.inf]),
        "when": np.array(["NaT", "2026-11-20"], "M8[D]"),
    }
    assert_same(loads(dumps(document)), document)


@pytest.mark.parametrize("shift", [31, 32, 63, 64, 65, 127, 128, 1000])
def test_an_int_of_any_size_comes_back(shift: int) -> None:
    numbers = [sign * 2**shift + offset for sign in (1, -1) for offset in (-1, 0, 1)]
    assert_same(loads(dumps(numbers)), numbers)


def test_the_types_of_python_come_back() -> None:
    document = {
        "none": None,
        "bools": [True, False],
        "text": ["", "µm", "\ud800 alone", "x" * 70_000],
        "bytes": [b"", b"\xff\0"],
        "complex": [1 + 2j, complex(math.nan, -0.0)],
        "datetime": [datetime(2026, 11, 20, 10, 17, 3, 5), datetime.min, datetime.max],
        "aware": [datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=timezone(timedelta(hours=-3.5)))],
        "date": [date(2026, 2, 28), date.min],
        "timedelta": [timedelta(days=-1, microseconds=1), timedelta.min, timedelta.max],
        "tuples": [(), (1,), ("a", (2.0, [3, (np.int8(4),)]))],
        "strings of numpy": [np.str_(""), np.str_("x\0"), np.bytes_(b""), np.bytes_(b"x\0")],
    }
    assert_same(loads(dumps(document)), document)
    assert loads(dumps(document))["aware"][1].utcoffset() == timedelta(hours=-3.5)


def test_keys_of_any_hashable_type_come_back() -> None:
    document = {1: "int", 1.5: "float", None: "none", b"b": "bytes", ("x", 2): "tuple", np.int16(3): "scalar"}
    assert_same(loads(dumps(document)), document)


def test_every_mapping_comes_back_as_dict() -> None:
    chained = ChainMap({"uid": "a"}, {"uid": "b", "plan": MappingProxyType({"x": np.arange(2)})})
    back = loads(dumps(chained))
    assert type(back) is dict
    assert back["uid"] == "a"
    assert_same(back["plan"], {"x": np.arange(2)})
    assert_same(loads(dumps(OrderedDict(b=1, a=2))), {"b": 1, "a": 2})


def test_subclasses_come_back_as_what_they_extend() -> None:
    class Colour(enum.StrEnum):
        RED = "red"

    class Mode(str, enum.Enum):  # noqa: UP042 - the kind of ophyd-async before Python 3.11
        STEP = "step"

    class Level(enum.IntEnum):
        HIGH = 2**70
        LOW = 3

    point = namedtuple("point", "x y")(1, 2)
    document = [Colour.RED, Mode.STEP, Level.LOW, Level.HIGH, point, deque([1]), range(3), bytearray(b"x")]
    assert_same(loads(dumps(document)), ["red", "step", 3, 2**70, (1, 2), [1], [0, 1, 2], b"x"])


def test_a_memory_map_comes_back_as_an_array(tmp_path) -> None:
    mapped = np.memmap(tmp_path / "image", np.uint16, "w+", shape=(2, 3))
    mapped[:] = 5
    assert_same(loads(dumps(mapped)), np.full((2, 3), 5, np.uint16))


class Sample:
    pass


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"data": {"det": [1, {2, 3}]}}, "document['data']['det'][1]: a set has no order: give a sorted list"),
        (frozenset(), "document: a frozenset has no order"),
        ({"a": np.array([None])}, "document['a']: cannot encode dtype object"),
        ({"a": (np.zeros(1, [("x", "f8")]),)}, "document['a'][0]: cannot encode dtype [('x', '<f8')]"),
        ({"a": np.zeros(1, "i4,f8")[0]}, "document['a']: cannot encode dtype [('f0', '<i4'), ('f1', '<f8')]"),
        ({"a": np.array(["x"], np.dtypes.StringDType())}, "document['a']: cannot encode dtype StringDType()"),
        ({"a": np.ma.masked_equal([1, 2], 2)}, "document['a']: cannot encode MaskedArray"),
        ({"a": Sample()}, "document['a']: cannot encode"),
        ({"a": Sample}, "document['a']: cannot encode builtins.type"),
        ({frozenset({1}): 1}, "document: a frozenset"),
    ],
)
def test_what_would_not_come_back_is_refused_with_its_place(document: object, message: str) -> None:
    with pytest.raises(TypeError) as error:
        dumps(document)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_mapping_that_fails_is_named_with_its_place() -> None:
    class Broken(ChainMap):
        def __getitem__(self, key: str) -> object:
            raise TypeError("not connected")

    with pytest.raises(TypeError, match=r"^document\['data'\]\[1\]: not connected$"):
        dumps({"data": [1, Broken({"a": 1})]})


def test_the_type_that_is_refused_is_named() -> None:
    with pytest.raises(TypeError, match=r"cannot encode .*test_codec\.Sample: give numbers, str"):
        dumps(Sample())


def test_a_dtype_from_elsewhere_that_calls_itself_bytes_is_refused() -> None:
    # What bfloat16 of ml_dtypes does too.
    rational = pytest.importorskip("numpy._core._rational_tests").rational
    array = np.array([rational(1, 2)])
    assert array.dtype.str == "<V8"
    with pytest.raises(TypeError, match="cannot encode dtype rational"):
        dumps(array)


def test_a_timestamp_of_pandas_is_refused_rather_than_cut_to_microseconds() -> None:
    pandas = pytest.importorskip("pandas")
    with pytest.raises(TypeError, match="Timestamp"):
        dumps({"time": pandas.Timestamp("2026-11-20T10:17:00.000000001")})


def nested(levels: int, wrap=lambda inner: [inner]) -> object:
    document: object = wrap(1)
    for _ in range(levels - 1):
        document = wrap(document)
    return document


@pytest.mark.parametrize("wrap", [lambda x: [x], lambda x: {"a": x}, lambda x: (x,), lambda x: ChainMap({"a": x})])
def test_a_document_has_the_same_limit_of_levels_on_both_sides(wrap) -> None:
    loads(dumps(nested(MAX_DEPTH, wrap)))
    with pytest.raises(ValueError, match="more than 100 levels"):
        dumps(nested(MAX_DEPTH + 1, wrap))
    with pytest.raises(DecodeError, match="levels"):
        loads(b"\x91" + dumps(nested(MAX_DEPTH, wrap)))  # in a list of one


def test_a_document_that_contains_itself_is_refused() -> None:
    ring: list[object] = []
    ring.append(ring)
    knot: tuple[list[object]] = ([],)
    knot[0].append(knot)
    for document in (ring, knot):
        with pytest.raises(ValueError, match="contains itself"):
            dumps(document)


def test_encoding_leaves_the_document_alone() -> None:
    image = np.arange(6).reshape(2, 3)
    document = {"data": {"image": image}, "tuple": (1, [image])}
    dumps(document)
    assert document["data"]["image"] is image
    assert document["tuple"] == (1, [image])
    assert image.flags.writeable


def test_arrays_are_read_only_windows_on_the_frame() -> None:
    frame = bytearray(dumps({"a": np.arange(10, dtype="u2"), "b": np.arange(20.0)}))
    document = loads(frame)
    for array in (document["a"], document["b"]):
        assert np.shares_memory(array, np.frombuffer(frame, np.uint8))
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


@pytest.mark.parametrize("offset", range(16))
def test_arrays_are_aligned_wherever_the_frame_lies(offset: int) -> None:
    document = {"odd": np.arange(3, dtype="u1"), "c": np.arange(5, dtype="c16"), "f": np.arange(4, dtype=">f8")}
    buffer = memoryview(bytes(offset) + dumps(document))[offset:]
    back = loads(buffer)
    assert_same(back, document)
    assert all(array.flags.aligned for array in back.values())


def test_a_frame_is_the_msgpack_that_the_module_describes() -> None:
    image = np.array([[1, 2, 3]], "<u2")
    frame = dumps({"uid": "x", "image": image, "n": np.int16(-2), "t": (1, 2), "big": 2**64})
    document, *rest = msgpack.Unpacker(None, max_buffer_size=10_000), None
    document.feed(frame)
    first, *rest = list(document)
    assert first == {
        "uid": "x",
        "image": msgpack.ExtType(1, struct.pack("<BQQ", 2, 1, 3) + b"<u2"),
        "n": msgpack.ExtType(2, struct.pack("<H", 3) + b"<i2" + struct.pack("<h", -2)),
        "t": msgpack.ExtType(3, msgpack.packb([1, 2])),
        "big": msgpack.ExtType(4, (2**64).to_bytes(9, "little")),
    }
    assert [item for item in rest if item is not None] == [image.tobytes()]
    assert frame.index(image.tobytes()) % 16 == 0


def test_plain_msgpack_is_read_and_written() -> None:
    document = {"uid": "x", "data": [1, 2.5, None]}
    assert dumps(document) == msgpack.packb(document)
    when = datetime(2026, 11, 20, 10, 17, tzinfo=UTC)
    assert loads(msgpack.packb({"time": when}, datetime=True)) == {"time": when}


def frame_of(code: bytes, shape: tuple[int, ...], data: bytes) -> bytes:
    header = msgpack.packb(msgpack.ExtType(1, struct.pack(f"<B{len(shape)}Q", len(shape), *shape) + code))
    return header + struct.pack(">BI", 0xC6, len(data)) + data


def test_a_frame_made_by_hand_is_read() -> None:
    assert_same(loads(frame_of(b"<u2", (2,), b"\1\0\2\0")), np.array([1, 2], "<u2"))


@pytest.mark.parametrize(
    "code",
    [
        b"|O",
        b"O",
        b"i4,O",
        b"float64",
        b"<T16",
        b"<i3",
        b"<U0",
        b"<M8[0s]",
        b"<M8[lightyear]",
        b"<i8\n",
        b"",
        b"|S0",
        msgpack.packb([8, [["x", b"<u4", [], 4, None]]]),
    ],
)
def test_a_dtype_that_is_none_of_ours_is_refused(code: bytes) -> None:
    with pytest.raises(DecodeError):
        loads(frame_of(code, (1,), bytes(8)))


def test_text_that_cannot_be_read_is_refused() -> None:
    assert loads(frame_of(b"<U2", (1,), "ab".encode("utf-32-le"))).size == 1
    with pytest.raises(DecodeError, match="characters that do not exist"):
        loads(frame_of(b"<U2", (1,), b"a\0\0\0\0\0\x11\0"))


GIGABYTE = 10**9


@pytest.mark.parametrize(
    "frame",
    [
        frame_of(b"<u1", (GIGABYTE,), b"x" * 100),
        frame_of(b"<f8", (2**62, 2**62), b""),
        frame_of(b"|S1000000000", (1,), b"x"),
        msgpack.packb(msgpack.ExtType(1, struct.pack("<BQ", 1, GIGABYTE) + b"<u1")),
        msgpack.packb(msgpack.ExtType(1, struct.pack("<BQ", 1, 4) + b"<u1")) + struct.pack(">BI", 0xC6, GIGABYTE),
        struct.pack(">BI", 0xDD, GIGABYTE),
        struct.pack(">BI", 0xDF, GIGABYTE) + b"\xa1a\x01",
        struct.pack(">BI", 0xDB, GIGABYTE) + b"abc",
        struct.pack(">BI", 0xC6, GIGABYTE) + b"abc",
        struct.pack(">BIb", 0xC9, GIGABYTE, 3) + b"abc",
        # Each list claims no more elements than the frame has bytes: 500 of them would need 4 GB.
        b"\xdd\x00\x0f\x00\x00" * 500 + bytes(10**6),
        msgpack.packb(msgpack.ExtType(3, b"\xdd\x00\x0f\x00\x00" * 500 + bytes(10**6))),
    ],
)
def test_nothing_is_allocated_for_what_a_frame_only_claims(frame: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            loads(frame)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(frame) + 500_000


def test_arrays_and_document_must_match() -> None:
    two = dumps([np.arange(3, dtype="u1"), np.arange(4, dtype="u1")])
    with pytest.raises(DecodeError, match="not in the frame"):
        loads(two[: two.index(bytes([0, 1, 2])) + 3])
    with pytest.raises(DecodeError, match="more arrays than its document"):
        loads(two + struct.pack(">BI", 0xC6, 1) + b"x")
    with pytest.raises(DecodeError, match="4 bytes with 3 bytes"):
        loads(frame_of(b"<u4", (1,), b"abc"))
    claims_five = frame_of(b"<u4", (1,), b"abcd").replace(struct.pack(">BI", 0xC6, 4), struct.pack(">BI", 0xC6, 5))
    with pytest.raises(DecodeError, match="claims 5 bytes: the frame has 4 left"):
        loads(claims_five)


def test_an_array_follows_up_to_15_nils() -> None:
    frame = frame_of(b"<u2", (1,), b"\7\0")
    at = frame.index(struct.pack(">BI", 0xC6, 2))
    for n_nils in range(16):
        assert loads(frame[:at] + b"\xc0" * n_nils + frame[at:]).tolist() == [7]
    for n_nils in (16, 17, 1000):
        with pytest.raises(DecodeError, match=f"no array at byte {at} of the frame"):
            loads(frame[:at] + b"\xc0" * n_nils + frame[at:])


@pytest.mark.parametrize("item", [b"\x80", b"\x90", b"\xd4\x03\x90", b"\xd4\x04\x01"])
def test_a_document_of_very_many_objects_is_refused(item: bytes) -> None:
    frame = b"\xdd" + struct.pack(">I", MAX_OBJECTS) + item * MAX_OBJECTS  # the list itself is one more
    with pytest.raises(DecodeError, match=rf"more than {MAX_OBJECTS} lists, dicts and arrays \(limit objects\)"):
        loads(frame)
    assert len(loads(frame, max_objects=3 * MAX_OBJECTS)) == MAX_OBJECTS


def test_a_document_of_very_many_bytes_is_refused_unless_they_are_in_arrays() -> None:
    assert loads(dumps({"image": np.zeros(2000)}), max_plain=100)["image"].nbytes == 16_000
    with pytest.raises(DecodeError, match=r"more than 100 bytes beside its arrays \(limit plain\)"):
        loads(dumps({"image": [0.5] * 100}), max_plain=100)


def test_an_image_as_lists_is_none_of_these() -> None:
    document = {"image": np.arange(1024 * 1024.0).reshape(1024, 1024).tolist()}
    assert loads(dumps(document)) == document


def test_keys_whose_hashes_may_be_chosen_are_few() -> None:
    for key, number in ((lambda n: (n, n), 1000), (lambda n: 2**70 + n, 1000), (str, 10_000)):
        document = {key(n): n for n in range(number)}
        assert loads(dumps({"a": document, "image": np.arange(3)}))["a"] == document
    with pytest.raises(DecodeError, match="1001 exceeds max_map_len"):
        loads(dumps({(n, n): n for n in range(1001)}))


def test_an_array_without_values_has_no_endless_axis() -> None:
    assert loads(dumps(np.empty((0, 1000)))).shape == (0, 1000)
    with pytest.raises(DecodeError, match="that has no values"):
        loads(frame_of(b"<u2", (0, 2**40), b""))


def test_an_int_has_no_more_digits_than_python_prints() -> None:
    assert str(loads(dumps(2**4000)))
    with pytest.raises(TypeError, match="an int of 5001 bits"):
        dumps(2**5000)
    with pytest.raises(DecodeError, match="a number of 513 bytes"):
        loads(msgpack.packb(msgpack.ExtType(4, b"\1" * 513)))


def test_a_tuple_has_one_list_of_items() -> None:
    assert loads(msgpack.packb(msgpack.ExtType(3, b"\x91\x07"))) == (7,)
    for payload in (b"\x91\x07\x91\x07", b"\x91\x07\xc0", b"\x07", b"\x91", b""):
        with pytest.raises(DecodeError):
            loads(msgpack.packb(msgpack.ExtType(3, payload)))


@pytest.mark.parametrize("document", [{"uid": "x"}, {"image": np.arange(4)}])
def test_a_pickle_is_refused(document: object) -> None:
    with pytest.raises(DecodeError):
        loads(pickle.dumps(document))


@pytest.mark.parametrize("frame", [b"", b"\xc1", b"\xc7", b"\x81\x90\x01", msgpack.packb(msgpack.ExtType(99, b"x"))])
def test_an_error_is_one_line(frame: bytes) -> None:
    with pytest.raises(DecodeError) as error:
        loads(frame)
    assert str(error.value)
    assert "\n" not in str(error.value)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False)
    | st.datetimes()
    | st.dates()
    | st.timedeltas()
)
ARRAYS = hnp.arrays(
    hnp.scalar_dtypes().filter(lambda dtype: dtype.itemsize),
    hnp.array_shapes(min_dims=0, min_side=0, max_dims=3, max_side=4),
)
DOCUMENTS = st.recursive(
    SCALARS | ARRAYS,
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=10,
)


MORE = int(os.environ.get("EXAMPLES", "1"))


@settings(max_examples=200 * MORE, deadline=None)
@given(DOCUMENTS)
def test_any_document_comes_back(document: object) -> None:
    assert_same(loads(dumps(document)), document)


@settings(max_examples=500 * MORE, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_are_a_document_or_a_decode_error(frame: bytes) -> None:
    assert_whole_or_refused(frame)


def assert_whole_or_refused(frame: bytes) -> None:
    """What comes out is a document that can be sent on; else it is a DecodeError, and no other."""
    try:
        document = loads(frame)
    except DecodeError:
        return
    assert_same(loads(dumps(document)), document)


def damaged(frame: bytes, rng: random.Random) -> bytes:
    """The frame with one to four changes: bytes set, taken out, put in, or cut off."""
    damaged = bytearray(frame)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(damaged) + 1)
        match rng.choice(["set", "delete", "insert", "cut"]):
            case "set":
                damaged[at : at + 1] = rng.randbytes(1)
            case "delete":
                del damaged[at : at + rng.randint(1, 8)]
            case "insert":
                damaged[at:at] = rng.randbytes(rng.randint(1, 8))
            case "cut":
                del damaged[at:]
    return bytes(damaged)


# Many frames of one document: to damage one takes far less time than hypothesis takes to think of another.
@settings(max_examples=100 * MORE, deadline=None)
@given(DOCUMENTS, st.integers(0, 2**32))
def test_a_damaged_frame_is_a_document_or_a_decode_error(document: object, seed: int) -> None:
    frame, rng = dumps(document), random.Random(seed)
    for _ in range(30):
        assert_whole_or_refused(damaged(frame, rng))
