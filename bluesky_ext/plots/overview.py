"""The picture of a scan that goes on: its latest image with the peaks, and the crystal maps so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bluesky_ext.plots.canvas import colours
from bluesky_ext.plots.forms import Line, form_of, motors_of
from bluesky_ext.plots.maps import brightest, set_few_ticks, titles
from bluesky_ext.plots.marks import circles, contrast
from bluesky_ext.plots.scale import sparse_limits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches.
SIZE = (14.0, 5.4)
# Panels beside the image: one for how many peaks there are, and the others for the brightest maps.
ROWS, COLUMNS = 2, 4
# Of the figure, where these panels are.
PLACES = {"left": 0.405, "right": 0.99, "bottom": 0.1, "top": 0.86, "hspace": 0.32, "wspace": 0.1}
# Pixels, about as many as it has on the screen: a larger image is drawn from the brightest of each of its blocks, since
# to draw all of them takes longer than all the rest.
LARGEST = 512


class Overview:
    """A figure with the latest image of a scan and its peaks in circles, and beside it the maps.

    The image is changed where it is, so that a window keeps the part that its user looks at; the maps are drawn anew.

    Parameters
    ----------
    figure : matplotlib Figure
        Where to draw; what is in it is removed.
    """

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        self.clear("waiting for a scan")

    def clear(self, text: str) -> None:
        """Take everything out of the figure, and write something."""
        self.figure.clear()
        self.figure.set_layout_engine("none")
        self.figure.set_size_inches(*SIZE)
        self._title = self.figure.suptitle(text, fontsize="medium")
        self.figure.text(0.99, 0.955, "each map from 0 to its maximum", ha="right", fontsize="x-small", color="0.4")
        self._image: Any = None
        self._circles: Any = None
        self._shape: tuple[int, ...] = ()
        self._maps: list[Axes] = []

    def show(self, title: str, dataset: xr.Dataset, image: np.ndarray | None, peaks: Any) -> None:
        """Draw the state of a scan.

        Parameters
        ----------
        title : str
            What is written above.
        dataset : xarray.Dataset
            Crystal maps, as for `bluesky_ext.plots.plot_crystal_maps`; of any number of axes.
        image : (ny, nx) ndarray, optional
            The latest image.
        peaks : mapping or table
            Its peaks, with their positions ``y`` and ``x`` in px.
        """
        self._title.set_text(title)
        if image is not None:
            self._show_image(image, np.asarray(peaks["y"], float), np.asarray(peaks["x"], float))
        for panel in self._maps:
            panel.remove()
        self._maps = []
        if "maps" in dataset and dataset["maps"].size:
            self._show_maps(flat(dataset))

    def _show_image(self, image: np.ndarray, y: np.ndarray, x: np.ndarray) -> None:
        ny, nx = image.shape
        block = -(-max(ny, nx) // LARGEST)
        if block > 1:
            whole = image[: ny // block * block, : nx // block * block]
            image = whole.reshape(ny // block, block, nx // block, block).max(axis=(1, 3))
        if self._shape != (ny, nx):
            if self._image is not None:
                self._image.axes.remove()
            panel = self.figure.add_axes((0.045, 0.1, 0.31, 0.78))
            extent = (-0.5, image.shape[1] * block - 0.5, image.shape[0] * block - 0.5, -0.5)
            self._image = panel.imshow(image, cmap=colours("gray_r"), extent=extent, origin="upper")
            panel.set(xlabel="x (px)", ylabel="y (px)", xlim=(-0.5, nx - 0.5), ylim=(ny - 0.5, -0.5))
            self._circles = circles(panel, y, x)
            self._shape = ny, nx
        self._image.set(data=image, norm=contrast(image))
        self._circles.set_offsets(np.column_stack([x, y]))
        self._image.axes.set_title(f"{len(y)} peaks", fontsize="medium")

    def _show_maps(self, dataset: xr.Dataset) -> None:
        chosen = brightest(dataset, "maps", ROWS * COLUMNS - 1)
        images, maps = chosen["maps"], dataset["maps"]
        reflection = str(maps.dims[0])
        if "n_peaks" in dataset:
            seen, what = dataset["n_peaks"], "peaks"
        else:
            seen, what = (maps > 0).sum(reflection).where(maps.notnull().any(reflection)), "reflections seen"
        form = form_of(images[0])
        places = self.figure.add_gridspec(ROWS, COLUMNS, **PLACES)
        texts = [f"{what}\n{int(seen.max())} at most, {len(maps)} maps", *titles(chosen, "maps")]
        for place, (image, text) in enumerate(zip([seen, *images], texts, strict=True)):
            panel = self.figure.add_subplot(places[divmod(place, COLUMNS)])
            low, high = sparse_limits(image.to_numpy(), False)
            form.draw(panel, image, vmin=low, vmax=high)
            panel.set_title(text, fontsize="small", pad=3)
            panel.tick_params(labelleft=place % COLUMNS == 0, labelbottom=place + COLUMNS > len(images))
            set_few_ticks(panel, "small")
            if isinstance(form, Line):
                panel.set_yticks([low, high], ["0", "max"])
            elif place % COLUMNS == 0:
                panel.set_ylabel(form.y.label)
            if place + COLUMNS > len(images):
                panel.set_xlabel(form.x.label)
            self._maps.append(panel)


def flat(dataset: xr.Dataset) -> xr.Dataset:
    """The maps with one axis or two of the scan: of more motors, the highest along the slow ones is taken."""
    axes = dataset["maps"].dims[1:]
    if len(axes) > 2:
        slow = axes[:-2]
        about = [name for name in dataset.variables if not set(slow).isdisjoint(dataset[name].dims) and name != "maps"]
        return dataset.drop_vars(about).assign(maps=dataset["maps"].max(slow))
    if len(axes) == 1 and len(motors := motors_of(dataset["maps"][0])) > 2:
        return dataset.drop_vars(motors[:-2])
    return dataset
