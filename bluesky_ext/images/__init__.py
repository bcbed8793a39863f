"""Images: stacks of frames in, averaged and background-subtracted images out."""

from bluesky_ext.images.read import read_image
from bluesky_ext.images.reduce import mean_frame, reduce_frames, warm_up
from bluesky_ext.images.subtract import gen_processed_images, subtract

__all__ = ["gen_processed_images", "mean_frame", "read_image", "reduce_frames", "subtract", "warm_up"]
