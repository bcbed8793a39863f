"""Frames averaged and a background taken away, event by event."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bluesky_ext.documents import Map, as_image
from bluesky_ext.images import read_image, reduce_frames, warm_up

#: What detectors make: the kernels for these are compiled, or loaded, when a stage is made.
DTYPES = ("uint8", "uint16", "uint32", "int32", "float32", "float64")


#: So many darks of a run are kept; a run that comes in order of time needs one.
DARKS = 8


class _Dark(NamedTuple):
    """The mean image of an event of the dark stream."""

    time: float
    seq_num: int
    image: np.ndarray


@dataclass(frozen=True)
class _Process:
    """The kernel: the mean of an event's frames, less the background, clipped at zero."""

    data_key: str
    background: np.ndarray | None

    def __call__(
        self, data: Mapping[str, Any], seq_num: int, dark: np.ndarray | None = None, dark_seq_num: int | None = None
    ) -> dict[str, Any]:
        frames = as_image(data[self.data_key])
        if frames.ndim < 2 or frames.dtype.kind not in "biuf":
            raise ValueError(
                f"{self.data_key} is no image: shape {frames.shape}, dtype {frames.dtype}; give the key of an image"
            )
        changes: dict[str, Any] = {self.data_key: reduce_frames(frames, self.background if dark is None else dark)}
        if dark_seq_num is not None:
            changes[f"{self.data_key}_dark"] = dark_seq_num
        return changes


class ImageProcessor(Map):
    """Events with their image averaged over all but the last two axes, less a subtrahend, clipped at zero.

    Parameters
    ----------
    data_key : str
        The key of the image.
    subtrahend : 2-d array, path or str, optional
        What is taken away: an image; the path of one (``.npy``, ``.tif``, ``.tiff``), read now; or the name of a
        stream, such as ``"dark"``: then it is the mean image of that stream's latest event in the same run, and the
        derived event says in ``<data_key>_dark`` which one that was. Events of that stream are averaged only.
    **options
        ``executor``, ``on_error`` and so on, as for `bluesky_ext.documents.Map`.

    Examples
    --------
    >>> from bluesky_ext import ImageProcessor
    >>> ip = ImageProcessor("dexela_image", subtrahend="dark")
    >>> token = ip.subscribe(print)
    """

    def __init__(self, data_key: str, subtrahend: np.ndarray | PathLike | str | None = None, **options: Any) -> None:
        self.data_key = data_key
        self._dark_stream: str | None = None
        background: np.ndarray | None = None
        if isinstance(subtrahend, PathLike) or (isinstance(subtrahend, str) and Path(subtrahend).suffix):
            background = read_image(Path(subtrahend))
        elif isinstance(subtrahend, str):
            self._dark_stream = subtrahend
        elif subtrahend is not None:
            background = np.asarray(subtrahend)
        if background is not None and background.ndim != 2:
            raise ValueError(f"subtrahend has shape {background.shape}: give one image of two dimensions")
        warm_up(DTYPES)
        self.n_inputs = 0 if self._dark_stream is None else 2
        super().__init__(
            _Process(data_key, None if background is None else np.asarray(background, float)),
            parameters={"data_key": data_key, "subtrahend": background if self._dark_stream is None else subtrahend},
            data_keys=(data_key,),
            **options,
        )

    def begin(self, start: Mapping[str, Any]) -> deque[_Dark]:
        """The darks of the run, none yet."""
        return deque(maxlen=DARKS)

    def inputs(self, state: deque[_Dark], stream: str, event: Mapping[str, Any]) -> tuple:
        """The dark image that this event needs and its number, if darks are a stream."""
        if self._dark_stream is None:
            return ()
        if stream == self._dark_stream:
            image = reduce_frames(as_image(event["data"][self.data_key]))
            state.append(_Dark(event["time"], event["seq_num"], image))
            return None, None
        # By time and not by arrival: a store may give all the darks of a run before all the rest.
        earlier = [dark for dark in state if dark.time <= event["time"]]
        if not earlier:
            raise ValueError(
                f"the subtrahend is the latest event of stream {self._dark_stream!r}, and of the {len(state)} at hand "
                "none is earlier than this event: take a dark first, or give an image"
            )
        latest = max(earlier, key=lambda dark: (dark.time, dark.seq_num))
        return latest.image, latest.seq_num
