"""Images from files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

#: What stands between a file and the place in it, as silx and h5py's tools write it.
INSIDE = "::"
_HDF5 = (".h5", ".hdf5", ".hdf", ".nxs", ".nx5", ".nc")
_FABIO = (".edf", ".cbf")


def is_image_file(name: str) -> bool:
    """Whether a word is the name of a file, by its suffix, and not that of a stream.

    Examples
    --------
    >>> is_image_file("darks/dexela.h5::/entry/data"), is_image_file("dark")
    (True, False)
    """
    return bool(Path(name.partition(INSIDE)[0]).suffix)


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """The image in a file, with the dtype and shape that it has there.

    Parameters
    ----------
    path : path
        A ``.npy``, ``.tif``, ``.tiff``, ``.edf`` or ``.cbf`` file (the last two are read by fabio), or one of HDF5, as
        in ``dark.h5::/entry/data/data``; without the dataset's name, it is what the file says is to be plotted, or the
        only image in it. Axes of length one before the last two are left out.

    Raises
    ------
    ValueError
        If the file is of another kind, or its image is not found.
    ImportError
        If fabio is needed, and is not installed.
    """
    name, _, inside = os.fspath(path).partition(INSIDE)
    suffix = Path(name).suffix.lower()
    if suffix == ".npy":
        return np.load(name, allow_pickle=False)
    if suffix in (".tif", ".tiff"):
        import tifffile

        return tifffile.imread(name)
    if suffix in _HDF5:
        return _without_ones(_of_hdf5(name, inside))
    if suffix in _FABIO:
        try:
            import fabio  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ImportError(f"{name} is read by fabio: pip install fabio, or save it as .npy") from error
        return np.array(fabio.open(name).data)
    kinds = ", ".join((".npy", ".tif", ".tiff", *_FABIO, *_HDF5))
    raise ValueError(f"{name}: images are read from files of {kinds}; save it as one of them")


def _of_hdf5(name: str, inside: str) -> np.ndarray:
    import h5py

    with h5py.File(name, "r", locking=False) as file:
        if inside:
            found = file.get(inside)
            if not isinstance(found, h5py.Dataset):
                raise ValueError(f"{name} has no dataset {inside!r}: there are {', '.join(_images(file)) or 'none'}")
            return found[()]
        group: Any = file
        while isinstance(group, h5py.Group) and (default := _text(group, "default") or _text(group, "signal")):
            group = group.get(default)
        if isinstance(group, h5py.Dataset) and group.ndim > 1:
            return group[()]
        names = _images(file)
        if len(names) != 1:
            one = f"one of {', '.join(names)}" if names else "another file, since it has none"
            raise ValueError(f"{name} does not say which image is meant: give {name}{INSIDE}DATASET, {one}")
        only: Any = file[names[0]]
        return only[()]


def _text(group: Any, attribute: str) -> str:
    value = group.attrs.get(attribute, "")
    value = value.decode() if isinstance(value, bytes) else value
    return value if isinstance(value, str) and value in group else ""


def _images(file: Any) -> list[str]:
    """The names of the datasets of numbers that have two axes or more."""
    names: list[str] = []

    def look(name: str, item: Any) -> None:
        if len(getattr(item, "shape", None) or ()) > 1 and item.dtype.kind in "biuf":
            names.append(f"/{name}")

    file.visititems(look)
    return names


def _without_ones(image: np.ndarray) -> np.ndarray:
    while image.ndim > 2 and image.shape[0] == 1:
        image = image[0]
    return image
