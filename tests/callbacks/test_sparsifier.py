"""Images taken apart into the places and values of their pixels, stored as one sparse array, and put together again."""

from __future__ import annotations

import event_model
import numpy as np
import pytest
import sparse
from cases import KEY, MASK, SHAPE, feed, raw_run, run_through

from bluesky_ext.callbacks import Sparsifier
from bluesky_ext.images import densify, sparsify
from bluesky_ext.masks import mask_sha256

pytest.importorskip("tiled.server.app")

from bluesky_ext.storage import SparseWriter, close_catalog, open_catalog, read_sparse, write_sparse

DTYPES = ("u1", "u2", "u4", "u8", "i2", "i4", "i8", "f2", "f4", "f8", "?")


def scattered(number, dtype="u2", shape=(2, *SHAPE)):
    """An image of which one pixel in a hundred is not zero; frame 3 is all zeros."""
    rng = np.random.default_rng(number)
    highest = 2 if dtype == "?" else 60_000 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
    values = rng.integers(1, highest, shape, np.int64 if dtype == "?" else np.uint64).astype(dtype)
    if np.dtype(dtype).kind in "if":  # as of an image less its dark
        values[rng.random(shape) < 0.5] *= -1
    return np.where((rng.random(shape) < 0.01) & (number != 3), values, np.zeros((), dtype))


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        *((dtype, (3, 40, 33)) for dtype in DTYPES),
        *(("u2", shape) for shape in [(64, 64), (1, 1)]),
        *((dtype, (300, 301)) for dtype in ("u2", "i2", "f4")),  # more than are compared at a time
    ],
)
def test_what_is_taken_apart_and_put_together_is_the_same(dtype, shape):
    image = scattered(1, dtype, shape)
    mask = np.random.default_rng(0).random(shape[-2:]) < 0.8
    for used in (None, mask):
        index, value = sparsify(image, used)
        masked = image if used is None else np.where(used, image, np.zeros((), dtype))
        assert (index.dtype, value.dtype) == (np.uint32, image.dtype)
        np.testing.assert_array_equal(index, np.flatnonzero(masked != 0))
        np.testing.assert_array_equal(value, masked.reshape(-1)[index])
        np.testing.assert_array_equal(densify(index, value, shape), masked)


@pytest.mark.parametrize("density", [0.0, 0.5, 1.0])
def test_images_may_be_empty_or_full(density):
    image = (np.random.default_rng(0).random((200, 301)) < density).astype(np.uint16) * 7
    index, value = sparsify(image)
    assert len(index) == np.count_nonzero(image)
    np.testing.assert_array_equal(densify(index, value, image.shape), image)


def test_nan_is_kept_where_it_is_used_and_not_where_it_is_masked():
    image = np.zeros(SHAPE)
    image[0, 0] = image[29, 5] = np.nan
    index, value = sparsify(image, MASK)
    assert index.tolist() == [0]
    assert np.isnan(value).all()


def test_frames_cut_out_of_a_message_are_taken():
    image = scattered(1, "u2", (64, 64))
    message = bytes([0]) + image.tobytes()
    unaligned = np.frombuffer(message, "u2", offset=1).reshape(image.shape)
    for given in (unaligned, np.asfortranarray(image), image.astype(">u2"), image[::2]):
        index, value = sparsify(given)
        assert value.dtype == np.uint16
        np.testing.assert_array_equal(densify(index, value, given.shape), given)


@pytest.mark.parametrize(
    ("index", "value", "shape", "words"),
    [
        ([4], [1], (2, 2), "pixel 4 is not in an image of shape"),
        ([-1], [1], (2, 2), "is not in an image"),
        ([0, 1], [1], (2, 2), "one-dimensional and equal"),
    ],
)
def test_what_does_not_fit_is_not_put_together(index, value, shape, words):
    with pytest.raises(ValueError, match=words):
        densify(index, value, shape)


@pytest.mark.parametrize(("image", "mask"), [(np.zeros((4, 4)), np.ones((2, 2), bool)), (np.zeros(3, "U1"), None)])
def test_what_is_no_image_or_no_mask_of_it_is_refused(image, mask):
    with pytest.raises(ValueError, match=r"\(4, 4\)|<U1"):
        sparsify(image, mask)


def test_events_have_index_value_and_nnz_in_place_of_the_image():
    docs = run_through(Sparsifier(KEY, MASK), raw_run(image=scattered, dark=False))
    for name, doc in docs:
        event_model.schema_validators[event_model.DocumentNames[name]].validate(doc)
    events = docs.named("event")
    primary = [event for event in events if KEY + "_nnz" in event["data"]]
    assert [event["seq_num"] for event in primary] == [1, 2, 3, 4, 5, 6]
    for event in primary:
        data = event["data"]
        expected = np.where(MASK, scattered(event["seq_num"]), 0)
        assert KEY not in data
        assert data[f"{KEY}_nnz"] == len(data[f"{KEY}_index"]) == np.count_nonzero(expected)
        np.testing.assert_array_equal(
            densify(data[f"{KEY}_index"], data[f"{KEY}_value"], data[f"{KEY}_shape"]), expected
        )
    descriptor = next(doc for doc in docs.named("descriptor") if doc["name"] == "primary")
    assert descriptor["configuration"]["Sparsifier"]["data"]["mask_sha256"] == [mask_sha256(MASK)]
    assert descriptor["hints"]["Sparsifier"]["fields"] == [f"{KEY}_nnz"]


