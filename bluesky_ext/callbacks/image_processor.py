"""Frames averaged and a background taken away, event by event."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from bluesky_ext._arguments import check_keywords, keywords_of, refuse_document
from bluesky_ext.engine import Map, Stage, image_blocks
from bluesky_ext.images import (
    Gaps,
    apply_mask,
    check_mask,
    mean_frame,
    read_image,
    reduce_blocks,
    warm_up,
    warm_up_blocks,
    warm_up_masking,
)
from bluesky_ext.masks.selection import SelectedMasks, UsedMasks
from bluesky_ext.masks.stage import MaskedMap, known_mask

#: So many darks of a run are kept; a run that comes in order of time needs one.
DARKS = 8


class _Dark(NamedTuple):
    """The mean image of an event of the dark stream."""

    time: float
    seq_num: int
    image: np.ndarray


@dataclass
class _State:
    """What is kept of a run: its masks and its darks, none yet."""

    masks: UsedMasks | None
    darks: deque[_Dark] = field(default_factory=lambda: deque(maxlen=DARKS))


@dataclass(frozen=True)
class _Process:
    """The kernel: the mean of an event's frames, less the background, clipped at zero, zero where there is none."""

    takes_blocks: ClassVar[bool] = True

    data_key: str
    background: np.ndarray | None
    gaps: Gaps
    mask: np.ndarray | None = None

    def __call__(
        self,
        data: Mapping[str, Any],
        seq_num: int,
        dark: np.ndarray | None = None,
        dark_seq_num: int | None = None,
        mask: np.ndarray | None = None,
    ) -> dict[str, Any]:
        blocks = image_blocks(data, self.data_key)
        mask = self.mask if mask is None else mask
        image, n_gaps = reduce_blocks(blocks, self.background if dark is None else dark, self.gaps)
        if mask is not None:
            check_mask(mask, image.shape)
            apply_mask(image, mask, out=image)
        changes: dict[str, Any] = {self.data_key: image}
        if self.gaps:
            if n_gaps:
                n_gaps = np.count_nonzero(np.isnan(image))  # without those that were masked
                np.nan_to_num(image, copy=False)
            changes[f"{self.data_key}_n_gaps"] = n_gaps
        if dark_seq_num is not None:
            changes[f"{self.data_key}_dark"] = dark_seq_num
        return changes


class ImageProcessor(MaskedMap):
    """Events with their image averaged over all but the last two axes, less a subtrahend, clipped at zero.

    A pixel that is no measurement in some of an event's frames is the mean of the others. Where it is none in all of
    them, or in the subtrahend, it is zero; ``<data_key>_n_gaps`` tells how many such pixels an event has.

    Parameters
    ----------
    data_key : str
        The key of the image.
    subtrahend : 2-d array, path or str, optional
        What is taken away: an image; the path of one (``.npy``, ``.tif``, ``.tiff``), read now; or the name of a
        stream, such as ``"dark"``: then it is the mean image of that stream's latest event in the same run, and the
        derived event says in ``<data_key>_dark`` which one that was. Events of that stream are averaged only.
    mask : array, str, tuple or list of these, optional
        As the ``masks`` of `MaskApplier`: masked pixels are zero in the result, whatever they were.
    registry : MaskClient, or what `bluesky_ext.storage.open_catalog` takes; optional
        Where masks are looked up, once at the start of each run.
    gaps : "auto", True or False
        Which pixels of a frame are no measurement: see `bluesky_ext.images.Gaps`. With False none is: NaN stays NaN.
    **options
        ``executor``, ``on_error`` and so on, as for `bluesky_ext.engine.Map`.

    Examples
    --------
    >>> from bluesky_ext import ImageProcessor
    >>> ip = ImageProcessor("dexela_image", subtrahend="dark")
    >>> token = ip.subscribe(print)
    """

    keeps_image = True

    def __init__(
        self,
        data_key: str,
        subtrahend: np.ndarray | PathLike | str | None = None,
        *,
        mask: Any = None,
        registry: Any = None,
        gaps: Gaps = "auto",
        **options: Any,
    ) -> None:
        refuse_document("ImageProcessor", subtrahend)
        check_keywords("ImageProcessor", options, keywords_of(ImageProcessor, Map, Stage))
        self.data_key = data_key
        self._dark_stream: str | None = None
        background: np.ndarray | None = None
        if isinstance(subtrahend, PathLike) or (isinstance(subtrahend, str) and Path(subtrahend).suffix):
            background = read_image(Path(subtrahend))
        elif isinstance(subtrahend, str):
            self._dark_stream = subtrahend
        elif subtrahend is not None:
            background = np.array(subtrahend)  # a copy: what is subtracted is what the record says
        if background is not None and background.ndim != 2:
            raise ValueError(f"subtrahend has shape {background.shape}: give one image of two dimensions")
        given = None if mask is None else SelectedMasks(mask, registry)
        parameters = {"data_key": data_key, "subtrahend": background if self._dark_stream is None else subtrahend}
        parameters["gaps"] = gaps
        self.n_gaps = f"{data_key}_n_gaps"
        warm_up()
        warm_up_blocks()
        if given is not None:
            parameters["mask"] = given.parameters
            warm_up_masking(("float64",))
        self.has_inputs = self._dark_stream is not None
        super().__init__(
            _Process(
                data_key, None if background is None else mean_frame(background, gaps=gaps), gaps, known_mask(given)
            ),
            given=given,
            gaps=gaps,
            parameters=parameters,
            data_keys=(data_key,),
            **options,
        )

    @classmethod
    def again(cls, record: Mapping[str, Any], materials: Any, **options: Any) -> Self:
        """The stage that a record is of, which has an image by its sha256, and never as the path of a file."""
        subtrahend = record["parameters"].get("subtrahend")
        if isinstance(subtrahend, str) and Path(subtrahend).suffix:
            raise ValueError(f"the record has the file {subtrahend!r} as subtrahend: it was not written by that stage")
        return super().again(record, materials, **options)

    def begin(self, start: Mapping[str, Any]) -> _State:
        """The masks of the run, and its darks, none yet."""
        return _State(super().begin(start))

    def masks_of(self, state: _State) -> UsedMasks | None:
        """The masks of the run."""
        return state.masks

    def inputs(self, state: _State, stream: str, event: Mapping[str, Any]) -> tuple:
        """The dark image that this event needs and its number, if darks are a stream; the mask, if it is looked up."""
        mask = super().inputs(state, stream, event)
        if self._dark_stream is None:
            return (None, None, *mask) if mask else ()
        if stream == self._dark_stream:
            image, _ = reduce_blocks(image_blocks(event["data"], self.data_key), None, self._gaps)
            state.darks.append(_Dark(event["time"], event["seq_num"], image))
            return None, None, *mask
        # By time and not by arrival: a store may give all the darks of a run before all the rest.
        earlier = [dark for dark in state.darks if dark.time <= event["time"]]
        if not earlier:
            raise ValueError(
                f"the subtrahend is the latest event of stream {self._dark_stream!r}, and of the {len(state.darks)} at "
                "hand none is earlier than this event: take a dark first, or give an image"
            )
        latest = max(earlier, key=lambda dark: (dark.time, dark.seq_num))
        return latest.image, latest.seq_num, *mask
