"""Trees as files: what they may hold, what is refused, and files that grow."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from bluesky_ext.live import save_tree
from bluesky_ext.live.processed.tree_file import TreeFile

IMAGE = np.arange(12, dtype="u2").reshape(3, 4)


def content(path):
    """What is in a file: values by place, and attributes by place@name."""
    found = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            text = h5py.check_string_dtype(item.dtype)
            found[name] = None if item.shape is None else item.asstr()[()] if text else item[()]
        found.update({f"{name}@{key}": value for key, value in item.attrs.items()})

    with h5py.File(path) as file:
        file.visititems(visit)
        found.update({f"@{key}": value for key, value in file.attrs.items()})
    return found


def test_a_tree_is_in_the_file(tmp_path):
    tree = {
        "_attrs": {"default": "map"},
        "image": IMAGE,
        "image_attrs": {"units": "counts", "axes": ["y", "x"], "gap": None},
        "evolution": [None, 0.5, 2],
        "names": ["a", "ä"],
        "on": True,
        "nothing": None,
        "late": lambda: {"n": 7},
        "poni": b"Distance: 0.1\n",
        "raw": b"\xff\x00",
        "map": {"_attrs": {"NX_class": "NXdata"}, "empty": []},
        "map_attrs": {"title": "all"},
        "lone_attrs": {"n": 1},
    }
    path = save_tree(tree, tmp_path / "a.h5")
    found = content(path)
    for name, value in (("image", IMAGE), ("evolution", [np.nan, 0.5, 2]), ("raw", [255, 0]), ("map/empty", [])):
        np.testing.assert_array_equal(found.pop(name), value)
    assert [*found.pop("names")] == ["a", "ä"]
    assert [*found.pop("image@axes")] == ["y", "x"]
    assert isinstance(found.pop("image@gap"), h5py.Empty)
    assert found == {
        "@default": "map",
        "image@units": "counts",
        "on": True,
        "nothing": None,
        "late/n": 7,
        "poni": "Distance: 0.1\n",
        "map@NX_class": "NXdata",
        "map@title": "all",
        "lone_attrs/n": 1,
    }
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileExistsError, match="another name"):
        save_tree({}, path, overwrite=False)


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"g": {"rows": [[1], [1, 2]]}}, "/g/rows: it is a list of lists that differ in length"),
        ({"x/y": 1}, "'x/y' is no name"),
        ({1: 2}, "the name 1 is a int"),
        ({"when": np.datetime64("2026-01-01")}, "/when: its dtype is datetime64"),
        ({"odd": [1, object()]}, "/odd: it is a list of int and object"),
        ({"late": lambda: 1 / 0}, "/late: it raised ZeroDivisionError"),
        ({"a": 1, "a_attrs": {"large": np.zeros(10_000)}}, "/a@large: .* too large"),
        ({"text": "\udc80"}, "/text: .* surrogates"),
    ],
)
def test_what_hdf5_cannot_hold_is_named_and_leaves_no_file(tree, said, tmp_path):
    with pytest.raises(ValueError, match=said) as error:
        save_tree({"good": IMAGE, **tree}, tmp_path / "a.h5")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_becomes_what_the_tree_is_each_time(tmp_path):
    rows = np.arange(300_000.0).reshape(-1, 10)  # of several blocks
    changed = rows.copy()
    changed[29_999] = -1
    trees = [
        {"a": [], "t": "x", "g": {"n": 1}, "m": np.zeros((2, 2))},
        {"a": rows[:10], "t": "yz", "g": {"n": 2.5}, "g_attrs": {"u": 1}, "m": np.ones((3, 3))},
        {"a": rows, "t": ["yz"], "g": 3, "m": np.ones((3, 4))},
        {"a": changed, "t": ["yz", "w"], "g": {"n": None}},
        {"a": changed[:20_000], "t": None, "g": {"n": {"deep": IMAGE}}},
        {"a": changed[:, :3], "t": "x", "g": {"n": {"deep": IMAGE + 1}}, "g_attrs": {"v": "w"}},
    ]
    file = TreeFile(tmp_path / "grows.h5")
    for number, tree in enumerate(trees):
        assert file.write(tree) == []
        shutil.copy(file.tmp, tmp_path / "copy.h5")
        expected = content(save_tree(tree, tmp_path / f"{number}.h5"))
        found = content(tmp_path / "copy.h5")
        assert found.keys() == expected.keys()
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name])
    assert file.finish() == tmp_path / "grows.h5"
    assert not file.tmp.exists()


def written():
    """How many bytes this process has written so far."""
    said = Path("/proc/self/io").read_text()
    return int(said.split("wchar:")[1].split()[0])


def test_what_has_not_changed_is_not_written_again(tmp_path):
    image = np.random.default_rng(0).random((2000, 1000))
    file = TreeFile(tmp_path / "large.h5")
    file.write({"image": image})
    before = written()
    image[1200] = 0
    file.write({"image": image, "more": image[:10]})
    assert written() - before < image.nbytes / 4
    file.finish()
    np.testing.assert_array_equal(content(tmp_path / "large.h5")["image"], image)


def test_one_writer_at_a_time(tmp_path):
    file = TreeFile(tmp_path / "a.h5")
    with pytest.raises(BlockingIOError, match=r"written by another.*a\.h5\.tmp"):
        save_tree({}, tmp_path / "a.h5")
    file.write({"n": 1})
    assert content(file.finish()) == {"n": 1}
