from __future__ import annotations

import h5py
import numpy as np
import pytest
import tifffile

from bluesky_ext import ImageProcessor
from bluesky_ext.images import read_image

IMAGE = np.arange(12, dtype=np.uint16).reshape(3, 4)


def hdf5(path):
    with h5py.File(path, "w") as file:
        file["entry/data/data"] = IMAGE[np.newaxis]
        file["entry/data/y"] = [0.0, 1.0, 2.0]
    return path


def plotted(path):
    """As NeXus has it, beside another image."""
    with h5py.File(hdf5(path), "a") as file:
        file["entry/other"] = IMAGE + 1
        file.attrs["default"], file["entry"].attrs["default"] = "entry", "data"
        file["entry/data"].attrs["signal"] = "data"
    return path


def by_fabio(kind):
    def write(path):
        image = pytest.importorskip(f"fabio.{kind}image")
        getattr(image, f"{kind.capitalize()}Image")(data=IMAGE.astype(np.int32)).write(str(path))
        return path

    return write


def written_by(function):
    def write(path):
        function(path, IMAGE)
        return path

    return write


@pytest.mark.parametrize(
    ("name", "write", "inside"),
    [
        ("dark.npy", written_by(np.save), ""),
        ("dark.tiff", written_by(tifffile.imwrite), ""),
        ("dark.h5", hdf5, ""),
        ("dark.nxs", plotted, ""),
        ("two.h5", plotted, "::/entry/data/data"),
        ("dark.edf", by_fabio("edf"), ""),
        ("dark.cbf", by_fabio("cbf"), ""),
    ],
)
def test_a_background_from_a_file(tmp_path, name, write, inside):
    path = f"{write(tmp_path / name)}{inside}"
    np.testing.assert_array_equal(read_image(path), IMAGE)
    assert "subtrahend" in repr(ImageProcessor("image", subtrahend=path))


def test_what_is_not_there_is_said_with_what_is(tmp_path):
    path = plotted(tmp_path / "two.h5")
    with pytest.raises(ValueError, match=r"no dataset '/entry/x': there are /entry/data/data, /entry/other"):
        read_image(f"{path}::/entry/x")
    with h5py.File(path, "a") as file:
        del file.attrs["default"]
    with pytest.raises(ValueError, match=r"which image is meant: give .*two\.h5::DATASET, one of /entry/data/data, "):
        read_image(path)
    with pytest.raises(ValueError, match=r"dark\.jpg: images are read from files of \.npy, "):
        read_image(tmp_path / "dark.jpg")
