"""What goes into the registry comes out, under any name, and what makes no sense is one line."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import dask.array
import numpy as np
import pytest
from servers import KEY, Server
from writers import DETECTORS, SHAPE, content

from bluesky_ext.masks import DETECTOR_SHAPES, DetectorShapes, MaskClient, MaskDamaged, MaskExists, MaskNotFound


def one_line(caught):
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_mask_comes_back_as_a_dask_array_of_bool(everywhere):
    mask = np.random.default_rng(0).random(SHAPE) < 0.5
    with everywhere.open() as masks:
        uid = masks.register_mask("det", "random", mask, optional_metadata={"sample": "Ni", "run": 4})
        found, lazy = masks.get_mask("det", "random")
        assert found == uid == masks.get_mask_uid("det", "random", 0)
        assert isinstance(lazy, dask.array.Array)
        assert (lazy.dtype, lazy.shape) == (np.dtype(bool), SHAPE)
        np.testing.assert_array_equal(lazy.compute(), mask)
        np.testing.assert_array_equal(masks.get_mask_by_uid(uid).compute(), mask)
        assert masks.search(sample="Ni").keys() == masks.search(run=4).keys() == {uid}
        assert masks.search(sample="Cu") == {}
        said = masks.get_metadata(uid)
        assert (said["spec"], said["name"], said["detector"], said["version"]) == ("mask", "random", "det", 0)
        by_definition = hashlib.sha256(b"3x8:" + np.packbits(mask).tobytes()).hexdigest()
        assert said["sha256"] == by_definition


def test_the_highest_version_is_the_default(masks):
    for version in (0, 10, 9, "next"):
        masks.register_mask("det", "m", content(11 if version == "next" else version), version)
    assert masks.list_masks() == [("det", "m", 0), ("det", "m", 9), ("det", "m", 10), ("det", "m", 11)]
    np.testing.assert_array_equal(masks.get_mask("det", "m")[1].compute(), content(11))
    np.testing.assert_array_equal(masks.get_mask("det", "m", 9)[1].compute(), content(9))
    assert masks.get_metadata(masks.get_mask_uid("det", "m"))["version"] == 11


def test_the_next_version_is_not_one_that_was_deleted(masks):
    for _ in range(3):
        masks.register_mask("det", "m", content(1), "next")
    masks.delete_mask("det", "m", 2)
    masks.register_mask("det", "m", content(1), "next")
    assert [version for _, _, version in masks.list_masks()] == [0, 1, 3]


def test_a_mask_has_one_uid_from_wherever_one_looks(everywhere):
    with everywhere.open() as masks:
        root = masks._root  # noqa: SLF001
        site, other = (root.create_container(key) for key in ("site", "other"))
        inner, outer = (MaskClient(at, detector_shapes=DETECTORS) for at in (site.create_container("masks"), site))
        uid = inner.register_mask("det", "m", content(1))
        for client in (inner, outer, masks):
            assert client.get_mask_uid("det", "m") == uid
            np.testing.assert_array_equal(client.get_mask_by_uid(uid).compute(), content(1))
        # What runs were told when uids were paths from the container that was open
        for client, old in ((inner, f"masks/{uid}"), (outer, f"site/masks/{uid}"), (masks, f"masks/{uid}")):
            assert client.entry_by_uid(old).uid == uid
        # Keys that are not Tiled's may be there twice
        for number, at in enumerate((root, site, other)):
            metadata = {"spec": "mask", "name": "by hand", "detector": "det", "version": number}
            at.write_array(content(number), key="beamstop", metadata=metadata)
        uids = [masks.get_mask_uid("det", "by hand", version) for version in range(3)]
        assert len(set(uids)) == 3
        assert outer.get_mask_uid("det", "by hand") == uids[1]
        for client in (masks, outer):
            np.testing.assert_array_equal(client.get_mask_by_uid(uids[1]).compute(), content(1))
        with pytest.raises(MaskNotFound, match=f"no mask with uid '{uids[2]}': .* have the uids '{uids[1]}'"):
            outer.get_mask_by_uid(uids[2])
        with pytest.raises(MaskNotFound, match="it was deleted, or is not below"):
            MaskClient(other).get_mask_by_uid(uid)


NAMES = [
    "a/b",
    "..",
    "?#%20&=+",
    "new\nline",
    "tab\there",
    "Röntgen δ 日本語 🩻",
    "e\u0301",
    "\u00e9",
    '"quoted" \\ \'',
    " ",
    "x" * 5000,
    "null",
    "[1]",
    "\u202eright to left",
]


@pytest.mark.parametrize("everywhere", ["served"], indirect=True)
def test_any_name_is_a_name(everywhere):
    with everywhere.open() as masks:
        for number, name in enumerate(NAMES):
            masks.register_mask("det", name, content(number))
        assert masks.list_masks() == sorted(("det", name, 0) for name in NAMES)
        for number, name in enumerate(NAMES):
            np.testing.assert_array_equal(masks.get_mask("det", name)[1].compute(), content(number))
        masks.delete_mask("det", NAMES[0], 0)
        assert ("det", NAMES[0], 0) not in masks.list_masks()


@pytest.mark.parametrize("version", ["1", 2.5, -3, True, np.float64(1), None, "last", [0]])
def test_what_is_no_version_is_refused_before_anything_is_written(masks, arrays, version):
    with pytest.raises(ValueError, match="is no version: give a whole number from 0") as caught:
        masks.register_mask("det", "m", content(1), version)
    assert repr(version) in one_line(caught)
    assert arrays() == []


def test_a_numpy_integer_is_a_version(masks):
    masks.register_mask("det", "m", content(1), np.int64(3))
    assert masks.list_masks() == [("det", "m", 3)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("det", "m", content(1).astype(np.uint8)), ["dtype uint8", "bool"]),
        (("det", "m", np.ones((8, 3), bool)), ["(8, 3)", "'det'", "(3, 8)"]),
        (("dte", "m", content(1)), ["'dte' is not known", "'det'"]),
        (("det", "", content(1)), ["name ''"]),
        (("det", 5, content(1)), ["name 5"]),
        ((None, "m", content(1)), ["detector None"]),
        (("det", "half \ud800", content(1)), ["name"]),
        (("det", "a\x00b", content(1)), ["name", "NUL"]),
        (("det", "m", content(1), 0, {"name": "other"}), ["'name'", "another key"]),
    ],
)
def test_what_is_no_mask_for_the_detector_is_refused(masks, arrays, arguments, words):
    with pytest.raises(ValueError, match=r".") as caught:
        masks.register_mask(*arguments)
    assert all(word in one_line(caught) for word in words), caught.value
    assert arrays() == []


def test_a_duplicate_is_refused_and_the_message_says_what_is_there(masks, arrays):
    uid = masks.register_mask("det", "m", content(1))
    masks.register_mask("det", "m", content(1), 4)
    with pytest.raises(MaskExists, match=f"version 0, exists \\(uid {uid}\\); there are versions 0, 4") as caught:
        masks.register_mask("det", "m", content(2))
    one_line(caught)
    assert len(arrays()) == 2


def test_what_is_not_there_is_said_with_what_is(masks):
    with pytest.raises(MaskNotFound, match="the registry is empty"):
        masks.get_mask("det", "beamstop")
    masks.register_mask("det", "beamstop", content(1), 2)
    for call, words in [
        (lambda: masks.get_mask("det", "beamstop", 1), "has version 1: there are 2"),
        (lambda: masks.get_mask_uid("det", "beamstopp"), "there are 'beamstop'"),
        (lambda: masks.delete_mask("det", "beamstop", 0), "has version 0: there are 2"),
        (lambda: masks.get_mask("dett", "x"), "nor any other of it: only of 'det'"),
        (lambda: masks.get_mask_by_uid("4711"), "no mask with uid '4711'"),
        (lambda: masks.get_mask_by_uid("mask_claims"), "what has this uid is none"),
        (lambda: masks.get_mask_by_uid("../x?y"), "no mask with uid"),
    ]:
        with pytest.raises(MaskNotFound, match=words) as caught:
            call()
        one_line(caught)
        assert isinstance(caught.value, KeyError)


def test_a_mask_that_is_deleted_before_it_is_computed_is_an_error_of_one_line(masks):
    masks.register_mask("det", "m", content(1))
    _, lazy = masks.get_mask("det", "m")
    masks.delete_mask("det", "m", 0)
    with pytest.raises(MaskNotFound, match="was deleted after it had been looked up") as caught:
        lazy.compute()
    one_line(caught)


def test_content_that_has_changed_is_never_returned(masks):
    uid = masks.register_mask("det", "m", content(1))
    masks._root[uid].write(content(2))  # noqa: SLF001 - Tiled overwrites without a word
    with pytest.raises(MaskDamaged, match=f"uid {uid}\\) has sha256 .* was registered") as caught:
        masks.get_mask("det", "m")[1].compute()
    one_line(caught)


def test_the_methods_may_be_called_from_several_threads(masks):
    for number in range(4):
        masks.register_mask("det", f"m{number}", content(number))

    def use(number):
        np.testing.assert_array_equal(masks.get_mask("det", f"m{number}")[1].compute(), content(number))
        return masks.list_masks()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(use, range(4))) == [[("det", f"m{number}", 0) for number in range(4)]] * 4


def test_what_is_no_catalogue_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tiled.client.utils.TILED_RETRY_ATTEMPTS", 1)
    with pytest.raises(TypeError, match="is no client of a Tiled container"):
        MaskClient({})
    with pytest.raises(ValueError, match="is no address"):
        MaskClient.from_uri(str(tmp_path))
    with pytest.raises(ValueError, match="is no name of a profile"):
        MaskClient.from_profile(str(tmp_path))
    with pytest.raises(LookupError, match="no profile 'there is none'"):
        MaskClient.from_profile("there is none")
    with pytest.raises(OSError, match=r"http://127\.0\.0\.1:1") as caught:
        MaskClient.from_uri("http://127.0.0.1:1", api_key="x")
    one_line(caught)


def test_a_directory_that_cannot_be_made_is_an_error_of_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file") as caught:
        MaskClient.embedded(tmp_path / "file" / "catalog")
    one_line(caught)


def test_a_server_that_is_gone_is_an_error_of_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("tiled.client.utils.TILED_RETRY_ATTEMPTS", 1)
    server = Server(tmp_path)
    try:
        masks = MaskClient.from_uri(server.address, api_key=KEY, detector_shapes=DETECTORS)
        masks.register_mask("det", "m", content(1))
    finally:
        server.stop()
    for call in (
        masks.list_masks,
        lambda: masks.get_mask("det", "m"),
        lambda: masks.register_mask("det", "n", content(1)),
    ):
        with pytest.raises(OSError, match="the catalogue failed while") as caught:
            call()
        one_line(caught)
    masks.close()


def test_a_locked_database_is_an_error_of_one_line(place, impatient):
    with place.open() as masks:
        masks.register_mask("det", "m", content(1))
        lock = sqlite3.connect(os.path.join(place.where, "catalog.db"), isolation_level=None)
        lock.execute("BEGIN EXCLUSIVE")
        with pytest.raises(OSError, match="the catalogue failed while registering mask 'n'") as caught:
            masks.register_mask("det", "n", content(1))
        one_line(caught)
        lock.close()
        masks.register_mask("det", "n", content(1))
        assert masks.list_masks() == [("det", "m", 0), ("det", "n", 0)]


def test_the_eigers_are_known_and_sites_add_theirs():
    eigers = {"eiger4m": (2167, 2070), "eiger1m": (1065, 1030), "eiger500K": (514, 1030), "eiger500k": (514, 1030)}
    for model, shape in eigers.items():
        assert DETECTOR_SHAPES[model] == DETECTOR_SHAPES[f"{model}_single_image"] == shape
    shapes = DetectorShapes(DETECTOR_SHAPES)
    shapes.add("mine", [4, 5])
    shapes.add("mine", (4, 5))
    assert shapes["mine"] == (4, 5)
    assert "mine" not in DETECTOR_SHAPES
    with pytest.raises(ValueError, match=r"'mine' has images of shape \(4, 5\), and not \(5, 4\)"):
        shapes.add("mine", (5, 4))
    for shape in ((), (0, 3), (2.5, 3), 7, "45"):
        with pytest.raises(ValueError, match="cannot have images of shape"):
            shapes.add("other", shape)


def test_masks_are_found_by_metadata_of_any_kind(masks):
    more = {"edges": [1, 2], "sample": {"name": "Ni", "hot": None}, "spot": "Röntgen \"'%_", "none": None, "x": 2.5}
    uid = masks.register_mask("det", "m", content(1), optional_metadata=more)
    masks.register_mask("det", "other", content(2), optional_metadata={"edges": [1, 3], "none": 0})
    for found in (
        {"edges": [1, 2]},
        {"sample": {"name": "Ni", "hot": None}},
        {"sample.name": "Ni"},
        {"spot": "Röntgen \"'%_"},
        {"x": np.float64(2.5), "version": np.int64(0)},
        {"none": None, "name": "m"},
    ):
        assert masks.search(**found).keys() == {uid}, found
    for not_found in ({"edges": [2, 1]}, {"edges": (1,)}, {"sample": {}}, {"x": True}, {"no": None, "name": "m"}):
        assert masks.search(**not_found) == {}, not_found


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"x": object}, ["'x'", "<class 'object'>"]),
        ({"sample": {"of": {1, 2}}}, ["'sample'", "{1, 2}"]),
        ({1: 2}, ["1", "text"]),
        ([1], ["[1]", "dict"]),
        ("sample", ["'sample'", "dict"]),
        ({"sha256": "0"}, ["'sha256'", "another key"]),
    ],
)
def test_metadata_that_json_has_not_are_refused_before_anything_is_written(masks, arrays, more, words):
    with pytest.raises(ValueError, match="optional_metadata") as caught:
        masks.register_mask("det", "m", content(1), optional_metadata=more)
    assert all(word in one_line(caught) for word in words), caught.value
    assert arrays() == []
