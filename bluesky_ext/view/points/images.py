"""The images of a point: which there are, and their pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bluesky_ext.engine import FrameNotAvailable, as_image
from bluesky_ext.images import mean_frame


class GoneImageError(LookupError):
    """An image that is not kept any more, or whose file can't be read; it says why."""


def image(value: Any) -> tuple[np.ndarray, int]:
    """An image in its own dtype, (ny, nx), and of how many frames it is the mean.

    Raises
    ------
    GoneImageError
        If its file can't be read any more.
    """
    try:
        pixels = as_image(value, 0.0)  # a file that is there no more is not waited for: it was read before
    except (FrameNotAvailable, OSError, ValueError) as error:
        raise GoneImageError(f"the image can't be read: {error}") from error
    if pixels.ndim < 2 or pixels.dtype.kind not in "biuf":
        raise GoneImageError(f"this is no image: shape {pixels.shape}, dtype {pixels.dtype}")
    n_frames = int(np.prod(pixels.shape[:-2]))
    if pixels.ndim == 2:
        return pixels, 1
    return (pixels.reshape(pixels.shape[-2:]) if n_frames == 1 else mean_frame(pixels)), n_frames


def images_of(kept: Mapping[Any, Any], known: Mapping[tuple[str, str, str], list[int]], names: Any) -> list[dict]:
    """What there is to see of a point: stage, key, kind, shape, and whether it can be had, or why not."""
    named = {(names[number], key, kind): value for (number, key, kind), value in kept.items()}
    return [
        {
            "stage": stage,
            "key": key,
            "kind": kind,
            "shape": list(getattr(named.get((stage, key, kind)), "shape", shape)),
            "available": (stage, key, kind) in named or NOT_KEPT,
        }
        for (stage, key, kind), shape in known.items()
    ]


NOT_KEPT = "not kept: only the latest images in memory are, see keep= of the LiveServer; those in files all are"
