"""Masks: a registry of them in Tiled, and what makes and combines them."""

from typing import TYPE_CHECKING

from bluesky_ext._lazy import lazy

if TYPE_CHECKING:
    from bluesky_ext.masks.arrays import combine_masks, list_to_mask, load_array_from_file, mask_sha256
    from bluesky_ext.masks.client import MaskClient
    from bluesky_ext.masks.detectors import DETECTOR_SHAPES, DetectorShapes
    from bluesky_ext.masks.errors import MaskDamaged, MaskExists, MaskNotFound

__all__ = [  # noqa: RUF022 - grouped by what belongs together
    # the registry
    "MaskClient",
    "MaskDamaged",
    "MaskExists",
    "MaskNotFound",
    # detectors and their shapes
    "DETECTOR_SHAPES",
    "DetectorShapes",
    # masks as arrays
    "combine_masks",
    "list_to_mask",
    "load_array_from_file",
    "mask_sha256",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "bluesky_ext.masks.arrays": ("combine_masks", "list_to_mask", "load_array_from_file", "mask_sha256"),
        "bluesky_ext.masks.client": ("MaskClient",),
        "bluesky_ext.masks.detectors": ("DETECTOR_SHAPES", "DetectorShapes"),
        "bluesky_ext.masks.errors": ("MaskDamaged", "MaskExists", "MaskNotFound"),
    },
)
