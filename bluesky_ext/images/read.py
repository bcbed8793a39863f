"""Images from files."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def read_image(path: Path) -> np.ndarray:
    """The image in a ``.npy``, ``.tif`` or ``.tiff`` file, with the dtype and shape that it has there."""
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return np.load(path, allow_pickle=False)
    if suffix in (".tif", ".tiff"):
        import tifffile

        return tifffile.imread(path)
    raise ValueError(f"{path}: images are read from .npy, .tif and .tiff files; save it as one of them")
