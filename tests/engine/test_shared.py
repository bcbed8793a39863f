import errno
import gc
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from bluesky_ext.engine.executors.shared import WORTH_SHARING, SharedArray, SharedBlocks


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


def test_of_many_inputs_the_later_ones_are_lent_like_data(blocks):
    names = set()
    for task in range(50):
        names.add(blocks.pack(task, {}, (large(task),))[1][0].block)
        blocks.unpack(task - 1)
    assert len(names) <= 6  # four that are kept, and two that come and go


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


def test_a_reader_that_keeps_arrays_gets_its_own():
    blocks = SharedBlocks(copied=True)
    first, _ = blocks.pack("one", {"image": large(1)}, ())
    kept = first["image"].read()
    blocks.unpack("one")
    second, _ = blocks.pack("two", {"image": large(2)}, ())
    assert second["image"].block == first["image"].block
    assert np.array_equal(kept, large(1))
    with pytest.raises(ValueError, match="read-only"):
        kept[0, 0] = 1
    blocks.close()


def test_an_input_can_not_be_changed_any_more(blocks):
    dark = large(1)
    blocks.pack("task", {}, (dark,))
    with pytest.raises(ValueError, match="read-only"):
        dark += 1


def test_a_masked_array_keeps_its_mask(blocks):
    masked = np.ma.masked_equal(large(1), 1)
    data, inputs = blocks.pack("task", {"image": masked}, (masked,))
    assert data["image"] is masked
    assert inputs[0] is masked


def test_without_room_arrays_go_with_the_message(blocks, monkeypatch, caplog):
    asked = []

    def full(descriptor, offset, size):
        asked.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    image, dark = large(1), large(2)
    data, inputs = blocks.pack("task", {"image": image}, (dark,))
    assert data["image"] is image
    assert inputs[0] is dark
    blocks.unpack("task")
    assert len(asked) == 2
    assert not any(os.path.exists(name) for name in asked)
    assert [record.message for record in caplog.records] == [
        "no shared memory for an array of 131072 bytes, it goes with the message: [Errno 28] No space left on device"
    ]


def test_forgotten_blocks_are_unlinked():
    blocks = SharedBlocks()
    data, _ = blocks.pack("task", {"image": large(3)}, ())
    assert os.path.exists(f"/dev/shm/{data['image'].block}")
    del blocks
    gc.collect()
    assert not os.path.exists(f"/dev/shm/{data['image'].block}")


PACK = """
import numpy as np
from bluesky_ext.engine.executors.shared import SharedArray, SharedBlocks
blocks = SharedBlocks()
packed = [blocks.pack(n, {"image": np.ones(1_000_000)}, ())[0]["image"] for n in range(4)]
assert [type(image) for image in packed] == [SharedArray, np.ndarray, np.ndarray, np.ndarray], packed
blocks.close()
"""


def test_a_small_shared_memory_is_no_death():
    limited = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=10m tmpfs /dev/shm && exec "$@"', "sh"]
    if subprocess.run([*limited, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a file system of one's own is not permitted here")
    done = subprocess.run([*limited, sys.executable, "-c", PACK], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
