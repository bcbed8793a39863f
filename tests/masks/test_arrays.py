from __future__ import annotations

import dask.array
import numpy as np
import pytest
import tifffile

from bluesky_ext.masks import combine_masks, list_to_mask, load_array_from_file, mask_sha256

T, F = True, False


def test_combined_masks_are_true_where_all_are():
    masks = [np.array([[T, T], [F, F]]), np.array([[T, F], [T, F]]), np.array([[T, T], [T, F]])]
    assert combine_masks(masks).tolist() == [[T, F], [F, F]]
    assert combine_masks(iter(masks[:1])).tolist() == masks[0].tolist()
    assert combine_masks(np.stack(masks)).tolist() == [[T, F], [F, F]]
    assert combine_masks(masks[1]).tolist() == masks[1].tolist()
    assert masks[0].tolist() == [[T, T], [F, F]]


def test_pairs_and_dask_arrays_are_combined_lazily():
    lazy = [("uid", dask.array.from_array(np.array([T, T, F]))), dask.array.from_array(np.array([T, F, T]))]
    combined = combine_masks(lazy)
    assert isinstance(combined, dask.array.Array)
    assert combined.compute().tolist() == [T, F, F]


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        ([], "there is no mask"),
        ([np.ones(3, bool), np.ones(4, bool)], r"\(3,\) and \(4,\)"),
        ([np.ones(3)], "dtype float64"),
        (("uid", np.ones(3, bool)), "one of str"),
        ([[True, False]], "one of list"),
    ],
)
def test_what_cannot_be_combined_is_refused(masks, words):
    with pytest.raises(ValueError, match=words):
        combine_masks(masks)


def test_a_list_of_pixels_becomes_a_mask():
    mask = list_to_mask([0, 2070, 2167 * 2070 - 1])
    assert mask.shape == (2167, 2070)
    assert mask.dtype == bool
    assert np.argwhere(~mask).tolist() == [[0, 0], [1, 0], [2166, 2069]]
    assert list_to_mask([], (2, 2)).all()
    assert list_to_mask(np.array([1.0]), (2, 2)).tolist() == [[T, F], [T, T]]
    for pixels, words in [([-1], "pixel -1"), ([4], "pixel 4"), ([0.5], "whole numbers"), (["1"], "whole numbers")]:
        with pytest.raises(ValueError, match=words):
            list_to_mask(pixels, (2, 2))


def test_arrays_are_loaded_from_files(tmp_path):
    array = np.arange(6).reshape(2, 3)
    np.save(tmp_path / "a.npy", array)
    tifffile.imwrite(tmp_path / "a.tif", array.astype(np.uint8))
    np.testing.assert_array_equal(load_array_from_file(tmp_path / "a.npy"), array)
    np.testing.assert_array_equal(load_array_from_file(str(tmp_path / "a.tif")), array)
    np.save(tmp_path / "objects.npy", np.array([{}], object))
    (tmp_path / "a.txt").write_text("1")
    for name in ("objects.npy", "a.txt"):
        with pytest.raises(ValueError, match=name):
            load_array_from_file(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"none\.npy"):
        load_array_from_file(tmp_path / "none.npy")


def test_masks_that_differ_in_a_pixel_or_in_shape_have_another_sha256():
    mask = np.ones((4, 4), bool)
    other = mask.copy()
    other[3, 3] = False
    assert len({mask_sha256(mask), mask_sha256(other), mask_sha256(mask.reshape(2, 8))}) == 3
    assert mask_sha256(np.asfortranarray(other)) == mask_sha256(other)
