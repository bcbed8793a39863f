import errno
import gc
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from bluesky_ext.engine.executors.shared import WORTH_SHARING, SharedArray, SharedArrays


@pytest.fixture
def arrays():
    arrays = SharedArrays()
    yield arrays
    arrays.close()


def large(value, dtype="<u2"):
    return np.full((256, 256), value, dtype)


def test_only_large_plain_arrays_go_apart(arrays):
    small, masked = np.zeros(WORTH_SHARING - 1, np.uint8), np.ma.masked_equal(large(1), 1)
    data, inputs = arrays.pack("task", {"image": large(7), "small": small, "masked": masked}, (large(8), None))
    assert isinstance(data["image"], SharedArray)
    assert data["small"] is small
    assert data["masked"] is masked
    assert isinstance(inputs[0], SharedArray)
    assert inputs[1] is None
    read = data["image"].read()
    assert np.array_equal(read, large(7))
    assert (type(read), read.dtype) == (np.ndarray, "<u2")
    with pytest.raises(ValueError, match="read-only"):
        read[0, 0] = 1


def test_the_memory_of_a_task_comes_back_and_who_has_read_it_keeps_it(arrays):
    one, _ = arrays.pack("one", {"image": large(1)}, ())
    two, _ = arrays.pack("two", {"image": large(2)}, ())
    kept = one["image"].read()
    arrays.unpack("one")
    assert not Path(one["image"].path).exists()
    assert np.array_equal(kept, large(1))
    assert np.array_equal(two["image"].read(), large(2))


def test_an_input_of_many_tasks_is_written_once_and_can_not_be_changed_any_more(arrays):
    dark = large(5, "<f8")
    for task in range(10):
        arrays.unpack(task - 1)
        assert np.array_equal(arrays.pack(task, {}, (dark,))[1][0].read(), dark)
    assert len({arrays.pack(task, {}, (dark,))[1][0] for task in range(10)}) == 1
    with pytest.raises(ValueError, match="read-only"):
        dark += 1


def test_of_many_inputs_the_later_ones_are_lent_like_data(arrays):
    paths = []
    for task in range(50):
        arrays.unpack(task - 1)
        paths.append(Path(arrays.pack(task, {}, (large(task),))[1][0].path))
    assert sum(path.exists() for path in paths) == 5  # four that are kept, and that of the last task


@pytest.mark.parametrize("end", [SharedArrays.close, lambda arrays: gc.collect()], ids=["closed", "forgotten"])
def test_another_process_reads_it_and_nothing_is_left_behind(end):
    arrays = SharedArrays()
    data, _ = arrays.pack("task", {"image": large(3)}, ())
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(SharedArray.read, data["image"]).result().sum() == 3 * 256 * 256
    directory = Path(data["image"].path).parent
    assert directory.stat().st_mode & 0o777 == 0o700
    references, arrays = [arrays], None
    end(references.pop())
    assert not directory.exists()


def test_without_room_arrays_go_with_the_message(arrays, monkeypatch, caplog):
    def full(path, array):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    image, dark = large(1), large(2)
    data, inputs = arrays.pack("task", {"image": image}, (dark,))
    assert data["image"] is image
    assert inputs[0] is dark
    assert not list(Path(arrays._directory).iterdir())  # noqa: SLF001
    assert [record.message for record in caplog.records] == [
        "no shared memory for an array of 131072 bytes, it goes with the message: [Errno 28] No space left on device"
    ]


PACK = """
import numpy as np
from bluesky_ext.engine.executors.shared import SharedArray, SharedArrays
arrays = SharedArrays()
packed = [arrays.pack(n, {"image": np.ones(1_000_000)}, ())[0]["image"] for n in range(4)]
assert [type(image) for image in packed] == [SharedArray, np.ndarray, np.ndarray, np.ndarray], packed
arrays.close()
"""


def test_a_small_shared_memory_is_no_death():
    limited = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=10m tmpfs /dev/shm && exec "$@"', "sh"]
    if subprocess.run([*limited, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a file system of one's own is not permitted here")
    done = subprocess.run([*limited, sys.executable, "-c", PACK], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
