"""The picture of crystal maps: one panel a grain, the brightest first."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bluesky_ext.plots.canvas import Canvas, check_columns, colours, columns, panel_size
from bluesky_ext.plots.image import draw, proportion
from bluesky_ext.plots.ruler import label_of, rulers
from bluesky_ext.plots.scale import percentiles_of, scaled, sparse_limits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches: the largest panel, and the room for the title above each; smaller when there are many.
FEW, FEW_TITLE = (2.2, 1.8), (1.3, 0.38)
MANY, MANY_TITLE = (1.35, 1.1), (1.1, 0.32)
# Inches, from a number along an axis to the next.
NUMBER = 0.35
# More than these are many.
A_FEW = 30


def plot_crystal_maps(
    dataset: xr.Dataset,
    n: int | None = 20,
    ncols: int | None = None,
    *,
    maps: str = "maps",
    shared: bool = False,
    robust: bool | tuple[float, float] = False,
    axes: Any = None,
    figure: Figure | None = None,
    yincrease: bool | None = None,
    **kwargs: Any,
) -> Figure:
    """Figure with the brightest crystal maps in real proportions, each under its grain and where its peak is.

    If there are more, the figure says so.

    Parameters
    ----------
    dataset : xarray.Dataset
        Crystal maps, as `bluesky_ext.peaks.crystal_maps` makes them: ``maps`` (grain, y, x) and, if they are known,
        along the grains ``total``, the brightness, and ``y`` and ``x``, the position of the peak in pixels.
    n : int, optional
        How many maps at most; None for all.
    ncols : int, optional
        How many in a row.
    maps : str
        Name of the variable that has the maps.
    shared : bool
        Whether all maps have the same scale of colours, to compare their brightness; or each its own,
        up to its maximum, to see the form of the faint ones too.
    robust : bool or (float, float)
        Percentiles of the values that are not zero at which the colours end; True is (2, 98).
    axes : matplotlib Axes, several, optional
        Where to draw, at least as many as maps; by default in a new figure that pyplot does not know.
    figure : matplotlib Figure, optional
        A figure to draw into, such as ``plt.figure()`` for a window: it is cleared and sized first.
    yincrease : bool, optional
        Whether y goes upwards, as in `plot_real_aspect`.
    **kwargs
        For ``Axes.imshow``: cmap, vmin, vmax, norm.

    Returns
    -------
    matplotlib.figure.Figure
        To be saved with ``figure.savefig(path, dpi=150)``; a notebook shows it.

    Raises
    ------
    ValueError
        If the dataset has no maps of a scan of two axes.
    """
    brightest = _brightest(dataset, maps, n)
    images = brightest[maps]
    count = len(images)
    check_columns(ncols)
    y, x = rulers(images[0])
    largest, title, font = (FEW, FEW_TITLE, "small") if count <= A_FEW else (MANY, MANY_TITLE, "x-small")
    if axes is not None:
        canvas = Canvas.on(axes, count, figure)
    else:
        width, height = panel_size(proportion(y, x), *largest)
        across = ncols or columns(count, max(width, title[0]), height + title[1])
        canvas = Canvas.new(count, across, (width, height), title=title, figure=figure)
    values = images.to_numpy()
    shared = shared or count == 1 or kwargs.get("norm") is not None or {"vmin", "vmax"} <= set(kwargs)
    scale = scaled(kwargs, values, sparse_limits(values, robust))
    drawn = []
    for panel, image, text in zip(canvas.panels, images, _titles(brightest, count), strict=True):
        if not shared:
            scale = scaled(kwargs, image.to_numpy(), sparse_limits(image.to_numpy(), robust))
        drawn.append(draw(panel, image, y, x, yincrease=yincrease, **scale))
        panel.set_title(text, fontsize=font, pad=3)
        _set_few_ticks(panel, font)
    canvas.name_axes(y.label, x.label)
    label = label_of(images, "intensity" if images.name == "maps" else str(images.name))
    if shared:
        canvas.add_colorbar(drawn[0], label)
    else:
        _add_own_colorbar(canvas, label, values, robust, kwargs)
    if axes is None and count < len(dataset[maps]):
        canvas.note(f"{count} of {len(dataset[maps])} maps")
    return canvas.figure


def _brightest(dataset: xr.Dataset, maps: str, n: int | None) -> xr.Dataset:
    """The `n` brightest of the maps, the brightest first."""
    if maps not in dataset:
        raise ValueError(f"the dataset has no {maps!r}, only {list(dataset)}: give the name of its maps")
    images = dataset[maps]
    if images.ndim != 3:
        raise ValueError(
            f"{maps!r} has the axes {images.dims!r}: it takes grains and two axes of a scan; use isel or sum"
        )
    if n is not None and operator.index(n) < 1:
        raise ValueError(f"n={n!r} must be at least 1, or None for all")
    if not len(images):
        raise ValueError(f"{maps!r} has no maps in it: there is nothing to draw")
    grain = images.dims[0]
    totals = dataset["total"] if "total" in dataset else images.sum(images.dims[1:])
    order = np.argsort(-totals.to_numpy(), kind="stable")[:n]
    return dataset.isel({grain: order})


def _titles(dataset: xr.Dataset, count: int) -> list[str]:
    """The number of each grain, and the position of its peak if that is known."""
    numbers = dataset["grain"].to_numpy() if "grain" in dataset.coords else np.arange(count)
    if not {"y", "x"} <= set(dataset.data_vars):
        return [f"grain {number}" for number in numbers]
    positions = zip(numbers, dataset["y"].to_numpy(), dataset["x"].to_numpy(), strict=True)
    return [f"grain {number}\ny {y:.0f}, x {x:.0f} px" for number, y, x in positions]


def _set_few_ticks(panel: Axes, font: str) -> None:
    """Ticks for a small panel: four numbers along an axis, or as many as there is room for."""
    from matplotlib.ticker import FixedLocator, MaxNLocator

    panel.tick_params(labelsize=font, length=2)
    panel.apply_aspect()  # of a thin strip only a part of the room is used
    box = panel.get_window_extent()
    for axis, length in ((panel.xaxis, box.width), (panel.yaxis, box.height)):
        room = int(length / panel.figure.dpi / NUMBER)
        middle = sum(axis.get_view_interval()) / 2
        axis.set_major_locator(MaxNLocator(min(room, 4), steps=[1, 2, 5, 10]) if room else FixedLocator([middle]))


def _add_own_colorbar(canvas: Canvas, label: str, values: np.ndarray, robust: Any, given: dict[str, Any]) -> None:
    """A colour bar for maps that each have their own scale: it has no numbers, as they would be others for each."""
    from matplotlib.cm import ScalarMappable

    low, high = percentiles_of(robust)
    names = {
        "vmin": "0" if not (values < 0).any() else f"{low:g} %" if low else "min",
        "vmax": f"{high:g} %" if high < 100 else "max",
    }
    names |= {name: f"{given[name]:g}" for name in names if name in given}
    drawn = ScalarMappable(cmap=colours(given.get("cmap")))
    bar = canvas.add_colorbar(drawn, f"{label}, scaled map by map", ticks=[0, 1])
    bar.ax.set_yticklabels(list(names.values()))
