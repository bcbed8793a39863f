"""Images as the sample sees them, and not as the detector was mounted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bluesky_ext.engine import Map, with_images

#: What each step does with the last two axes.
STEPS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "rot90": lambda image: np.rot90(image, 1, (-2, -1)),
    "rot180": lambda image: image[..., ::-1, ::-1],
    "rot270": lambda image: np.rot90(image, 3, (-2, -1)),
    "flipud": lambda image: image[..., ::-1, :],
    "fliplr": lambda image: image[..., ::-1],
    "transpose": lambda image: np.swapaxes(image, -2, -1),
}


@dataclass(frozen=True)
class _Orient:
    """The kernel: an event's image after some steps."""

    takes_blocks: ClassVar[bool] = True

    data_key: str
    steps: tuple[str, ...]

    def __call__(self, data: Mapping[str, Any], seq_num: int) -> dict[str, Any]:
        return {self.data_key: with_images(data, self.data_key, self._oriented)}

    def _oriented(self, image: np.ndarray) -> np.ndarray:
        for step in self.steps:
            image = STEPS[step](image)
        return np.ascontiguousarray(image)


class ImageOrienter(Map):
    """Events whose image is turned and flipped: as the sample sees it, whichever way the detector was mounted.

    An image may be a stack of frames: each of them is turned, and of one in files some at a time if this is composed
    with what averages them or makes them sparse (`bluesky_ext.compose`). Masks, and whatever else has the shape of an
    image, are of the turned images in the stages behind it.

    Parameters
    ----------
    data_key : str
        The key of the image.
    steps : {"rot90", "rot180", "rot270", "flipud", "fliplr", "transpose"}, or a sequence of these
        What is done, one after the other, as the functions of numpy with these names do it with a frame: ``rot90``
        turns the first axis (rows, downwards) towards the second one, which is counterclockwise on a screen.
    **options
        ``executor``, ``on_error`` and so on, as for `bluesky_ext.engine.Map`.

    Examples
    --------
    >>> from bluesky_ext.callbacks import ImageOrienter
    >>> io = ImageOrienter("eiger_image", ["rot270", "flipud"])
    >>> token = io.subscribe(print)
    """

    def __init__(self, data_key: str, steps: str | Sequence[str], **options: Any) -> None:
        steps = (steps,) if isinstance(steps, str) else tuple(steps)
        unknown = [step for step in steps if step not in STEPS]
        if unknown or not steps:
            said = f"{unknown[0]!r} is no step" if unknown else "no step is given"
            raise ValueError(f"{said}: give one or more of {', '.join(STEPS)}")
        self.data_key = data_key
        super().__init__(
            _Orient(data_key, steps),
            parameters={"data_key": data_key, "steps": list(steps)},
            data_keys=(data_key,),
            **options,
        )
