"""Averages and differences of images, against numpy."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from bluesky_ext.images import (
    gen_processed_images,
    mean_frame,
    measured,
    reduce_frames,
    reduce_measured,
    subtract,
    warm_up,
)
from bluesky_ext.images import reduce as reduce_module

INTEGERS = ["uint8", "uint16", "uint32", "int8", "int16", "int32"]


def random_frames(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    """Frames over the whole range of the dtype."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.normal(0, 100, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def by_numpy(frames: np.ndarray, background: np.ndarray | float) -> np.ndarray:
    return np.clip(frames.reshape(-1, *frames.shape[-2:]).mean(axis=0, dtype=float) - background, 0, None)


@pytest.mark.parametrize("dtype", [*INTEGERS, "int64", "uint64", "bool", "float64"])
@pytest.mark.parametrize("leading", [(), (1,), (2,), (3,), (4,), (7,), (10,), (2, 3, 2)])
def test_reduced_frames_are_numpys_to_the_last_bit(dtype, leading):
    frames = random_frames((*leading, 37, 41), dtype) if dtype != "bool" else np.indices((*leading, 37, 41))[-1] % 2 > 0
    spread = float(np.ptp(frames.astype(float))) or 1.0
    background = float(frames.astype(float).min()) + np.random.default_rng(1).uniform(0, spread, (37, 41))
    np.testing.assert_array_equal(reduce_frames(frames, background), by_numpy(frames, background))
    np.testing.assert_array_equal(reduce_frames(frames), by_numpy(frames, 0))


@pytest.mark.parametrize("dtype", ["uint16", "uint8", "int16", "uint32"])
def test_an_image_larger_than_a_chunk(dtype):
    frames = random_frames((5, 131, 257), dtype)
    background = random_frames((131, 257), dtype, seed=1)
    assert frames[0].size > 2 * reduce_module.CHUNK
    np.testing.assert_array_equal(reduce_frames(frames, background), by_numpy(frames, background))


@pytest.mark.parametrize(("dtype", "n_frames"), [("uint16", 65540), ("uint8", 70000), ("int16", 65540), ("uint32", 3)])
@pytest.mark.parametrize("end", ["min", "max"])
def test_the_sum_of_a_long_stack_at_the_end_of_its_range_does_not_overflow(dtype, n_frames, end):
    frames = np.full((n_frames, 2, 3), getattr(np.iinfo(dtype), end), dtype)
    np.testing.assert_array_equal(mean_frame(frames), np.full((2, 3), float(getattr(np.iinfo(dtype), end))))


def test_a_stack_one_frame_longer_than_32_bits_can_count():
    frames = np.full((65538, 1, 2), 65535, np.uint16)  # 65537 * 65535 == 2**32 - 1
    assert 65538 * 65535 > np.iinfo(np.uint32).max >= 65537 * 65535
    for n_frames in (65537, 65538):
        assert mean_frame(frames[:n_frames]).tolist() == [[65535.0, 65535.0]]


def test_single_precision_is_summed_in_double():
    frames = np.full((1000, 2, 2), 16777216.0, np.float32)
    frames[1::2] = 1.0
    assert mean_frame(frames)[0, 0] == (16777216.0 + 1.0) / 2


def test_nan_stays_nan_and_infinity_infinity():
    frames = np.array([[[np.nan, np.inf, -np.inf, -3.0]]] * 2)
    np.testing.assert_array_equal(reduce_frames(frames), [[np.nan, np.inf, 0.0, 0.0]])
    np.testing.assert_array_equal(mean_frame(frames), [[np.nan, np.inf, -np.inf, -3.0]])


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float64"])
def test_the_mean_is_not_clipped_and_a_single_frame_only_converted(dtype):
    frames = random_frames((3, 2, 20, 30), dtype)
    np.testing.assert_array_equal(mean_frame(frames), frames.reshape(6, 20, 30).mean(axis=0))
    single = mean_frame(frames[0, 0])
    np.testing.assert_array_equal(single, frames[0, 0])
    assert single.dtype == np.float64
    assert not np.shares_memory(single, frames)


def test_the_result_goes_where_it_is_told():
    out = np.empty((20, 30))
    frames = random_frames((3, 20, 30), "uint16")
    assert reduce_frames(frames, out=out) is out
    np.testing.assert_array_equal(out, by_numpy(frames, 0))


@pytest.mark.parametrize(
    "form",
    [
        lambda frames: np.frombuffer(b"\0" + frames.tobytes(), np.uint8)[1:].view(frames.dtype).reshape(frames.shape),
        lambda frames: frames.astype(">u2"),
        lambda frames: np.repeat(frames, 2, axis=2)[:, :, ::2],
        lambda frames: frames.tolist(),
    ],
    ids=["unaligned, read-only", "big-endian", "strided", "list"],
)
def test_frames_from_anywhere(form):
    frames = random_frames((3, 20, 30), "uint16")
    np.testing.assert_array_equal(reduce_frames(form(frames)), by_numpy(frames, 0))


def test_warm_up_compiles_all_that_a_frame_needs():
    warm_up(["uint16", "float32"])
    kernel = reduce_module.reduce_stack
    compiled = len(kernel.signatures)
    for dtype in ("uint16", "float32"):
        frames = random_frames((6, 20, 30), dtype)
        frames.flags.writeable = False
        reduce_frames(frames, np.ones((20, 30), dtype))
        mean_frame(frames)
    assert len(kernel.signatures) == compiled


