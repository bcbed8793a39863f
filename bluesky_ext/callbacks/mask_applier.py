"""Images without the pixels that are not to be used."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from bluesky_ext._compile import compile_kernels
from bluesky_ext.engine import with_images
from bluesky_ext.images import apply_mask, warm_up_masking
from bluesky_ext.masks.selection import SelectedMasks
from bluesky_ext.masks.stage import MaskedMap, known_mask

#: What detectors make: the kernels for these are compiled, or loaded, when a stage is made.
DTYPES = ("uint8", "uint16", "uint32", "int32", "float32", "float64")


@dataclass(frozen=True)
class _Apply:
    """The kernel: an event's image with its masked pixels filled."""

    takes_blocks: ClassVar[bool] = True

    data_key: str
    mask: np.ndarray | None
    fill: float

    def __call__(self, data: Mapping[str, Any], seq_num: int, mask: np.ndarray | None = None) -> dict[str, Any]:
        used: Any = self.mask if mask is None else mask
        return {self.data_key: with_images(data, self.data_key, partial(apply_mask, mask=used, fill=self.fill))}


class MaskApplier(MaskedMap):
    """Events with the masked pixels of their image set to zero, or to NaN.

    An image may be a stack of frames; of one in files, some are in memory at a time if this is composed with what
    averages them or makes them sparse (`bluesky_ext.compose`). The derived run's configuration has the uids and the
    sha256 of the masks (``MaskApplier_mask_uids`` and ``MaskApplier_mask_sha256``, with the detector's own).

    Parameters
    ----------
    data_key : str
        The key of the image.
    masks : array, str, tuple or list of these
        Each is a bool array, False where a pixel is masked; a uid; ``(detector, name)`` or ``(detector, name,
        version)``, of the highest version unless one is given; or one of the masks in the record of a run. What any of
        several masks is masked.
    fill : {0, nan}
        What masked pixels become. With NaN, images of integers become float32, or float64 beyond 16 bits.
    registry : MaskClient, or what `bluesky_ext.storage.open_catalog` takes; optional
        Where uids and names are looked up, once at the start of each run.
    **options
        ``executor``, ``on_error`` and so on, as for `bluesky_ext.engine.Map`.

    Examples
    --------
    >>> import numpy as np
    >>> from bluesky_ext.callbacks import MaskApplier
    >>> ma = MaskApplier("dexela_image", np.ones((3888, 3072), bool), fill=np.nan)
    >>> token = ma.subscribe(print)
    """

    kernels = (partial(warm_up_masking, DTYPES),)
    keeps_image = True

    def __init__(self, data_key: str, masks: Any, fill: float = 0, *, registry: Any = None, **options: Any) -> None:
        is_number = isinstance(fill, int | float | np.integer | np.floating) and not isinstance(fill, bool)
        if not is_number or not (fill == 0 or math.isnan(fill)):
            raise ValueError(f"fill={fill!r}: give 0 or nan")
        self.data_key = data_key
        given = SelectedMasks(masks, registry)
        compile_kernels(*self.kernels)
        super().__init__(
            _Apply(data_key, known_mask(given), fill),
            given=given,
            parameters={"data_key": data_key, "masks": given.parameters, "fill": fill},
            data_keys=(data_key,),
            **options,
        )
