import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from bluesky_ext.documents.shared import WORTH_SHARING, SharedArray, SharedBlocks

pytestmark = pytest.mark.skipif(not SharedBlocks.available(), reason="no shared memory by name here")


@pytest.fixture
def blocks():
    blocks = SharedBlocks()
    yield blocks
    blocks.close()


def large(value, dtype="<u2"):
    return np.full((256, 256), value, dtype)


def test_only_large_arrays_go_through_shared_memory(blocks):
    small = np.zeros(WORTH_SHARING - 1, np.uint8)
    data, inputs = blocks.pack("task", {"image": large(7), "small": small, "x": 1.0}, (large(8), None))
    assert isinstance(data["image"], SharedArray)
    assert data["small"] is small
    assert data["x"] == 1.0
    assert isinstance(inputs[0], SharedArray)
    assert inputs[1] is None
    read = data["image"].read()
    assert np.array_equal(read, large(7))
    assert read.dtype == "<u2"
    with pytest.raises(ValueError, match="read-only"):
        read[0, 0] = 1


def test_a_block_that_came_back_serves_again_but_no_sooner(blocks):
    first, _ = blocks.pack("one", {"image": large(1)}, ())
    second, _ = blocks.pack("two", {"image": large(2)}, ())
    assert first["image"].block != second["image"].block
    blocks.unpack("one")
    third, _ = blocks.pack("three", {"image": large(3)}, ())
    assert third["image"].block == first["image"].block
    assert np.array_equal(third["image"].read(), large(3))
    assert np.array_equal(second["image"].read(), large(2))


def test_an_input_of_many_tasks_is_copied_once(blocks):
    dark = large(5, "<f8")
    names = {blocks.pack(task, {}, (dark,))[1][0].block for task in range(10)}
    assert len(names) == 1
    for task in range(10):
        blocks.unpack(task)


def test_inputs_of_the_past_are_let_go_when_no_task_needs_them(blocks):
    darks = [large(value) for value in range(6)]
    for task, dark in enumerate(darks):
        blocks.pack(task, {}, (dark,))
    assert np.array_equal(blocks.pack("again", {}, (darks[0],))[1][0].read(), darks[0])
    for task in [*range(6), "again"]:
        blocks.unpack(task)
    packed, _ = blocks.pack("new", {"image": large(9)}, ())
    assert packed["image"].block  # one of the two blocks that came free
    assert np.array_equal(blocks.pack("last", {}, (darks[5],))[1][0].read(), darks[5])


def test_another_process_reads_it_and_nothing_is_left_behind(blocks):
    data, _ = blocks.pack("task", {"image": large(3)}, ())
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(np.sum, 1).result() == 1  # it can start at all
        assert pool.submit(SharedArray.read, data["image"]).result().sum() == 3 * 256 * 256
    # The worker is gone, and with it nothing that is ours.
    assert np.array_equal(data["image"].read(), large(3))
    name = data["image"].block
    blocks.close()
    assert not os.path.exists(f"/dev/shm/{name}")
