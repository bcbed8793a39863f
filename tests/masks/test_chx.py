"""Masks of the CHX beamline's registry are ours, and ours are theirs.

What their client does was read in its public source (``masks.py``): it writes arrays with the metadata ``spec``,
``name``, ``detector`` and ``version`` under keys of Tiled's, and finds them among the children of its container.
"""

from __future__ import annotations

import numpy as np
import pytest
from servers import KEY
from tiled.profiles import load_profiles
from tiled.queries import Key
from writers import content

from bluesky_ext.masks import MaskClient, MaskExists, MaskNotFound, combine_masks


def written(container, detector, name, version, mask):
    """Write a mask as theirs is written; its uid."""
    metadata = {"spec": "mask", "name": name, "detector": detector, "version": version}
    return container.write_array(mask, metadata=metadata).path_parts[-1]


def searched(container, **metadata):
    """The masks that have these values, as they look for them."""
    found = container.search(Key("spec") == "mask")
    for key, value in metadata.items():
        found = found.search(Key(key) == value)
    return found


def test_the_transcript_of_their_page_works(container):
    """Their page says what to type; the exception of a duplicate is the RuntimeError that theirs is."""
    mask_client = MaskClient(container)
    mask = np.ones((2167, 2070), bool)
    mask[0, 0] = False
    other = np.ones((2167, 2070), bool)
    other[5, 6] = False
    mask_client.register_mask("eiger4m_single_image", "chip_mask", mask)
    mask_client.register_mask("eiger4m_single_image", "bad_pixels", other)
    with pytest.raises(RuntimeError):
        mask_client.register_mask("eiger4m_single_image", "chip_mask", mask)
    listed = mask_client.list_masks()
    assert listed == [("eiger4m_single_image", "bad_pixels", 0), ("eiger4m_single_image", "chip_mask", 0)]
    uid, got = mask_client.get_mask("eiger4m_single_image", "chip_mask")
    np.testing.assert_array_equal(got.compute(), mask)
    assert mask_client.get_mask_uid("eiger4m_single_image", "chip_mask", 0) == uid
    mask1 = mask_client.get_mask("eiger4m_single_image", "chip_mask", version=0)
    mask2 = mask_client.get_mask("eiger4m_single_image", "bad_pixels")
    np.testing.assert_array_equal(combine_masks([mask1, mask2]).compute(), mask & other)
    mask_client.delete_mask("eiger4m_single_image", "chip_mask", 0)
    assert mask_client.list_masks() == listed[:1]


def test_their_way_of_reading_finds_our_masks(masks):
    uids = [masks.register_mask("det", "m", content(version), version) for version in range(3)]
    other = masks.register_mask("det", "other", content(9))
    container = masks._root  # noqa: SLF001 - the container that their client would be given
    # Listing
    listed = [
        (node.metadata.get("detector", "any"), node.metadata["name"], node.metadata.get("version"))
        for node in searched(container).values()
    ]
    assert sorted(listed) == masks.list_masks()
    # The highest version, and one of them
    uid, node = max(searched(container, name="m", detector="det").items(), key=lambda item: item[1].metadata["version"])
    assert uid == uids[2]
    np.testing.assert_array_equal(np.asarray(node.read()), content(2))
    assert list(searched(container, name="m", detector="det", version=1)) == [uids[1]]
    # By uid
    np.testing.assert_array_equal(np.asarray(container[other].read()), content(9))
    # A duplicate is refused by them as well
    assert len(searched(container, name="other", detector="det", version=0)) == 1


def test_their_masks_are_listed_and_fetched_at_any_depth(masks):
    root = masks._root  # noqa: SLF001
    flat = written(root, "det", "flat", 3, content(3))
    inner = root.create_container("site").create_container("masks")
    deep = written(inner, "det", "deep", 0, content(4))
    deeper = written(inner, "det", "deep", 1, content(5))
    root.write_array(content(6), metadata={"spec": "no mask", "name": "x", "detector": "det", "version": 0})
    ours = masks.register_mask("det", "ours", content(7))
    assert masks.list_masks() == [("det", "deep", 0), ("det", "deep", 1), ("det", "flat", 3), ("det", "ours", 0)]
    assert masks.get_mask_uid("det", "flat") == flat
    uid, mask = masks.get_mask("det", "deep")
    assert uid == deeper
    np.testing.assert_array_equal(mask.compute(), content(5))
    np.testing.assert_array_equal(masks.get_mask_by_uid(deep).compute(), content(4))
    assert masks.search(detector="det", version=0).keys() == {deep, ours}
    masks.delete_mask("det", "deep", 1)
    assert masks.get_mask_uid("det", "deep") == deep
    with pytest.raises(MaskNotFound):
        masks.get_mask("det", "x")


