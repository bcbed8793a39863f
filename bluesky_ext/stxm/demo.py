"""The demonstration: images of a simulated sample across an absorption edge, written to an NXstxm file meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from bluesky import RunEngine

from bluesky_ext.stxm.endstation import Endstation
from bluesky_ext.stxm.sim import stxm
from bluesky_ext.stxm.stacks import sample_image_stack
from suitcase_nxstxm import NXstxmWriter

__all__ = ["ENERGIES", "TooFewPointsError", "scan_edge"]

# Below the resonance of the particles and on it, where they differ most from what is around them.
ENERGIES = (280.0, 283.0, 284.4, 284.8, 285.2, 285.6, 286.0, 287.0, 288.4, 290.0, 295.0)
BELOW, ON = ENERGIES.index(280.0), ENERGIES.index(285.2)


class TooFewPointsError(ValueError):
    """The points of an image are so few that none is where it is needed."""


def scan_edge(
    directory: Path, y_num: int, x_num: int, seed: int = 0, image_done: Callable[[], Any] = lambda: None
) -> tuple[Path, float]:
    """Scan a stack of the whole sample, write it, and compare the map of the particles in the file with the truth.

    Parameters
    ----------
    directory : Path
        Where the file goes; made if it is not there.
    y_num, x_num : int
        Number of points of an image.
    seed : int
        Another seed is another sample.
    image_done : callable
        Called without arguments after each image.

    Returns
    -------
    path : Path
        The file.
    likeness : float
        Correlation of the map of the particles with the truth.
    """
    s: Any = stxm(seed)
    sample = s.microscope.sample
    (y0, y1), (x0, x1) = sample.extents
    y, x = np.meshgrid(np.linspace(y0, y1, y_num), np.linspace(x0, x1, x_num), indexing="ij")
    particles = [_inside(particle, y, x) for particle in sample.particles]
    if not _inside(sample.hole, y, x).any() or not np.any(particles):
        raise TooFewPointsError(
            f"{y_num}x{x_num} points are so few that none is in the hole of the sample, for I0, or none on a particle: "
            "give more, such as 15x15"
        )
    directory.mkdir(parents=True, exist_ok=True)
    station = Endstation(s.devices, s.shutter, zp_def=s.zp_def)
    RE = RunEngine(call_returns_result=False)
    with NXstxmWriter(directory, "{uid}", source_name="simulation", on_error="raise") as writer:
        RE.subscribe(writer)
        RE.subscribe(lambda name, doc: image_done(), "stop")
        RE(sample_image_stack([s.line], station, [(y0, y1, y_num, x0, x1, x_num)], ENERGIES, dwell=20.0))
    (path,) = (Path(path) for paths in writer.artifacts.values() for path in paths)
    density = _optical_densities(path, sample.hole)
    truth = sample.optical_density(y, x, ENERGIES[ON], 0.0) - sample.optical_density(y, x, ENERGIES[BELOW], 0.0)
    return path, float(np.corrcoef((density[ON] - density[BELOW]).ravel(), truth.ravel())[0, 1])


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