def test_stacks_in_two_threads():
    stacks = [random_frames((5, 100, 200), "uint16", seed) for seed in range(12)]
    with ThreadPoolExecutor(2) as pool:
        for frames, image in zip(stacks, pool.map(reduce_frames, stacks), strict=True):
            np.testing.assert_array_equal(image, by_numpy(frames, 0))


# ------------------------------------------------------------------ pixels that are no measurement


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64"])
@pytest.mark.parametrize("n_frames", [1, 3, 6])
def test_the_mean_is_that_of_the_frames_in_which_a_pixel_was_measured(dtype, n_frames):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 250, (n_frames, 131, 257)).astype(dtype)
    gaps = rng.random(frames.shape) < 0.3
    bad = rng.choice([np.nan, np.inf, -np.inf], frames.shape) if frames.dtype.kind == "f" else np.iinfo(dtype).max
    frames = np.where(gaps, bad, frames).astype(dtype)
    background = rng.uniform(0, 250, frames.shape[1:])
    total, count = frames.astype(float).sum(axis=0, where=~gaps), (~gaps).sum(axis=0)
    expected = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    for rule in (True, "auto") if np.dtype(dtype).itemsize > 2 or np.dtype(dtype).kind == "f" else (True,):
        np.testing.assert_array_equal(mean_frame(frames, gaps=rule), expected)
        image, n_nan = reduce_measured(frames, background, rule)
        np.testing.assert_array_equal(image, np.maximum(expected - background, 0))
        assert n_nan == np.isnan(expected).sum()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int32", "float64"])
def test_without_gaps_the_mean_is_the_same_to_the_last_bit(dtype):
    frames = random_frames((5, 131, 257), dtype) // 2
    background = np.full((131, 257), 7.0)
    background[3, 4] = np.nan
    for rule in (True, "auto"):
        image, n_nan = reduce_measured(frames, background, rule)
        np.testing.assert_array_equal(image, by_numpy(frames, background))
        assert n_nan == 1


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_at_the_maximum_from_edge_to_edge_in_every_frame_is_a_gap(dtype):
    top = np.iinfo(dtype).max
    frames = np.full((2, 20, 30), 7, dtype)
    frames[:, 5:7] = frames[:, :, 9] = top
    frames[0, 12] = frames[:, 15, :29] = frames[:, 0, 20] = frames[:, 2, 0] = top  # saturated
    mean = mean_frame(frames, gaps="auto")
    gaps = np.zeros((20, 30), bool)
    gaps[5:7] = gaps[:, 9] = True
    np.testing.assert_array_equal(np.isnan(mean), gaps)
    np.testing.assert_array_equal(measured(frames[1]), ~gaps)
    np.testing.assert_array_equal(mean[~gaps], frames.mean(axis=0)[~gaps])
    overexposed = np.full((2, 20, 30), top, dtype)
    assert (mean_frame(overexposed, gaps="auto") == top).all()
    assert measured(overexposed[0]) is None


def test_a_colour_image_is_refused():
    with pytest.raises(ValueError, match=r"^frames of shape \(48, 64, 3\) look like a colour image: set the detector"):
        mean_frame(np.zeros((48, 64, 3)))


# ------------------------------------------------------------------ subtract


@pytest.mark.parametrize("dtype", [*INTEGERS, "float32", "float64"])
def test_an_image_darker_than_its_background_becomes_zero(dtype):
    image, background = np.array([[1, 5, 3]], dtype), np.array([[4, 2, 3]], dtype)
    difference = subtract(image, background)
    assert difference.dtype == np.float64
    assert difference.tolist() == [[0.0, 3.0, 0.0]]
    assert image.tolist() == [[1, 5, 3]]


def test_gen_processed_images_takes_stacks_and_lists_one_at_a_time():
    taken = []

    def images() -> Iterator:
        for image in (np.full((2, 3, 3), 3, np.uint8), np.full((3, 3), 1).tolist(), np.full((2, 2, 3, 3), 2.5)):
            taken.append(len(taken))
            yield image

    processed = gen_processed_images(images(), np.stack([np.ones((3, 3)), np.full((3, 3), 3)]))
    for value, expected in enumerate([1.0, 0.0, 0.5]):
        np.testing.assert_array_equal(next(processed), np.full((3, 3), expected))
        assert taken == list(range(value + 1))
    assert list(processed) == []


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_frame(np.ones(5)), r"frames of shape \(5,\) have 1 dimensions: an image has at least two"),
        (lambda: mean_frame(np.ones((0, 5, 5))), r"frames of shape \(0, 5, 5\) have no pixels"),
        (lambda: mean_frame(np.ones((2, 2), complex)), "frames of dtype complex128 cannot be averaged"),
        (lambda: reduce_frames(np.ones((2, 4, 5)), np.ones((5, 4))), r"shape \(5, 4\), the frames \(4, 5\)"),
        (lambda: reduce_frames(np.ones((4, 5)), out=np.ones((4, 5), "f4")), r"not float32 \(4, 5\)"),
        (lambda: reduce_frames(np.ones((4, 5)), out=np.ones((5, 4))), r"shape \(4, 5\), not float64 \(5, 4\)"),
        (lambda: reduce_frames(np.ones((4, 5)), out=np.ones((5, 4)).T), "contiguous"),
        (lambda: subtract(np.ones((4, 5)), np.ones((4, 1))), r"shape \(4, 1\), the image \(4, 5\)"),
        (lambda: next(gen_processed_images([np.ones((4, 5))], np.ones((4, 4)))), r"\(4, 4\), the frames \(4, 5\)"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