def test_their_masks_block_duplicates_and_count_for_the_next_version(masks):
    root = masks._root  # noqa: SLF001
    uid = written(root.create_container("theirs"), "det", "m", 5, content(1))
    with pytest.raises(MaskExists, match=f"uid {uid}"):
        masks.register_mask("det", "m", content(2), 5)
    masks.register_mask("det", "m", content(2), "next")
    assert masks.list_masks() == [("det", "m", 5), ("det", "m", 6)]


def test_their_masks_of_no_detector_are_of_any(masks):
    root = masks._root  # noqa: SLF001
    root.write_array(content(1), metadata={"spec": "mask", "name": "m"})
    assert masks.list_masks() == [("any", "m", None)]
    np.testing.assert_array_equal(masks.get_mask("any", "m")[1].compute(), content(1))


def test_their_masks_may_be_of_zeros_and_ones(masks):
    written(masks._root, "det", "m", 0, content(5).astype(np.uint8))  # noqa: SLF001
    _, mask = masks.get_mask("det", "m")
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask.compute(), content(5))


def test_masks_of_ours_in_a_container_below_are_listed_too(masks):
    """Whoever is given the site's container sees what was registered in one of its own."""
    root = masks._root  # noqa: SLF001
    inner = MaskClient(root.create_container("site").create_container("masks"), detector_shapes=masks.detector_shapes)
    uid = inner.register_mask("det", "inner", content(1))
    masks.register_mask("det", "outer", content(2))
    written(root.create_container("theirs"), "det", "theirs", 0, content(3))
    assert inner.list_masks() == [("det", "inner", 0)]
    assert masks.list_masks() == [("det", "inner", 0), ("det", "outer", 0), ("det", "theirs", 0)]
    assert masks.get_mask_uid("det", "inner") == uid
    with pytest.raises(MaskExists):
        masks.register_mask("det", "inner", content(4))


def test_their_versions_that_are_text_are_had_and_deleted(masks):
    root = masks._root  # noqa: SLF001
    uid = written(root, "det", "m", "final", content(1))
    ours = masks.register_mask("det", "m", content(2))
    found, mask = masks.get_mask("det", "m", "final")
    assert found == uid
    np.testing.assert_array_equal(mask.compute(), content(1))
    masks.delete_mask("det", "m", "final")
    assert masks.list_masks() == [("det", "m", 0)]
    with pytest.raises(MaskNotFound, match="has version final: there are 0"):
        masks.get_mask("det", "m", "final")
    assert masks.get_mask_uid("det", "m") == ours


@pytest.mark.parametrize("everywhere", ["served"], indirect=True)
def test_their_way_to_a_container_below_a_profile(everywhere, tmp_path, monkeypatch):
    with everywhere.open() as masks:
        root = masks._root  # noqa: SLF001
        inner = root.create_container("chx").create_container("sandbox")
        uid = written(inner, "det", "m", 0, content(1))
        (tmp_path / "profiles.yml").write_text(f"nsls2:\n  uri: {root.context.api_uri}\n")
        path = [*root.path_parts, "chx", "sandbox"]
    monkeypatch.setattr("tiled.profiles.paths", [tmp_path])
    load_profiles.cache_clear()
    with MaskClient.from_profile("nsls2", *path, api_key=KEY, username=None) as client:
        assert client.get_mask_uid("det", "m") == uid
    with pytest.raises(LookupError, match="profile 'nsls2' has no container 'cxh/sandbox': give the keys to it"):
        MaskClient.from_profile("nsls2", "cxh", "sandbox", api_key=KEY)
    with pytest.raises(ValueError, match="username='me': log in by `tiled login --profile nsls2`"):
        MaskClient.from_profile("nsls2", username="me")
