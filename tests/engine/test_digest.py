import hashlib

import msgpack
import numpy as np
import pytest

from bluesky_ext.engine.documents.digest import RunDigest, array_sha256, canonical, content
from bluesky_ext.engine.documents.provenance import arrays_of, describe


def test_values_are_known_by_what_they_are_not_by_how_they_came():
    assert canonical([np.float64(1.5), np.int32(3), np.bool_(True)]) == canonical((1.5, 3, True))
    assert canonical(2**70) != canonical(2**70 + 1)
    assert canonical(np.arange(3, dtype=">f8")) == canonical(np.arange(3, dtype="<f8"))
    assert canonical(np.array([np.nan])) == canonical(np.array([-np.nan]))
    assert content(1.0) == content(1)
    assert canonical([content([[1, 2], [3, 4]])]) == canonical([np.array([[1, 2], [3, 4]])])
    assert content(["a", "b"]) == ["a", "b"]
    assert content([[1], [2, 3]]) == [[1], [2, 3]]
    with pytest.raises(TypeError, match="a object has no canonical form"):
        canonical(object())


def test_a_text_that_is_no_unicode_is_known_too():
    assert canonical("\udc80") != canonical("\udc81")


def test_an_array_is_known_by_dtype_shape_and_content():
    array = np.arange(6, dtype="<u2").reshape(2, 3)
    by_hand = hashlib.sha256(msgpack.packb(["<u2", [2, 3]]) + array.tobytes()).hexdigest()
    assert array_sha256(array) == by_hand
    assert array_sha256(np.asfortranarray(array)) == by_hand
    assert array_sha256(array.reshape(3, 2)) != by_hand
    assert array_sha256(array.astype("<i2")) != by_hand


def test_numbers_far_apart_take_no_more_than_a_block_each():
    digest = RunDigest()
    digest.add("primary", 10**12, [1])
    before = digest.hexdigest()
    digest.add("primary", 1, [1])
    assert digest.hexdigest() != before


def test_parameters_are_plain_and_arrays_are_named_by_hash():
    mask = np.eye(3)
    given = {"diameter": np.int64(15), "mask": mask, "more": {"f": np.sum, "pair": (1, None)}, "text": "t"}
    said = describe(given)
    sha256 = array_sha256(mask)
    assert said["diameter"] == 15
    assert type(said["diameter"]) is int
    assert said["mask"] == {"sha256": sha256, "shape": [3, 3], "dtype": "<f8"}
    assert said["more"] == {"f": {"object": "numpy:sum"}, "pair": [1, None]}
    assert {name: array is mask for name, array in arrays_of(given).items()} == {"mask": True}
    assert list(arrays_of({"a": [{"b": mask}]})) == ["a_0_b"]


def test_a_table_is_known_by_its_numbers_however_they_are_stored():
    digests = []
    for dtype in ("<f8", ">f8"):
        digest = RunDigest()
        digest.add_table("primary", 1, {"x": np.array([1.5, 2.5], dtype)})
        digests.append(digest.hexdigest())
    assert digests[0] == digests[1]
