"""Where pictures are drawn: figures that belong to nobody else, and panels in them, sized for what they show."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colorbar import Colorbar
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

# Told apart with any kind of colour vision, and in black and white (https://doi.org/10.1371/journal.pone.0199239).
COLOURS = "viridis"
# What is missing is neither dark nor bright.
MISSING = "0.8"

# Inches: between panels; around them, where the numbers and names of the axes are; the colour bar, and its numbers.
GAP, LEFT, RIGHT, BOTTOM, TOP = 0.12, 0.85, 0.15, 0.6, 0.1
BAR, BAR_NUMBERS = 0.16, 0.85

# The sizes that figures were given last.
_sizes: WeakKeyDictionary[Any, tuple[float, float]] = WeakKeyDictionary()

# Whose windows pyplot opens. Other backends draw in files, or in the page of a notebook.
TOOLKITS = ("qt", "tk", "gtk3", "gtk4", "wx", "macosx")


@dataclass(frozen=True)
class Canvas:
    """Panels of a figure, and room for the bar of their colours.

    Parameters
    ----------
    figure : matplotlib Figure
        The figure.
    panels : list of Axes
        The panels, row by row.
    bar : Axes or None
        Room for a colour bar; None if it has to take it from the panels, as in axes that a user gave.
    is_shared : bool
        Whether the panels have their axes in common, and so one name for all of them.
    """

    figure: Figure
    panels: list[Axes]
    bar: Axes | None = None
    is_shared: bool = False

    @classmethod
    def on(cls, axes: Any, count: int, figure: Figure | None = None) -> Canvas:
        """So many of the axes that a user gave, one or several in any arrangement."""
        if figure is not None:
            raise ValueError("axes and a figure are both given: give the axes, which are in a figure, or the figure")
        panels = list(_flat(axes))
        if len(panels) < count:
            raise ValueError(f"{len(panels)} axes are not enough for {count} pictures: give one for each")
        whole = panels[0].get_figure(root=True)
        if whole is None:
            raise ValueError(f"{panels[0]!r} are in no figure any more: give axes of one")
        return cls(whole, panels[:count])

    @classmethod
    def new(
        cls,
        count: int,
        ncols: int,
        panel: tuple[float, float],
        *,
        title: tuple[float, float] = (0.0, 0.0),
        colorbar: bool = True,
        figure: Figure | None = None,
    ) -> Canvas:
        """So many panels of a size in a figure of the size they need, all in inches.

        The sizes are known, so the panels are put there. A layout engine that finds them by drawing everything
        takes ten seconds for a hundred panels.

        Parameters
        ----------
        count, ncols : int
            How many panels, and how many of them in a row.
        panel : (float, float)
            Width and height of each.
        title : (float, float)
            Width and height of the title above each.
        colorbar : bool
            Whether to leave room for a colour bar.
        figure : matplotlib Figure, optional
            The figure, which is cleared first. By default a `new_figure`.
        """
        nrows = math.ceil(count / ncols)
        step = max(panel[0], title[0]) + GAP, panel[1] + title[1] + GAP
        right = RIGHT + colorbar * (BAR + BAR_NUMBERS)
        width = LEFT + ncols * step[0] - GAP + right
        height = BOTTOM + nrows * step[1] - GAP + TOP
        figure = _cleared(new_figure() if figure is None else figure, width, height)
        places = figure.add_gridspec(
            nrows,
            ncols,
            left=LEFT / width,
            right=1 - right / width,
            bottom=BOTTOM / height,
            top=1 - (TOP + title[1]) / height,
            wspace=GAP / (step[0] - GAP),
            hspace=(step[1] - panel[1]) / panel[1],
        )
        # Their axes are not shared, though they are alike: matplotlib would tell all panels of every change in each.
        panels = [figure.add_subplot(places[divmod(place, ncols)]) for place in range(count)]
        for place, ax in enumerate(panels):
            # Numbers at the first of each row and at the lowest of each column, be that in the last row or not.
            ax.tick_params(labelleft=place % ncols == 0, labelbottom=place + ncols >= count)
        bar = None
        if colorbar and count == 1:
            # Beside the picture also when a window is resized.
            bar = panels[0].inset_axes((1 + GAP / panel[0], 0, BAR / panel[0], 1))
        elif colorbar:
            top = height - TOP - title[1]
            bar = figure.add_axes(
                ((width - BAR - BAR_NUMBERS) / width, BOTTOM / height, BAR / width, (top - BOTTOM) / height)
            )
        return cls(figure, panels, bar, count > 1)

    def name_axes(self, y: str, x: str) -> None:
        """Write the names of the axes beside the panels."""
        if not self.is_shared:
            for panel in self.panels:
                panel.set(ylabel=y, xlabel=x)
            return
        boxes = [panel.get_position(original=True) for panel in self.panels]
        left, right = min(box.x0 for box in boxes), max(box.x1 for box in boxes)
        bottom, top = min(box.y0 for box in boxes), max(box.y1 for box in boxes)
        width, height = self.figure.get_size_inches()
        self.figure.supxlabel(x, x=(left + right) / 2, y=0.12 / height, fontsize="medium")
        self.figure.supylabel(y, y=(bottom + top) / 2, x=0.12 / width, fontsize="medium")

    def note(self, text: str) -> None:
        """Write a word about all panels at the lower right, where nothing else is."""
        width, height = self.figure.get_size_inches()
        place = 1 - GAP / width, GAP / height
        self.figure.text(*place, text, ha="right", va="bottom", fontsize="x-small", color="0.4")

    def add_colorbar(self, drawn: ScalarMappable, label: str, **kwargs: Any) -> Colorbar:
        """The colours of what was drawn, in a bar beside the panels."""
        place: dict[str, Any] = {"ax": self.panels} if self.bar is None else {"cax": self.bar}
        return self.figure.colorbar(drawn, label=label, **place, **kwargs)


def colours(name: str | Colormap | None = None) -> Colormap:
    """A colour map in which missing values are grey."""
    import matplotlib

    return matplotlib.colormaps.get_cmap(COLOURS if name is None else name).with_extremes(bad=MISSING)


def panel_size(ratio: float, width: float, height: float) -> tuple[float, float]:
    """Width and height of the largest panel of a ratio height/width within the given ones."""
    fitted = min(width, height / ratio)
    # A scan of a few rows is a thin strip, but not one that vanishes.
    return max(fitted, 0.3), max(fitted * ratio, 0.3)


def columns(count: int, width: float, height: float) -> int:
    """How many panels of a size to put in a row, for a picture that is wider than high."""
    return min(count, max(1, math.ceil(math.sqrt(count * 4 / 3 * height / width))))


def check_columns(ncols: int | None) -> None:
    """Raise a ValueError if nothing can be put in so many columns."""
    if ncols is not None and ncols < 1:
        raise ValueError(f"ncols={ncols!r} must be at least 1, or None")


def new_figure() -> Figure:
    """A figure in a window of pyplot, if pyplot is in use here and has windows; else one that pyplot does not know.

    A notebook shows the figure that is returned to it: if pyplot knew that as well, it would be shown twice. Only the
    main thread may open windows.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("to draw pictures, install the extra: pip install 'bluesky-ext[plot]'") from error
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None or threading.current_thread() is not threading.main_thread() or not _has_windows():
        return Figure()
    return pyplot.figure()


def _has_windows() -> bool:
    """Whether pyplot draws in windows of a toolkit."""
    import matplotlib
    from matplotlib.backends.registry import backend_registry

    _, framework = backend_registry.resolve_backend(matplotlib.get_backend())
    return framework in TOOLKITS


def _cleared(figure: Figure, width: float, height: float) -> Figure:
    """The figure with nothing in it and of a size in inches, and no layout engine, whatever rcParams say."""
    figure.clear()
    figure.set_layout_engine("none")
    if _sizes.get(figure) != (width, height):  # else somebody may have made the window another one since
        figure.set_size_inches(width, height)
        _sizes[figure] = width, height
    return figure


def _flat(axes: Any) -> Iterator[Axes]:
    from matplotlib.axes import Axes

    if isinstance(axes, Axes):
        yield axes
    elif isinstance(axes, Iterable):
        for part in axes:
            yield from _flat(part)
    else:
        raise TypeError(f"{axes!r} is given where matplotlib Axes are needed, such as figure.add_subplot() gives")
