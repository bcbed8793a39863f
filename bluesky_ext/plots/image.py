"""The picture of an array whose axes are lengths: a millimetre is as long along one as along the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bluesky_ext.plots.canvas import Canvas, check_columns, columns, panel_size
from bluesky_ext.plots.forms import Line, form_of
from bluesky_ext.plots.grid import reshape
from bluesky_ext.plots.ruler import label_of
from bluesky_ext.plots.scale import limits, scaled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Inches: the largest single picture, the largest of several, and the room for the title above each.
SINGLE, SEVERAL, TITLE = (6.5, 5.0), (2.6, 2.2), (1.3, 0.28)


def plot_real_aspect(
    data_array: Any,
    key: str | None = None,
    *,
    stream: str = "primary",
    ax: Any = None,
    figure: Figure | None = None,
    ncols: int | None = None,
    robust: bool | tuple[float, float] = False,
    yincrease: bool | None = None,
    colorbar: bool = True,
    **kwargs: Any,
) -> Figure:
    """Figure with an image of an array in real proportions: equal lengths are equally long along both axes.

    Each value covers the pixel around its coordinates. Lengths in different units (mm and µm) are compared; an axis
    that is no length beside one that is (degrees beside mm) has no proportion, and the picture the one that fits.
    Missing values are grey.

    Parameters
    ----------
    data_array : xarray.DataArray
        2-d, (y, x); or 3-d, one picture for each item of the first dimension, with the same colours; or 1-d, the
        points of a scan: discs where the motors were if these are two, a line along one. Labels are made of the names,
        the ``long_name`` and the ``units`` in the attrs of the array and its coordinates. With a `key`, a run or
        whatever else `reshape` takes.
    key, stream : str, optional
        Which reading is drawn, where the motors were, as by `reshape`.
    ax : matplotlib Axes, or several of them, optional
        Where to draw; by default in a new figure, in a window where pyplot has one.
    figure : matplotlib Figure, optional
        A figure to draw into, such as ``plt.figure()`` for a window: it is cleared and sized first.
    ncols : int, optional
        How many pictures in a row, of a 3-d array.
    robust : bool or (float, float)
        Percentiles at which the colours end, so that a few hot pixels don't darken all others; True is (2, 98).
    yincrease : bool, optional
        Whether y goes upwards. By default it does if it has a coordinate; rows without one are counted
        downwards, as in an image.
    colorbar : bool
        Whether to draw one.
    **kwargs
        For ``Axes.imshow``, or ``Axes.pcolormesh`` where the coordinates are not evenly spaced: cmap, vmin, vmax, norm.

    Returns
    -------
    matplotlib.figure.Figure
        To be saved with ``figure.savefig(path, dpi=150)``; a notebook shows it.

    Raises
    ------
    ValueError
        If the array has no dimension or more than three, or a coordinate neither rises nor falls all along.
    """
    if key is not None:
        data_array = reshape(data_array, key, stream=stream)
    elif not isinstance(data_array, xr.DataArray):
        raise TypeError(f"{type(data_array).__qualname__} is no array: give the key of what is drawn of it")
    if data_array.ndim not in (1, 2, 3):
        raise ValueError(f"the array has the axes {data_array.dims!r}: choose up to three of them, with isel or mean")
    if data_array.dtype == bool:  # which has no percentiles
        data_array = data_array.astype(np.uint8)
    facets = list(data_array) if data_array.ndim == 3 else [data_array]
    if not facets:
        raise ValueError(f"the array has nothing along {data_array.dims[0]!r}: there is no picture to draw")
    check_columns(ncols)
    form = form_of(facets[0])
    has_colours = not isinstance(form, Line)
    if ax is not None:
        canvas = Canvas.on(ax, len(facets), figure)
    else:
        width, height = panel_size(form.ratio, *(SINGLE if len(facets) == 1 else SEVERAL))
        across = ncols or columns(len(facets), max(width, TITLE[0]), height + TITLE[1])
        bar = colorbar and has_colours
        canvas = Canvas.new(len(facets), across, (width, height), title=TITLE, colorbar=bar, figure=figure)
    values = data_array.to_numpy()
    scale = scaled(kwargs, values, limits(values, robust))
    pairs = list(zip(canvas.panels, facets, strict=True))
    drawn: list[Any] = [form.draw(panel, facet, yincrease=yincrease, **scale) for panel, facet in pairs]
    for panel, facet in pairs:
        panel.set_title(title_of(facet), fontsize="medium")
    label = label_of(data_array, str(data_array.name or ""))
    canvas.name_axes(form.y.label if has_colours else label, form.x.label)
    if colorbar and has_colours:
        canvas.add_colorbar(drawn[0], label)
    return canvas.figure


def title_of(image: xr.DataArray) -> str:
    """What is chosen of the other axes: their name and value, such as "reflection = 3"."""
    chosen = {name: coord.to_numpy() for name, coord in image.coords.items() if not coord.dims}
    return ", ".join(
        f"{name} = {value:g}" if value.dtype.kind == "f" else f"{name} = {value}" for name, value in chosen.items()
    )