def test_one_descriptor_stands_for_events_of_any_number_of_pixels():
    docs = run_through(Sparsifier(KEY), raw_run(image=scattered, dark=False))
    assert len({doc["data"][f"{KEY}_nnz"] for doc in docs.named("event")}) > 3
    (descriptor,) = docs.named("descriptor")
    # event-model: "None indicates a dimension with unknown or variable length".
    assert descriptor["data_keys"][f"{KEY}_index"]["shape"] == [None]
    assert descriptor["data_keys"][f"{KEY}_value"]["shape"] == [None]
    assert descriptor["data_keys"][f"{KEY}_shape"]["shape"] == [3]


def test_a_run_is_stored_as_one_sparse_array_with_a_block_for_each_frame(container):
    stage = Sparsifier(KEY, MASK)
    with SparseWriter(container) as writer:
        stage.subscribe(writer)
        docs = run_through(stage, raw_run(image=scattered, dark=False))
    (node,) = writer.artifacts
    expected = np.stack([np.where(MASK, scattered(number), 0) for number in range(1, 7)])
    assert node.structure().chunks == ((1,) * 6, (1, 1), (64,), (64,))
    read = container[node.path_parts[-1]]
    lazy = read_sparse(read)
    assert (lazy.dtype, lazy.chunks[0]) == (np.uint16, (1,) * 6)
    np.testing.assert_array_equal(lazy.compute(), expected)
    # As Tiled itself reads it
    coo = read.read()
    assert isinstance(coo, sparse.COO)
    np.testing.assert_array_equal(coo.todense(), expected)
    start = docs.named("start")[0]
    said = read.metadata
    assert (said["spec"], said["run_start"]) == ("sparse_run", start["uid"])
    assert said["original_run_uid"] == start["original_run_uid"]
    assert (said["stream"], said["data_key"], said["exit_status"]) == ("primary", KEY, "success")
    assert [list(pair) for pair in said["seq_nums"]] == [[1, 7]]


def test_of_an_event_that_is_said_again_the_last_word_is_stored_and_gaps_stay_gaps(container):
    docs = raw_run(image=scattered, dark=False, seq_nums=[1, 2, 2, 5])
    again = [doc for name, doc in docs if name == "event"][2]
    again["data"][KEY] = scattered(77)
    with SparseWriter(container) as writer:
        stage = Sparsifier(KEY)
        stage.subscribe(writer)
        run_through(stage, docs)
    (node,) = writer.artifacts
    assert [list(pair) for pair in node.metadata["seq_nums"]] == [[1, 3], [5, 6]]
    expected = np.stack([scattered(1), scattered(77), scattered(5)])
    np.testing.assert_array_equal(read_sparse(node).compute(), expected)


def test_a_run_that_never_stopped_is_stored_as_incomplete(container):
    stage = Sparsifier(KEY)
    writer = SparseWriter(container)
    made = run_through(stage, raw_run(image=scattered, dark=False))
    for name, doc in made[:-1]:
        writer(name, doc)
    assert writer.artifacts == []
    writer.close()
    (node,) = writer.artifacts
    assert node.metadata["exit_status"] == "incomplete"
    assert node.shape[0] == 6


def test_a_run_that_could_not_be_written_is_kept_and_written_later(tmp_path, monkeypatch):
    monkeypatch.setattr("tiled.client.utils.TILED_RETRY_ATTEMPTS", 1)
    catalog = open_catalog(tmp_path / "catalog")
    data = tmp_path / "catalog" / "data"
    first, second = (run_through(Sparsifier(KEY), raw_run(image=scattered, dark=False)) for _ in range(2))
    writer = SparseWriter(catalog)
    data.rename(tmp_path / "aside")
    data.touch()  # as if the disk were full
    for end in (lambda: feed(writer, first), writer.close):
        with pytest.raises(OSError, match=r"sparse images of run .* could not be written .* are kept") as caught:
            end()
        assert "\n" not in str(caught.value)
    assert writer.artifacts == []
    data.unlink()
    (tmp_path / "aside").rename(data)
    feed(writer, second)
    assert [node.metadata["run_start"] for node in writer.artifacts] == [d[0][1]["uid"] for d in (second, first)]
    for node in writer.artifacts:
        np.testing.assert_array_equal(read_sparse(node)[2].compute(), scattered(3))
        assert node.metadata["exit_status"] == "success"
    writer.close()
    assert len(catalog) == len(writer.artifacts) == 2
    close_catalog(catalog)


def test_an_array_that_could_not_be_written_whole_is_not_left_behind(container):
    frames = [sparsify(scattered(number)) for number in range(3)]
    for announced in (2, 4):
        with pytest.raises(ValueError, match=f"{announced} images were announced"):
            write_sparse(container, frames, announced, (2, *SHAPE), np.uint16)
    with pytest.raises(ValueError, match="without a single image"):
        write_sparse(container, [], 0, (2, *SHAPE), np.uint16)
    assert len(container) == 0


def test_images_that_are_no_stack_are_refused(container):
    def image(number):
        return scattered(number, shape=(2, *SHAPE) if number < 3 else SHAPE)

    made = run_through(Sparsifier(KEY), raw_run(image=image, dark=False))
    writer = SparseWriter(container)
    with pytest.raises(ValueError, match=r"event 3 has an image of shape \(64, 64\).* they cannot be one array"):
        feed(writer, made)
    writer.close()
    assert writer.artifacts[0].shape == (2, 2, *SHAPE)
    with pytest.raises(TypeError, match="is no client of a Tiled container"):
        SparseWriter({})
