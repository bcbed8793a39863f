"""The demonstration of fluorescence: a map of each element in a film, from the spectra of a scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from bluesky.plans import grid_scan

from bluesky_ext import FluorescenceFit, FluorescenceMap
from bluesky_ext.cli.demo.demonstration import Outcome, Settings
from bluesky_ext.plots import plot_real_aspect
from bluesky_ext.sim.fluorescence import fluorescence_beamline


class ElementMapping:
    """Spectra of a film with several elements, the fits of them, and a map of each element."""

    unit = "spectrum"

    def __init__(self, settings: Settings) -> None:
        if find_spec("PyMca5") is None:
            raise ImportError("element maps need PyMca: pip install 'bluesky-ext[xrf]'")
        self._settings = settings
        self._beamline: Any = fluorescence_beamline(settings.seed)
        self.total = settings.points[0] * settings.points[1]
        detector, cfg = self._beamline.detector, self._beamline.sample.cfg
        self.title = f"element maps: {settings.grid} spectra of a detector of {detector.n_elements} elements"
        self._fit = FluorescenceFit(f"{detector.name}_spectra", cfg, live_time=f"{detector.name}_live_time")
        self._maps = FluorescenceMap(f"{detector.name}_spectra", cfg)
        self._fit.subscribe(self._maps)
        self.shown = (self._maps,)
        self.kept = self._fit, self._maps

    def plan(self) -> Any:
        """A grid over the whole film."""
        b = self._beamline
        ny, nx = self._settings.points
        (y0, y1), (x0, x1) = b.sample.extents
        return grid_scan([b.detector], b.y, y0, y1, ny, b.x, x0, x1, nx, snake_axes=True)

    def subscribers(self, advance: Callable[[], object]) -> dict[str, list[Any]]:
        """The fit, which feeds the maps."""
        return {"all": [self._fit], "event": [lambda name, doc: advance()]}

    def outcome(self, uids: Sequence[str]) -> Outcome:
        """How alike the map of each element and the truth are; the maps and a picture of them."""
        dataset = self._maps.dataset
        maps = dataset["massfractions"]
        likeness = {str(line): _likeness(maps.sel(line=line), self._beamline.sample) for line in maps["line"].values}
        said = ", ".join(f"{line} {value:.3f}" for line, value in likeness.items())
        directory = self._settings.directory
        file, picture = directory / f"{uids[0]}-elements.nc", directory / "element_maps.png"
        dataset.to_netcdf(file, engine="h5netcdf")
        shares = (maps / maps.max(maps.dims[1:])).rename("mass fraction / its maximum")
        plot_real_aspect(shares, ncols=2).savefig(picture, dpi=150)
        found = [f"maps of elements and the truth: correlation {said}"]
        return Outcome(found, min(likeness.values()) > 0.8, {file: "element maps"}, [picture])


def _likeness(found: Any, sample: Any) -> float:
    """Correlation of the map of a line with the mass fractions of its element in the sample."""
    element = str(found["line"].values).split()[0]
    y, x = (found[name].values for name in found.dims)
    truth = [[sample.mass_fractions(one, other)[element] for other in x] for one in y]
    return float(np.corrcoef(np.ravel(found.values), np.ravel(truth))[0, 1])
