"""``bluesky-ext demo stxm``: a stack of images of a simulated sample, written to an NXstxm file while it is scanned."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bluesky_ext.cli.usage import UsageError

# Below the resonance of the particles and on it, where they differ most from what is around them.
ENERGIES = (280.0, 283.0, 284.4, 284.8, 285.2, 285.6, 286.0, 287.0, 288.4, 290.0, 295.0)
BELOW, ON = ENERGIES.index(280.0), ENERGIES.index(285.2)


def run(options: argparse.Namespace) -> int:
    """Scan, write, read the file, compare with the truth, and say where the file is."""
    import numpy as np
    from bluesky import RunEngine

    from bluesky_ext.plans.stxm import Endstation, sample_image_stack
    from bluesky_ext.sim import stxm
    from suitcase_nxstxm import NXstxmWriter

    ny, nx = options.points
    s: Any = stxm(options.seed)
    sample = s.microscope.sample
    (y0, y1), (x0, x1) = sample.extents
    region = (y0, y1, ny, x0, x1, nx)
    y, x = np.meshgrid(np.linspace(y0, y1, ny), np.linspace(x0, x1, nx), indexing="ij")
    particles = [_inside(particle, y, x) for particle in sample.particles]
    if not _inside(sample.hole, y, x).any() or not np.any(particles):
        raise UsageError(
            f"--points {ny}x{nx} are so few that none is in the hole of the sample, for I0, or none on a particle: "
            "give more, such as 15x15"
        )
    options.directory.mkdir(parents=True, exist_ok=True)
    station = Endstation(s.devices, s.shutter, zp_def=s.zp_def)
    RE = RunEngine(call_returns_result=False)
    with (
        NXstxmWriter(options.directory, "{uid}", source_name="simulation", on_error="raise") as writer,
        tqdm(total=len(ENERGIES), unit="image", desc="scan") as bar,
    ):
        RE.subscribe(writer)
        RE.subscribe(lambda name, doc: bar.update(), "stop")
        RE(sample_image_stack([s.line], station, [region], list(ENERGIES), dwell=20.0))
    (path,) = (Path(path) for paths in writer.artifacts.values() for path in paths)

    density = _optical_densities(path, sample.hole)
    truth = sample.optical_density(y, x, ENERGIES[ON], 0.0) - sample.optical_density(y, x, ENERGIES[BELOW], 0.0)
    likeness = float(np.corrcoef((density[ON] - density[BELOW]).ravel(), truth.ravel())[0, 1])
    print(f"{len(ENERGIES)} images of {ny}x{nx} points across the edge")
    print(f"map of the particles and the truth: correlation {likeness:.3f}")
    print(path)
    return 0 if likeness > 0.9 else 1


def _optical_densities(path: Path, hole: Any) -> Any:
    """Optical density of each image of the file; I0 is what came through the hole in the sample."""
    import h5py
    import numpy as np

    with h5py.File(path) as file:
        entry: Any = file["entry0"]
        data = entry[entry.attrs["default"]]
        counts, y, x = (data[name][()] for name in ("data", "sample_y", "sample_x"))
    i0 = counts[:, _inside(hole, y[:, None], x[None, :])].mean(axis=1)
    return -np.log(np.maximum(counts, 1) / i0[:, None, None])


def _inside(disc: Any, y: Any, x: Any) -> Any:
    """Which points are well inside of the hole, or of a particle."""
    import numpy as np

    return np.hypot(y - disc.y, x - disc.x) < 0.8 * disc.radius
