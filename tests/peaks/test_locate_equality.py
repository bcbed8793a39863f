"""locate against trackpy.locate: 150 random images with random keywords, and images like a detector's."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import trackpy

from bluesky_ext.peaks import locate, peak_columns

pytestmark = pytest.mark.timeout(300)  # with an empty cache the kernels are compiled first
DTYPES = ["float64", "uint8", "uint16", "uint32", "float64", "float32", "int8", "int16", "int32"]


def random_image(rng: np.random.Generator) -> np.ndarray:
    ny, nx = rng.integers(40, 220, 2)
    y, x = np.indices((ny, nx))
    image = rng.normal(rng.uniform(0, 20), rng.uniform(0.1, 5), (ny, nx))
    for _ in range(rng.integers(0, 25)):
        cy, cx, wy, wx = rng.uniform(0, ny), rng.uniform(0, nx), rng.uniform(1, 4), rng.uniform(1, 4)
        image += rng.uniform(5, 400) * np.exp(-((y - cy) ** 2) / (2 * wy**2) - (x - cx) ** 2 / (2 * wx**2))
    kind = rng.integers(5)
    if kind == 0:  # background subtracted, as in the pipeline
        image = np.clip(image - image.mean(), 0, None)
    elif kind == 1:  # almost or entirely black
        image = image * (rng.random(image.shape) < 0.02) * rng.integers(0, 2)
    elif kind == 2:  # saturated: flat tops, equal maxima
        image = np.minimum(image, 60)
    dtype = np.dtype(DTYPES[rng.integers(len(DTYPES))])
    if dtype.kind in "iu":
        if rng.random() < 0.2:  # the full range of the dtype
            image = image / (image.max() + 1e-3) * np.iinfo(dtype).max * 0.99
        image = np.clip(image, np.iinfo(dtype).min, np.iinfo(dtype).max)
    return image.astype(dtype)


def random_keywords(rng: np.random.Generator) -> dict:
    def odd(low: int, high: int) -> int:
        return int(rng.integers(low, high) * 2 + 1)

    keywords: dict = {"diameter": odd(1, 9) if rng.random() < 0.6 else (odd(1, 8), odd(1, 8))}
    is_round = np.ndim(keywords["diameter"]) == 0 or len(set(keywords["diameter"])) == 1
    if rng.random() < 0.5:
        separations = [rng.uniform(1, 60), int(rng.integers(1, 40)), (rng.uniform(0, 40), rng.uniform(0, 40))]
        keywords["separation"] = separations[rng.integers(3)]
    if rng.random() < 0.5:
        keywords["percentile"] = float(rng.choice([0, 50, 64, 80, 99, 100, rng.uniform(0, 100)]))
    if rng.random() < 0.4:
        keywords["minmass"] = rng.uniform(0, 500)
    if rng.random() < 0.3:
        keywords["topn"] = int(rng.integers(1, 8))
    if rng.random() < 0.3:
        noise_sizes = [0, 0.1, 0.5, 1.2, 1.9, (rng.uniform(0, 2), rng.uniform(0, 2))]
        keywords["noise_size"] = noise_sizes[rng.integers(6)]
    if rng.random() < 0.3:
        keywords["smoothing_size"] = odd(2, 12) if rng.random() < 0.6 else (odd(2, 12), odd(2, 12))
    if rng.random() < 0.3:
        keywords["threshold"] = float(rng.choice([0, 0.5, 3]))
    if rng.random() < 0.2:
        keywords["max_iterations"] = int(rng.integers(1, 20))
    if rng.random() < 0.3:
        keywords["characterize"] = False
    elif rng.random() < 0.3 and is_round:
        keywords["maxsize"] = rng.uniform(0.5, 8)
    return keywords


def by_trackpy(image: np.ndarray, **keywords) -> pd.DataFrame:
    with warnings.catch_warnings():  # of images without peaks
        warnings.simplefilter("ignore", UserWarning)
        return trackpy.locate(image, **keywords)


def assert_as_trackpy(image: np.ndarray, **keywords) -> pd.DataFrame:
    """Columns, index and dtypes equal, values to the last bit, ep within the rounding of its sums."""
    expected = by_trackpy(image, **keywords)
    table = locate(image, **keywords)
    errors = [column for column in expected if column.startswith("ep")]
    assert list(table) == list(expected)
    pd.testing.assert_frame_equal(table.drop(columns=errors), expected.drop(columns=errors), check_exact=True)
    # numpy averages a float32 image in single precision, and the peaks' raw mass less the background cancels
    tolerance = 1e-3 if image.dtype == np.float32 else 1e-9
    pd.testing.assert_frame_equal(table[errors], expected[errors], rtol=tolerance, atol=0)
    return table


@pytest.mark.parametrize("group", range(5))
def test_random_images_with_random_keywords_as_trackpy(group):
    peaks = 0
    for seed in range(30 * group, 30 * group + 30):
        rng = np.random.default_rng(seed)
        image, keywords = random_image(rng), random_keywords(rng)
        peaks += len(assert_as_trackpy(image, **keywords))
    assert peaks > 100  # else the images were too dull to tell


@pytest.mark.parametrize("dtype", ["float64", "uint16"])
@pytest.mark.parametrize("keywords", [{"diameter": 15, "percentile": 80, "separation": 100}, {"diameter": 11}])
def test_detector_image_as_trackpy(detector_image, dtype, keywords):
    table = assert_as_trackpy(detector_image((512, 640)).astype(dtype), **keywords)
    assert len(table) > 3


def test_crowded_saturated_image_as_trackpy():
    rng = np.random.default_rng(0)
    image = np.repeat(np.repeat(rng.integers(0, 4, (60, 60)), 4, axis=0), 4, axis=1).astype(np.uint8) * 80
    assert len(assert_as_trackpy(image, diameter=5)) > 300


@pytest.mark.parametrize("shape", [(15, 15), (15, 300), (16, 17)])
def test_image_hardly_larger_than_a_peak_as_trackpy(shape):
    assert_as_trackpy(np.random.default_rng(0).uniform(0, 100, shape), diameter=15)


@pytest.mark.parametrize(
    "keywords",
    [
        {"invert": True},
        {"preprocess": False},
        {"engine": "python"},
        {"engine": "numba"},
        {"threshold": -1.0},
        {"separation": 0},
    ],
)
@pytest.mark.filterwarnings("ignore:The invert argument:PendingDeprecationWarning")
def test_every_keyword_of_trackpy_works(spots, keywords):
    image = spots((80, 90), [(20.3, 30.1), (50.7, 60.2)], 150, 2, background=20).astype(np.uint8)
    assert_as_trackpy(image, diameter=9, **keywords)


def test_other_dtypes_go_to_trackpy(spots):
    image = spots((60, 70), [(20, 30), (40, 50)], 100, 2).astype(np.int8)
    pd.testing.assert_frame_equal(locate(image, 9), by_trackpy(image, diameter=9))


@pytest.mark.parametrize(
    ("wide", "narrow", "lowest"), [("int64", "uint32", 0), ("uint64", "uint32", 0), ("int64", "int32", -9)]
)
def test_64_bits_are_taken_as_32_because_trackpy_overflows(spots, wide, narrow, lowest):
    image = (spots((60, 70), [(20, 30), (40, 50)], 100, 2) + lowest).astype(wide)
    with pytest.raises((ZeroDivisionError, RuntimeWarning)):
        trackpy.locate(image, 9)
    assert_as_trackpy(image.astype(narrow), diameter=9)
    pd.testing.assert_frame_equal(locate(image, 9), locate(image.astype(narrow), 9))


def test_half_precision_is_taken_as_single_because_trackpy_fails(spots):
    image = spots((60, 70), [(20, 30), (40, 50)], 100, 2).astype(np.float16)
    with pytest.raises(RuntimeError, match="float16"):
        trackpy.locate(image, 9)
    pd.testing.assert_frame_equal(locate(image, 9), locate(image.astype(np.float32), 9))


def test_three_dimensions_go_to_trackpy():
    z, y, x = np.indices((30, 40, 40))
    image = (200 * np.exp(-((z - 15) ** 2 + (y - 20) ** 2 + (x - 18) ** 2) / 8)).astype(np.uint8)
    table = locate(image, 9)
    assert len(table) == 1
    assert table.attrs["nonfinite"] == 0
    pd.testing.assert_frame_equal(table, by_trackpy(image, diameter=9))


def test_axes_of_length_one_are_dropped(detector_image):
    image = detector_image((128, 128))
    pd.testing.assert_frame_equal(locate(image[np.newaxis], 11), locate(image, 11))


def test_minmass_is_also_positional(detector_image):
    image = detector_image((128, 128))
    pd.testing.assert_frame_equal(locate(image, 11, 300.0), locate(image, 11, minmass=300.0))


@pytest.mark.parametrize(
    "keywords",
    [
        {"diameter": 11},
        {"diameter": (11, 9)},
        {"diameter": 11, "noise_size": (1, 0.5)},
        {"diameter": 11, "characterize": False},
    ],
)
def test_peak_columns_are_those_of_the_table(detector_image, keywords):
    image = detector_image((128, 128))
    assert peak_columns(**keywords) == list(locate(image, **keywords)) == list(by_trackpy(image, **keywords))


def test_frame_of_pims_keeps_its_number(spots):
    class Frame(np.ndarray):  # what trackpy looks for in a pims.Frame
        frame_no = 7

    image = spots((60, 70), [(20, 30), (40, 50)], 100, 2)
    table = locate(image.view(Frame), 9)
    pd.testing.assert_frame_equal(table, by_trackpy(image.view(Frame), diameter=9), rtol=1e-9)
    assert (table["frame"] == 7).all()


@pytest.mark.parametrize(("pedestal", "corner"), [(100, 10**7), (10**7, 0), (10**7, 2 * 10**7)])
def test_noise_on_a_high_pedestal_or_beside_an_odd_corner_as_trackpy(spots, pedestal, corner):
    """Sums of squares would lose it: the square of the pedestal is 14 digits larger."""
    noise = np.random.default_rng(0).normal(0, 3, (150, 150))
    image = spots((150, 150), [(40.2, 50.1), (90.4, 100.3)], 5000, 2, background=pedestal) + noise
    image[:3, :3] = corner
    assert len(assert_as_trackpy(image.astype(np.uint32), diameter=9, threshold=50, minmass=1000)) >= 2


def test_an_image_without_noise_has_no_position_error(spots):
    spot = spots((80, 80), [(40, 40)], 500, 2)
    image = np.where(spot > 1, spot, 0)
    image[:2, :2] = 300.7  # the first pixel is not one of the background
    table = assert_as_trackpy(image, diameter=9, threshold=30.0, minmass=1000)
    assert table["ep"].tolist() == [0.0]
