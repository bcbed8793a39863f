"""What locate does where trackpy does something else, or nothing: empty tables, bad pixels, masks, errors, threads."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import trackpy

import bluesky_ext.peaks.bandpass as bandpass_module
from bluesky_ext.peaks import LocateParameters, locate, locate_kernels, peak_columns, release_buffers
from bluesky_ext.peaks.buffers import thread_buffers
from bluesky_ext.peaks.mask import fill_masked

pytestmark = pytest.mark.timeout(300)  # with an empty cache the kernels are compiled first
CENTRES = [(30.0, 40.0), (70.0, 100.0), (110.0, 50.0)]


def positions(table: pd.DataFrame) -> np.ndarray:
    return np.round(table[["y", "x"]].to_numpy(), 1)


# ------------------------------------------------------------------ without peaks


@pytest.mark.parametrize(
    ("image", "keywords"),
    [
        (np.zeros((60, 70)), {}),
        (np.full((60, 70), 7, np.uint16), {}),
        (np.pad([[200.0]], ((2, 57), (2, 67))), {}),  # its only maximum is in the margin
        (np.pad([[200.0]], ((30, 29), (30, 39))), {"minmass": 1e9}),
    ],
    ids=["black", "flat", "margin", "filtered"],
)
def test_no_peaks_give_an_empty_table_like_trackpys_and_no_warning(image, keywords):
    with pytest.warns(UserWarning, match="black|maxima"):
        expected = trackpy.locate(image, 9, **keywords)
    pd.testing.assert_frame_equal(locate(image, 9, **keywords), expected)
    assert "ep" not in expected


@pytest.mark.parametrize("diameter", [9, (9, 7)])
@pytest.mark.parametrize("characterize", [True, False])
def test_constant_columns_with_and_without_peaks(spots, diameter, characterize):
    keywords = {"diameter": diameter, "characterize": characterize}
    empty = locate(np.zeros((150, 150)), **keywords, constant_columns=True)
    full = locate(spots((150, 150), CENTRES, 100, 2), **keywords, minmass=10, constant_columns=True)
    assert (len(empty), len(full)) == (0, 3)
    for table in (empty, full):
        assert list(table) == peak_columns(**keywords)
        assert set(table.dtypes) == {np.dtype(float)}
        assert list(table.index) == list(range(len(table)))


@pytest.mark.parametrize("engine", ["auto", "python"])
def test_constant_columns_keep_each_error_with_its_peak(detector_image, engine):
    """Once it has filtered, trackpy attaches errors of two axes to other rows and invents rows for the rest."""
    image = detector_image((150, 150), seed=3)
    keywords = {"diameter": (9, 7), "engine": engine}
    every = locate(image, **keywords, constant_columns=True)
    bright = locate(image, **keywords, minmass=every["mass"].median(), constant_columns=True)
    assert 0 < len(bright) < len(every)
    expected = every[every["mass"] > every["mass"].median()].reset_index(drop=True)
    pd.testing.assert_frame_equal(bright, expected)


# ------------------------------------------------------------------ pixels that are not numbers


@pytest.mark.parametrize(
    ("value", "dtype", "keywords"),
    [
        (np.nan, "float64", {}),
        (np.inf, "float32", {}),
        (-np.inf, "float64", {"smoothing_size": 1}),
        (np.nan, "float32", {"smoothing_size": (1, 9)}),
        (np.inf, "float64", {"engine": "python"}),
        (-np.inf, "float32", {"preprocess": False}),
    ],
)
def test_nonfinite_pixels_count_as_zero_and_are_counted(spots, value, dtype, keywords):
    keywords = {"noise_size": 0.5} | keywords
    image = spots((150, 150), CENTRES, 100, 2).astype(dtype)
    image[0, 0] = image[149, 149] = image[75, 3] = image[5, 120] = value
    before = image.copy()
    table = locate(image, 9, **keywords)
    assert table.attrs["nonfinite"] == 4
    np.testing.assert_array_equal(image, before)
    zeroed = np.where(np.isfinite(image), image, 0).astype(dtype)
    pd.testing.assert_frame_equal(table, locate(zeroed, 9, **keywords))
    assert locate(zeroed, 9, **keywords).attrs["nonfinite"] == 0


def test_nonfinite_pixels_hide_no_peaks(spots):
    image = spots((150, 150), CENTRES, 100, 2)
    image[0, 0] = np.nan
    assert positions(locate(image, 9)).tolist() == [list(centre) for centre in CENTRES]


# ------------------------------------------------------------------ masks


def test_masked_pixel_is_never_a_peak(spots):
    image = spots((150, 150), CENTRES, 100, 2)
    image[75, 20] = image[20, 120] = 1e6  # hot
    mask = np.ones(image.shape, bool)
    mask[75, 20] = mask[20, 120] = False
    assert len(locate(image, 9, minmass=10)) < 3  # the hot ones hide the others in 8 bits
    assert positions(locate(image, 9, minmass=10, mask=mask)).tolist() == [list(centre) for centre in CENTRES]


def test_peak_whose_centre_is_masked_is_dropped_and_the_others_stay(spots):
    image = spots((150, 150), CENTRES, 100, 2)
    mask = np.ones(image.shape, bool)
    mask[68:73, 98:103] = False
    assert positions(locate(image, 9, minmass=10, mask=mask)).tolist() == [[30.0, 40.0], [110.0, 50.0]]


@pytest.mark.parametrize("garbage", [0.0, -1.0, 1e9, np.nan, np.inf])
def test_no_peaks_along_a_gap_whatever_its_pixels_hold(spots, garbage):
    rng = np.random.default_rng(0)
    image = spots((150, 150), CENTRES, 400, 2, background=1000) + rng.normal(0, 1, (150, 150))
    mask = np.ones(image.shape, bool)
    mask[85:95] = mask[:, 130:140] = False
    image[~mask] = garbage
    table = locate(image, 9, minmass=400, mask=mask)
    np.testing.assert_allclose(table[["y", "x"]], CENTRES, atol=0.05)
    assert table.attrs["nonfinite"] == 0


def test_masked_pixels_do_not_count_for_the_noise(spots):
    rng = np.random.default_rng(0)
    image = spots((150, 150), CENTRES, 4000, 2) + rng.normal(1000, 1, (150, 150))
    keywords = {"threshold": 20.0, "minmass": 1000}
    mask = np.ones(image.shape, bool)
    mask[:, 120:] = False
    expected = locate(image, 9, **keywords)["ep"].to_numpy()
    image[:, 120:] = 5e4
    np.testing.assert_allclose(locate(image, 9, **keywords, mask=mask)["ep"], expected, rtol=0.05)


def test_masked_pixels_are_black_after_the_bandpass(detector_image):
    """trackpy does the same when it is given the bandpassed image of the filled one, with zeros on the mask."""
    image = detector_image((200, 200))
    mask = np.random.default_rng(0).random(image.shape) < 0.95
    mask[:, 90:95] = False
    bandpassed = trackpy.bandpass(fill_masked(image, mask, (9, 9)), 1, 9, 1 / 255)
    columns = ["y", "x", "mass", "size", "ecc", "signal"]
    # With separation 0 nothing is dropped as a duplicate before we drop what is masked.
    table = locate(image, 9, separation=0, mask=mask)
    every = trackpy.locate(np.where(mask, bandpassed, 0), 9, preprocess=False, separation=0)
    y, x = np.rint(every[["y", "x"]].to_numpy()).astype(int).T
    expected = every[columns][mask[y, x]].reset_index(drop=True)
    pd.testing.assert_frame_equal(table[columns], expected, check_exact=True)
    assert len(expected) > 5


@pytest.mark.parametrize("dtype", ["float64", "uint16", "int32"])
def test_full_mask_changes_nothing(detector_image, dtype):
    image = detector_image((200, 200)).astype(dtype)
    pd.testing.assert_frame_equal(locate(image, 9, mask=np.ones(image.shape, bool)), locate(image, 9))


def test_empty_mask_gives_no_peaks(detector_image):
    image = detector_image((100, 100))
    assert len(locate(image, 9, mask=np.zeros(image.shape, bool))) == 0


@pytest.mark.parametrize("topn", [1, 2])
def test_mask_with_what_trackpy_does_alone(spots, topn):
    image = spots((150, 150), CENTRES, 100, 2)
    image[75, 20] = 1e4
    mask = np.ones(image.shape, bool)
    mask[75, 20] = False
    table = locate(image, 9, engine="python", mask=mask, topn=topn)
    pd.testing.assert_frame_equal(table, locate(image, 9, mask=mask, topn=topn), rtol=1e-9)
    assert len(table) == topn


@pytest.mark.parametrize("dtype", ["float64", "uint16"])
def test_masked_pixels_take_the_mean_of_the_used_ones_around(dtype):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 1000, (40, 50)).astype(dtype)
    mask = rng.random(image.shape) < 0.7
    mask[10:30, 10:30] = False
    filled = fill_masked(image, mask, (5, 7))
    for y, x in np.ndindex(image.shape):
        window = np.s_[max(0, y - 2) : y + 3, max(0, x - 3) : x + 4]
        used = image[window][mask[window]]
        expected = image[y, x] if mask[y, x] else used.astype(float).mean() if used.size else 0
        assert filled[y, x] == pytest.approx(expected if dtype == "float64" else int(expected))


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"diameter": 10}, "diameter=10 must be an odd number of pixels: round up"),
        ({"diameter": (9, 8)}, r"diameter=\(9, 8\) must be an odd number"),
        ({"diameter": -3}, "diameter=-3 must be an odd number"),
        ({"diameter": (9, 9, 9)}, r"diameter=\(9, 9, 9\) needs one number, or one for y and one for x"),
        ({"separation": (1, 2, 3)}, r"separation=\(1, 2, 3\) needs one number"),
        ({"smoothing_size": 8}, "smoothing_size=8 must be an odd number"),
        ({"noise_size": 9}, r"noise_size=9 must be smaller than the smoothing size \(9, 9\)"),
        ({"percentile": 101}, "percentile=101 must be a number from 0 to 100"),
        ({"diameter": (9, 7), "maxsize": 3}, r"maxsize=3 needs a round peak, not diameter=\(9, 7\)"),
        ({"maxsize": 3, "characterize": False}, "maxsize=3 needs the sizes"),
        ({"filter_before": True}, "filter_before=True is no longer supported"),
        ({"engine": "cuda"}, "engine='cuda' must be one of auto, python, numba"),
    ],
)
def test_wrong_keyword_is_refused_in_one_line_before_and_with_an_image(keywords, message):
    keywords = {"diameter": 9} | keywords
    for refused in (lambda: peak_columns(**keywords), lambda: locate(np.zeros((50, 50)), **keywords)):
        with pytest.raises(ValueError, match=message) as error:
            refused()
        assert "\n" not in str(error.value)


def test_unknown_keyword_is_refused_before_there_is_an_image():
    with pytest.raises(TypeError, match="seperation"):
        peak_columns(9, seperation=3)


def test_image_smaller_than_a_peak_is_refused():
    with pytest.raises(ValueError, match=r"shape \(10, 50\), is smaller than the diameter 11$"):
        locate(np.zeros((10, 50)), 11)


def test_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"the mask has shape \(50, 51\), the image \(50, 50\)"):
        locate(np.zeros((50, 50)), 11, mask=np.ones((50, 51), bool))


def test_mask_needs_two_dimensions():
    with pytest.raises(ValueError, match=r"two dimensions, not of shape \(20, 20, 20\)"):
        locate(np.zeros((20, 20, 20)), 5, mask=np.ones((20, 20, 20), bool))


def test_parameters_are_frozen_and_compare_by_value():
    assert LocateParameters(9, separation=20) == LocateParameters(9, separation=20)
    with pytest.raises(AttributeError):
        LocateParameters(9).diameter = 11  # pyright: ignore[reportAttributeAccessIssue]


# ------------------------------------------------------------------ arrays from anywhere, threads, memory


def unaligned(image: np.ndarray) -> np.ndarray:
    raw = bytearray(image.nbytes + 1)
    raw[1:] = image.tobytes()
    return np.frombuffer(bytes(raw), np.uint8)[1:].view(image.dtype).reshape(image.shape)


@pytest.mark.parametrize(
    "form",
    [
        unaligned,
        np.asfortranarray,
        lambda image: image.astype(image.dtype.newbyteorder(">")),
        lambda image: np.repeat(image, 2, axis=1)[:, ::2],
        lambda image: np.frombuffer(image.tobytes(), image.dtype).reshape(image.shape),
        lambda image: image.tolist() if image.dtype == float else image,
    ],
    ids=["unaligned", "fortran", "big-endian", "strided", "read-only", "list"],
)
@pytest.mark.parametrize("dtype", ["float64", "uint16"])
def test_any_memory_layout_and_none_is_compiled_again(detector_image, form, dtype):
    image = detector_image((100, 120)).astype(dtype)
    expected = locate(image, 9)
    compiled = len(bandpass_module.bandpass.signatures)
    pd.testing.assert_frame_equal(locate(form(image), 9), expected)
    assert len(bandpass_module.bandpass.signatures) == compiled


@pytest.mark.parametrize(
    ("dtype", "keywords"),
    [
        *((dtype, {"preprocess": False}) for dtype in (">f2", ">u2", ">i8")),
        *((dtype, {"separation": -1}) for dtype in (">f4", ">i4")),
    ],
    ids=str,
)
def test_big_endian_images_on_the_way_to_trackpy(detector_image, dtype, keywords):
    image = detector_image((96, 128))
    image = (image / image.max() * 200).astype(dtype)
    found = locate(image, 11, percentile=90, **keywords)
    assert len(found)
    pd.testing.assert_frame_equal(
        found, locate(image.astype(image.dtype.newbyteorder("<")), 11, percentile=90, **keywords)
    )


def test_warm_up_compiles_all_that_a_frame_needs():
    for task in locate_kernels(["float64", "uint8"], mask=True):
        task()
    compiled = len(bandpass_module.bandpass.signatures)
    locate(np.random.default_rng(0).uniform(0, 9, (90, 80)), 5, mask=np.ones((90, 80), bool))
    locate(np.random.default_rng(0).integers(0, 9, (90, 80)).astype(np.uint8), 15)
    assert len(bandpass_module.bandpass.signatures) == compiled


def test_frames_in_two_threads_as_one_after_the_other(detector_image):
    images = [detector_image(shape, seed) for seed, shape in enumerate([(300, 200), (256, 256)] * 8)]
    expected = [locate(image, 9) for image in images]
    with ThreadPoolExecutor(2) as pool:
        tables = list(pool.map(lambda image: locate(image, 9), images))
    for table, one in zip(tables, expected, strict=True):
        pd.testing.assert_frame_equal(table, one)


def test_a_thread_keeps_the_memory_of_one_shape_and_gives_it_back():
    locate(np.ones((60, 70)), 9)
    locate(np.ones((80, 90)), 9)
    first = thread_buffers().get((80, 90), np.dtype(np.uint8))
    assert [image.shape for image in first] == [(80, 90)] * 2
    assert thread_buffers().get((80, 90), np.dtype(np.uint8))[0] is first[0]
    release_buffers()
    assert thread_buffers().get((80, 90), np.dtype(np.uint8))[0] is not first[0]


def test_the_memory_of_a_thread_goes_with_it():
    kept = []

    def work() -> None:
        import weakref

        locate(np.ones((60, 70)), 9)
        kept.append(weakref.ref(thread_buffers()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    gc.collect()
    assert kept[0]() is None


def test_masked_pixels_of_64_bits_may_have_any_value():
    image = np.full((96, 96), 5, np.uint64)
    image[30:34, 30:34] = 200
    image[:, 46:50] = 2**64 - 1
    (peak,) = locate(image, 9, minmass=100, mask=image != 2**64 - 1).itertuples()
    assert (round(peak.y, 1), round(peak.x, 1)) == (31.5, 31.5)
