"""What pyFAI says of a geometry: the bins, the share of each pixel in them, and the weights of the pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from bluesky_ext.spectra.azimuthal.matrix import Matrix
from bluesky_ext.spectra.azimuthal.settings import AzimuthalSettings


@dataclass(frozen=True)
class Bins:
    """The bins, and the shares of pixels in them, sector by sector."""

    matrix: Matrix
    centres: np.ndarray
    edges: np.ndarray


def sectors_of(settings: AzimuthalSettings) -> np.ndarray | None:
    """The first and the last azimuth of each sector, (n_sectors, 2) in degrees; None for the whole ring."""
    if settings.sectors is None:
        return None
    if not isinstance(settings.sectors, int):
        return np.array(settings.sectors, float)
    edges = np.linspace(-180.0, 180.0, settings.sectors + 1)
    return np.column_stack([edges[:-1], edges[1:]])


def weights_of(ai: Any, settings: AzimuthalSettings, shape: tuple[int, int]) -> np.ndarray:
    """What the counts of each pixel are to be divided by, (n_pixels,) float32."""
    weights = np.ones(shape, np.float32)
    if settings.polarization is not None:
        weights *= ai.polarization(shape, settings.polarization).astype(np.float32)
    if settings.solid_angle:
        weights *= ai.solidAngleArray(shape).astype(np.float32)
    return weights.reshape(-1)


def bins_of(ai: Any, settings: AzimuthalSettings, shape: tuple[int, int]) -> Bins:
    """The bins as pyFAI has them, and its matrix of the shares."""
    from pyFAI.units import CHI_DEG, to_unit

    unit: Any = to_unit(settings.unit)
    own = ai.detector.mask
    options = {"mask": own if own is not None and own.shape == shape else None, "pos0_range": settings.radial_range}
    options |= {"split": settings.splitting, "algo": "CSR"}
    bins: Any = settings.n_bins
    if isinstance(settings.sectors, int):
        bins = (settings.n_bins, settings.sectors)
        options |= {"unit": (unit, CHI_DEG), "pos1_range": (-180.0, 180.0)}
        engines = [ai.setup_sparse_integrator(shape, bins, **options)]
        shares, pixels, starts = map(np.asarray, engines[0].lut)
        # pyFAI numbers the bins radius by radius; here a sector is in one piece.
        order = np.arange(len(starts) - 1).reshape(bins).T.reshape(-1)
        at = np.concatenate([np.arange(*ends) for ends in np.stack([starts[:-1], starts[1:]], axis=1)[order].tolist()])
        matrix = Matrix(math.prod(shape), shares[at], pixels[at], np.cumsum(np.diff(starts)[order]))
    else:
        engines, parts, total = [], [], 0
        for sector in settings.sectors or (None,):
            azimuths = None if sector is None else _azimuths(ai, sector)
            engine = ai.setup_sparse_integrator(shape, bins, unit=unit, pos1_range=azimuths, **options)
            shares, pixels, starts = map(np.asarray, engine.lut)
            engines.append(engine)
            parts.append((shares, pixels, starts[1:].astype(np.int64) + total))
            total += len(shares)
        matrix = Matrix(math.prod(shape), *map(np.concatenate, zip(*parts, strict=True)))
    edges = np.linspace(engines[0].pos0_min, engines[0].pos0_max, settings.n_bins + 1)
    centres = engines[0].bin_centers0 if isinstance(settings.sectors, int) else engines[0].bin_centers
    return Bins(matrix, np.asarray(centres) * unit.scale, edges * unit.scale)


def _azimuths(ai: Any, sector: tuple[float, float]) -> tuple[float, float] | None:
    """A sector in radians, from -180 degrees on; or from 0 on if it goes beyond 180, which pyFAI is told.

    None is the whole ring, from anywhere else on.
    """
    first = (sector[0] + 180.0) % 360.0 - 180.0
    last = first + sector[1] - sector[0]
    if (first < 0 and last > 180.0) or last > 360.0:
        if last - first == 360.0:
            return None
        raise ValueError(
            f"the sector from {sector[0]:g} to {sector[1]:g} degrees goes across 0 and 180: give it as two"
        )
    if last > 180.0:
        ai.setChiDiscAtZero()
    else:
        ai.setChiDiscAtPi()
    return math.radians(first), math.radians(last)
