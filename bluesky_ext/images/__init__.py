"""Images: stacks of frames in, averaged, background-subtracted, masked and sparse images out."""

from bluesky_ext.images.blocks import mean_blocks, reduce_blocks, sparsify_blocks, warm_up_blocks
from bluesky_ext.images.gaps import RULES, Gaps, check_gaps, measured
from bluesky_ext.images.mask import apply_mask, check_mask, masked_dtype, warm_up_masking
from bluesky_ext.images.read import is_image_file, read_image
from bluesky_ext.images.reduce import mean_frame, reduce_frames, reduce_measured, warm_up
from bluesky_ext.images.regions import Region, Regions, regions_of
from bluesky_ext.images.sparse import densify, sparsify, warm_up_sparse
from bluesky_ext.images.subtract import gen_processed_images, subtract

__all__ = [
    "RULES",
    "Gaps",
    "Region",
    "Regions",
    "apply_mask",
    "check_gaps",
    "check_mask",
    "densify",
    "gen_processed_images",
    "is_image_file",
    "masked_dtype",
    "mean_blocks",
    "mean_frame",
    "measured",
    "read_image",
    "reduce_blocks",
    "reduce_frames",
    "reduce_measured",
    "regions_of",
    "sparsify",
    "sparsify_blocks",
    "subtract",
    "warm_up",
    "warm_up_blocks",
    "warm_up_masking",
    "warm_up_sparse",
]
