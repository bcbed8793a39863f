"""The picture of crystal maps: one panel a reflection or a grain, the brightest first."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bluesky_ext.plots.canvas import Canvas, check_columns, colours, columns, panel_size
from bluesky_ext.plots.forms import Line, form_of
from bluesky_ext.plots.ruler import label_of
from bluesky_ext.plots.scale import percentiles_of, scaled, sparse_limits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches: the largest panel, and the room for each line of the title above it; smaller when there are many.
FEW, FEW_TITLE = (2.2, 1.8), (1.3, 0.19)
MANY, MANY_TITLE = (1.35, 1.1), (1.1, 0.16)
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
    """Figure with the brightest crystal maps, each under its reflection and where its peak is.

    Maps on a grid are images in real proportions; those of scattered points are discs of their colour; those of
    a scan along a line, or of events without positions, are lines. If there are more maps, the figure says so.

    Parameters
    ----------
    dataset : xarray.Dataset
        Crystal maps, such as `bluesky_ext.CrystalMap` and `bluesky_ext.CrystalMapper` have them: ``maps``, with the
        reflections along its first dimension, and then the motors, or one dimension of points, along which the
        motors are coordinates; and, if they are known, along the reflections ``total``, the brightness, and
        ``y`` and ``x``, the position of the peak in pixels. Points that were not measured are NaN. Or those of
        `bluesky_ext.peaks.grains`, with the grains along the first dimension.
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
        Where to draw, at least as many as maps; by default in a new figure, in a window where pyplot has one.
    figure : matplotlib Figure, optional
        A figure to draw into, such as ``plt.figure()`` for a window: it is cleared and sized first.
    yincrease : bool, optional
        Whether y goes upwards, as in `plot_real_aspect`.
    **kwargs
        For ``Axes.imshow``: cmap, vmin, vmax, norm; of lines, vmin and vmax, and for ``Axes.plot``.

    Returns
    -------
    matplotlib.figure.Figure
        To be saved with ``figure.savefig(path, dpi=150)``; a notebook shows it.

    Raises
    ------
    ValueError
        If the dataset has no maps, or they are of a scan of more than two axes.
    """
    chosen = brightest(dataset, maps, n)
    images, texts = chosen[maps], titles(chosen, maps)
    count = len(images)
    check_columns(ncols)
    form = form_of(images[0])
    largest, (wide, high), font = (FEW, FEW_TITLE, "small") if count <= A_FEW else (MANY, MANY_TITLE, "x-small")
    title = wide, high * max(2, texts[0].count("\n") + 1)
    has_colours = not isinstance(form, Line)
    if axes is not None:
        canvas = Canvas.on(axes, count, figure)
    else:
        width, height = panel_size(form.ratio, *largest)
        across = ncols or columns(count, max(width, title[0]), height + title[1])
        canvas = Canvas.new(count, across, (width, height), title=title, colorbar=has_colours, figure=figure)
    values = images.to_numpy()
    shared = shared or count == 1 or kwargs.get("norm") is not None or {"vmin", "vmax"} <= set(kwargs)
    scale = scaled(kwargs, values, sparse_limits(values, robust))
    drawn = []
    for panel, image, text in zip(canvas.panels, images, texts, strict=True):
        if not shared:
            scale = scaled(kwargs, image.to_numpy(), sparse_limits(image.to_numpy(), robust))
        drawn.append(form.draw(panel, image, yincrease=yincrease, **scale))
        panel.set_title(text, fontsize=font, pad=3)
        set_few_ticks(panel, font)
        if not has_colours and not shared:
            panel.set_yticks([scale["vmin"], scale["vmax"]], _ends(values, robust, kwargs))
    label = label_of(images, "intensity" if images.name == "maps" else str(images.name))
    own = "" if shared else ", scaled map by map"
    canvas.name_axes(form.y.label if has_colours else f"{label}{own}", form.x.label)
    if has_colours and shared:
        canvas.add_colorbar(drawn[0], label)
    elif has_colours:
        _add_own_colorbar(canvas, f"{label}{own}", _ends(values, robust, kwargs), kwargs)
    notes = [f"scan {dataset.attrs['scan_id']}"] if "scan_id" in dataset.attrs else []
    notes += [f"{count} of {len(dataset[maps])} maps"] if count < len(dataset[maps]) else []
    if axes is None and notes:
        canvas.note(", ".join(notes))
    return canvas.figure


def brightest(dataset: xr.Dataset, maps: str, n: int | None) -> xr.Dataset:
    """The `n` brightest of the maps, the brightest first."""
    if maps not in dataset:
        raise ValueError(f"the dataset has no {maps!r}, only {list(dataset)}: give the name of its maps")
    images = dataset[maps]
    if images.ndim not in (2, 3):
        raise ValueError(
            f"{maps!r} has the axes {images.dims!r}: leave the first and one or two axes of the scan, with isel or sum"
        )
    if n is not None and operator.index(n) < 1:
        raise ValueError(f"n={n!r} must be at least 1, or None for all")
    if not len(images):
        raise ValueError(f"{maps!r} has no maps in it: there is nothing to draw")
    totals = dataset["total"] if "total" in dataset else images.sum(images.dims[1:])
    order = np.argsort(-totals.to_numpy(), kind="stable")[:n]
    return dataset.isel({images.dims[0]: order})


def titles(dataset: xr.Dataset, maps: str) -> list[str]:
    """The number of each reflection or grain, and below it where its peak is or how many reflections it has.

    If they are known, the d-spacing and the azimuth of a reflection are in a third line.
    """
    dim = dataset[maps].dims[0]
    names = [f"{dim} {number}" for number in dataset[dim].to_numpy()]  # from 0, if it is no coordinate
    about = {name for name, one in dataset.items() if one.dims == (dim,)}
    if {"y", "x"} <= about:
        positions = zip(names, dataset["y"].to_numpy(), dataset["x"].to_numpy(), strict=True)
        names = [f"{name}\ny {y:.0f}, x {x:.0f} px" for name, y, x in positions]
        if {"d", "chi"} <= about:
            angles = zip(names, dataset["d"].to_numpy(), dataset["chi"].to_numpy(), strict=True)
            names = [f"{name}\nd {d:.4g} nm, chi {chi:.0f}°" for name, d, chi in angles]
        return names
    if "n_reflections" in about:
        return [f"{name}\n{n} reflections" for name, n in zip(names, dataset["n_reflections"].to_numpy(), strict=True)]
    return names


def set_few_ticks(panel: Axes, font: str) -> None:
    """Ticks for a small panel: four numbers along an axis, or as many as there is room for."""
    from matplotlib.ticker import FixedLocator, MaxNLocator

    panel.tick_params(labelsize=font, length=2)
    panel.apply_aspect()  # of a thin strip only a part of the room is used
    box = panel.get_window_extent()
    for axis, length in ((panel.xaxis, box.width), (panel.yaxis, box.height)):
        room = int(length / panel.figure.dpi / NUMBER)
        middle = sum(axis.get_view_interval()) / 2
        axis.set_major_locator(MaxNLocator(min(room, 4), steps=[1, 2, 5, 10]) if room else FixedLocator([middle]))


def _ends(values: np.ndarray, robust: Any, given: dict[str, Any]) -> list[str]:
    """What the first and the last value of a scale are called, when each map has its own."""
    low, high = percentiles_of(robust)
    names = {
        "vmin": "0" if not (values < 0).any() else f"{low:g} %" if low else "min",
        "vmax": f"{high:g} %" if high < 100 else "max",
    }
    names |= {name: f"{given[name]:g}" for name in names if name in given}
    return list(names.values())


def _add_own_colorbar(canvas: Canvas, label: str, ends: list[str], given: dict[str, Any]) -> None:
    """A colour bar for maps that each have their own scale: it has no numbers, as they would be others for each."""
    from matplotlib.cm import ScalarMappable

    bar = canvas.add_colorbar(ScalarMappable(cmap=colours(given.get("cmap"))), label, ticks=[0, 1])
    bar.ax.set_yticklabels(ends)
