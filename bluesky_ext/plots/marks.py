"""Peaks marked on the image they were found in."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from bluesky_ext.plots.canvas import Canvas, colours, panel_size
from bluesky_ext.plots.scale import limits, log_limits

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.collections import EllipseCollection
    from matplotlib.colorbar import Colorbar
    from matplotlib.figure import Figure

# Vermilion and blue stay apart with any kind of colour vision, on each other and on grey (Okabe and Ito).
PEAK, WINDOW = "#D55E00", "#0072B2"

# Inches, of the image.
LARGEST = (7.0, 6.0)
# Points, of circles whose diameter is not given.
CIRCLE = 12.0
# What tells how bright a peak is, the best first.
BRIGHTNESS = ("total", "mass", "signal", "amplitude")


def annotate(
    image: ArrayLike,
    peaks: pd.DataFrame | xr.Dataset | np.ndarray,
    ax: Axes | None = None,
    windows: pd.DataFrame | xr.Dataset | np.ndarray | None = None,
    *,
    diameter: float | None = None,
    numbered: int = 10,
    scale: Literal["log", "robust", "linear"] = "log",
    figure: Figure | None = None,
    colorbar: bool = True,
    **kwargs: Any,
) -> Figure:
    """Figure with an image, its peaks in circles, and the numbers of the brightest beside them.

    Parameters
    ----------
    image : (ny, nx) array
        The image. The middle of its first pixel is at (0, 0).
    peaks : pandas.DataFrame, xarray.Dataset, or structured array
        Peaks with their positions ``y`` and ``x`` in px, as `bluesky_ext.peaks.locate` finds them, or crystal maps. The
        brightest are those with the highest ``total``, ``mass``, ``signal`` or ``amplitude``, or the first in a table
        without these. The number of a peak is that of its row: its index, if the table has one.
    ax : matplotlib Axes, optional
        Where to draw; by default in a new figure, in a window where pyplot has one.
    windows : table, optional
        Windows around peaks, drawn as rectangles: the pixels of the middle, ``y`` and ``x``, and how many there are on
        either side of it, ``dy`` and ``dx``.
    diameter : float, optional
        Diameter of the circles in px, such as the one given to locate; by default they have one size on paper.
    numbered : int
        How many of the brightest peaks have their number beside them.
    scale : {"log", "robust", "linear"}
        Scale of the greys: logarithmic, from the median of the positive pixels to the brightest; linear between
        the percentiles 1 and 99.9; or linear between the extremes.
    figure : matplotlib Figure, optional
        A figure to draw into, such as ``plt.figure()`` for a window: it is cleared and sized first.
    colorbar : bool
        Whether to draw one.
    **kwargs
        For ``Axes.imshow``: cmap, vmin, vmax, norm.

    Returns
    -------
    matplotlib.figure.Figure
        To be saved with ``figure.savefig(path, dpi=150)``; a notebook shows it.

    Raises
    ------
    ValueError
        If the image is not 2-d, or a table lacks a column.
    """
    pixels = np.asarray(image)
    if pixels.ndim != 2 or not pixels.size:
        raise ValueError(f"the image has the shape {pixels.shape}: give one image of two axes")
    y, x = _columns("peaks", peaks, ("y", "x"))
    if operator.index(numbered) < 0:
        raise ValueError(f"numbered={numbered!r} must be at least 0")
    if diameter is not None and not diameter > 0:
        raise ValueError(f"diameter={diameter!r} must be above 0, or None")
    boxes = None if windows is None else _columns("windows", windows, ("y", "x", "dy", "dx"))
    ny, nx = pixels.shape
    if ax is not None:
        canvas = Canvas.on(ax, 1, figure)
    else:
        canvas = Canvas.new(1, 1, panel_size(ny / nx, *LARGEST), colorbar=colorbar, figure=figure)
    panel = canvas.panels[0]
    if "norm" not in kwargs:
        kwargs["norm"] = contrast(pixels, scale, kwargs.pop("vmin", None), kwargs.pop("vmax", None))
    kwargs["cmap"] = colours(kwargs.get("cmap", "gray_r"))
    drawn = panel.imshow(pixels, origin="upper", **kwargs)
    circles(panel, y, x, diameter)
    _number(panel, y, x, _labels(peaks, len(y)), _order(peaks, len(y))[:numbered])
    if boxes is not None:
        _frame(panel, *boxes)
    panel.set(xlim=(-0.5, nx - 0.5), ylim=(ny - 0.5, -0.5))
    canvas.name_axes("y (px)", "x (px)")
    if colorbar:
        _number_bar(canvas.add_colorbar(drawn, "intensity"))
    return canvas.figure


def _columns(name: str, table: Any, wanted: tuple[str, ...]) -> list[np.ndarray]:
    """Columns of a table, (n,) float64 each."""
    there = _names(table)
    missing = [column for column in wanted if column not in there]
    if missing:
        raise ValueError(f"{name} has no column {missing[0]!r}, only {there}")
    return [np.asarray(table[column], float) for column in wanted]


def _names(table: Any) -> list[str]:
    names = table.dtype.names if isinstance(table, np.ndarray) else list(table)
    return list(names or ())


def _order(peaks: Any, count: int) -> np.ndarray:
    """Rows of the peaks, the brightest first."""
    for column in BRIGHTNESS:
        if column in _names(peaks):
            return np.argsort(-np.asarray(peaks[column], float), kind="stable")
    return np.arange(count)


def _labels(peaks: Any, count: int) -> list[Any]:
    """The number of each peak."""
    index = getattr(peaks, "index", None)  # of a DataFrame
    if index is None and hasattr(peaks, "indexes"):  # of a Dataset
        index = peaks.indexes.get(peaks["y"].dims[0])
    return list(range(count) if index is None else index)


def contrast(pixels: np.ndarray, scale: str = "log", vmin: float | None = None, vmax: float | None = None) -> Any:
    """The scale of the greys of an image, see `annotate`."""
    from matplotlib.colors import LogNorm, Normalize

    if scale == "log":
        # Clipped, as zero has no logarithm and would be missing.
        kind, clip, (low, high) = LogNorm, True, log_limits(pixels)
    elif scale in ("robust", "linear"):
        kind, clip, (low, high) = Normalize, False, limits(pixels, (1.0, 99.9) if scale == "robust" else False)
    else:
        raise ValueError(f"scale={scale!r} must be 'log', 'robust' or 'linear'")
    return kind(low if vmin is None else vmin, high if vmax is None else vmax, clip=clip)


def _number_bar(bar: Colorbar) -> None:
    """Numbers along a logarithmic bar: 200 and 500 beside the powers of ten, of which there may not be one."""
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    if isinstance(bar.norm, LogNorm):
        bar.minorticks_off()
        bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        bar.ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def circles(ax: Axes, y: np.ndarray, x: np.ndarray, diameter: float | None = None) -> EllipseCollection:
    """Draw circles around peaks, with a diameter in px, or of one size on paper."""
    from matplotlib.collections import EllipseCollection

    width = CIRCLE if diameter is None else diameter
    drawn = EllipseCollection(
        width,
        width,
        0,
        units="points" if diameter is None else "xy",
        offsets=np.column_stack([x, y]),
        offset_transform=ax.transData,
        facecolors="none",
        edgecolors=PEAK,
        linewidths=1.2,
    )
    ax.add_collection(drawn)
    return drawn


def _number(ax: Axes, y: np.ndarray, x: np.ndarray, labels: list[Any], rows: np.ndarray) -> None:
    from matplotlib.patheffects import withStroke

    for row in rows[np.isfinite(y[rows]) & np.isfinite(x[rows])]:
        ax.annotate(
            str(labels[row]),
            (x[row], y[row]),
            xytext=(5, 5),
            textcoords="offset points",
            color=PEAK,
            fontsize="small",
            fontweight="bold",
            annotation_clip=True,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )


def _frame(ax: Axes, y: np.ndarray, x: np.ndarray, dy: np.ndarray, dx: np.ndarray) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    # A pixel reaches half a pixel to either side of its number.
    frames = [
        Rectangle((left - half - 0.5, top - tall - 0.5), 2 * half + 1, 2 * tall + 1)
        for top, left, tall, half in zip(y, x, dy, dx, strict=True)
    ]
    ax.add_collection(PatchCollection(frames, facecolors="none", edgecolors=WINDOW, linewidths=1.2))
