"""Images of which most pixels are zero, as the places and values of the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from bluesky_ext._compile import compile_kernels
from bluesky_ext.engine import image_blocks
from bluesky_ext.images import sparsify_blocks, warm_up_sparse
from bluesky_ext.masks.selection import SelectedMasks
from bluesky_ext.masks.stage import MaskedMap, known_mask

#: What detectors make: the kernels for these are compiled, or loaded, when a stage is made.
DTYPES = ("uint8", "uint16", "uint32", "int32", "float32", "float64")


@dataclass(frozen=True)
class _Sparsify:
    """The kernel: the pixels of an event's image that are neither masked nor zero."""

    takes_blocks: ClassVar[bool] = True

    data_key: str
    mask: np.ndarray | None

    def __call__(self, data: Mapping[str, Any], seq_num: int, mask: np.ndarray | None = None) -> dict[str, Any]:
        blocks = image_blocks(data, self.data_key)
        index, value, shape = sparsify_blocks(blocks, self.mask if mask is None else mask)
        return {
            self.data_key: None,
            f"{self.data_key}_index": index,
            f"{self.data_key}_value": value,
            f"{self.data_key}_nnz": len(index),
            f"{self.data_key}_shape": np.array(shape),
        }


class Sparsifier(MaskedMap):
    """Events with the pixels of their image that are neither masked nor zero, in place of the image.

    ``<data_key>_index`` (uint32, or uint64 where there are more than 2**32 pixels) are their numbers in the flattened
    image, all its frames included, ``<data_key>_value`` their values in the dtype of the image, ``<data_key>_nnz`` how
    many there are, and ``<data_key>_shape`` the shape of the image. `bluesky_ext.images.densify` makes an image of them
    again, for integers the very same; `bluesky_ext.storage.SparseWriter` stores a run of them as one sparse array. Of
    an image in an HDF5 file, some frames are in memory at a time. The derived run's configuration has the uids and the
    sha256 of the masks.

    Parameters
    ----------
    data_key : str
        The key of the image.
    masks, registry
        As for `MaskApplier`; no pixel is masked unless masks are given.
    **options
        ``executor``, ``on_error`` and so on, as for `bluesky_ext.engine.Map`.

    Examples
    --------
    >>> from bluesky_ext.callbacks import Sparsifier
    >>> sp = Sparsifier("eiger4m_single_image")
    >>> token = sp.subscribe(print)
    """

    kernels = (partial(warm_up_sparse, DTYPES),)

    def __init__(self, data_key: str, masks: Any = None, *, registry: Any = None, **options: Any) -> None:
        self.data_key = data_key
        self.hinted = (f"{data_key}_nnz",)
        self.ragged = (f"{data_key}_index", f"{data_key}_value")
        given = None if masks is None else SelectedMasks(masks, registry)
        compile_kernels(*self.kernels)
        super().__init__(
            _Sparsify(data_key, known_mask(given)),
            given=given,
            parameters={"data_key": data_key, "masks": None if given is None else given.parameters},
            data_keys=(data_key,),
            **options,
        )
