"""The demonstration of an STXM: images of a sample across an absorption edge, written to an NXstxm file meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from bluesky_ext.cli.demo.demonstration import Outcome, Settings
from bluesky_ext.plots import plot_real_aspect
from bluesky_ext.stxm import Endstation, sample_image_stack
from bluesky_ext.stxm.sim import stxm
from suitcase_nxstxm import NXstxmWriter

# Below the resonance of the particles and on it, where they differ most from what is around them.
ENERGIES = (280.0, 283.0, 284.4, 284.8, 285.2, 285.6, 286.0, 287.0, 288.4, 290.0, 295.0)
BELOW, ON = ENERGIES.index(280.0), ENERGIES.index(285.2)


class TooFewPointsError(ValueError):
    """The points of an image are so few that none is where it is needed."""


class EnergyStack:
    """Images of particles in a film at several energies, in an NXstxm file, and the map of the particles in it."""

    unit = "image"
    total = len(ENERGIES)
    shown = kept = ()

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.title = f"NXstxm: {len(ENERGIES)} images of {settings.grid} points across an absorption edge"
        self._simulated: Any = stxm(settings.seed)
        sample = self._simulated.microscope.sample
        (y0, y1), (x0, x1) = sample.extents
        ny, nx = settings.points
        self._places = y, x = np.meshgrid(np.linspace(y0, y1, ny), np.linspace(x0, x1, nx), indexing="ij")
        if not _inside(sample.hole, y, x).any() or not np.any([_inside(one, y, x) for one in sample.particles]):
            raise TooFewPointsError(
                f"{settings.grid} points are so few that none is in the hole of the sample, for I0, or none on a "
                "particle: give more, such as 15x15"
            )
        self._region = (y0, y1, ny, x0, x1, nx)
        self._writer = NXstxmWriter(settings.directory, "{uid}", source_name="simulation", on_error="raise")

    def plan(self) -> Any:
        """An image at each energy, a run each."""
        s = self._simulated
        station = Endstation(s.devices, s.shutter, zp_def=s.zp_def)
        return sample_image_stack([s.line], station, [self._region], ENERGIES, dwell=20.0)

    def subscribers(self, advance: Callable[[], object]) -> dict[str, list[Any]]:
        """The writer of the file."""
        return {"all": [self._writer], "stop": [lambda name, doc: advance()]}

    def outcome(self, uids: Sequence[str]) -> Outcome:
        """How alike the map of the particles and the truth are; the file and a picture of the map."""
        (path,) = (Path(path) for paths in self._writer.artifacts.values() for path in paths)
        sample = self._simulated.microscope.sample
        density = _optical_densities(path, sample.hole)
        found = density[ON] - density[BELOW]
        truth = sample.optical_density(*self._places, ENERGIES[ON], 0.0)
        truth = truth - sample.optical_density(*self._places, ENERGIES[BELOW], 0.0)
        likeness = float(np.corrcoef(found.ravel(), truth.ravel())[0, 1])
        picture = self._settings.directory / "particles.png"
        (y, *_), (x, *_) = (self._places[0].T, self._places[1])
        axes = {"y": ("y", y, {"units": "um"}), "x": ("x", x, {"units": "um"})}
        plot_real_aspect(xr.DataArray(found, axes, name="optical density, on less below the edge")).savefig(
            picture, dpi=150
        )
        said = [f"map of the particles and the truth: correlation {likeness:.3f}"]
        return Outcome(said, likeness > 0.9, {path: "NXstxm file"}, [picture])


def _optical_densities(path: Path, hole: Any) -> np.ndarray:
    """Optical density of each image of the file; I0 is what came through the hole in the sample."""
    with h5py.File(path) as file:
        entry: Any = file["entry0"]
        data = entry[entry.attrs["default"]]
        counts, y, x = (data[name][()] for name in ("data", "sample_y", "sample_x"))
    i0 = counts[:, _inside(hole, y[:, None], x[None, :])].mean(axis=1)
    return -np.log(np.maximum(counts, 1) / i0[:, None, None])


def _inside(disc: Any, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Which points are well inside of the hole, or of a particle."""
    return np.hypot(y - disc.y, x - disc.x) < 0.8 * disc.radius
