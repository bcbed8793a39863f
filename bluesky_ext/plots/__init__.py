"""Plots: readings of a scan where its motors were, and pictures of images, peaks and crystal maps.

Matplotlib is imported when the first picture is drawn, not before: `reshape` does without.
"""

from bluesky_ext.plots.grid import reshape
from bluesky_ext.plots.image import plot_real_aspect
from bluesky_ext.plots.maps import plot_crystal_maps
from bluesky_ext.plots.marks import annotate
from bluesky_ext.plots.show import Show

__all__ = ["Show", "annotate", "plot_crystal_maps", "plot_real_aspect", "reshape"]
