"""The scale of the colours: which value is the first colour, and which the last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

# What xarray takes for robust=True.
PERCENTILES = (2.0, 98.0)


def percentiles_of(robust: bool | tuple[float, float]) -> tuple[float, float]:
    """Two percentiles from what a user says: of all values for False, PERCENTILES for True."""
    if isinstance(robust, bool | np.bool_):
        return PERCENTILES if robust else (0.0, 100.0)
    if np.shape(robust) != (2,) or not 0 <= robust[0] < robust[1] <= 100:
        raise ValueError(f"robust={robust!r} must be True, False, or two percentiles, the lower first")
    return float(robust[0]), float(robust[1])


def limits(values: np.ndarray, robust: bool | tuple[float, float]) -> tuple[float, float]:
    """First and last value of a scale of colours: percentiles of the finite values; the last is the higher."""
    percentiles = percentiles_of(robust)
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite, percentiles).tolist()
    return low, high if high > low else low + (abs(low) or 1.0)


def sparse_limits(values: np.ndarray, robust: bool | tuple[float, float]) -> tuple[float, float]:
    """Scale of a map that is zero nearly everywhere: it has zero in it, and the percentiles are those of the rest."""
    values = values[np.isfinite(values) & (values != 0)]
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, percentiles_of(robust)).tolist()
    return min(low, 0.0), max(high, 0.0)


def log_limits(values: np.ndarray) -> tuple[float, float]:
    """First and last value of a logarithmic scale: from the median of the positive values to the highest."""
    positive = values[np.isfinite(values) & (values > 0)]
    if not positive.size:
        return 1.0, 10.0
    low, high = float(np.median(positive)), float(positive.max())
    return low if low < high else high / 10, high


def scaled(given: Mapping[str, Any], values: np.ndarray, low_high: tuple[float, float]) -> dict[str, Any]:
    """What `imshow` is told of the scale of several images of the same values: what a user gives comes first."""
    norm: Any = given.get("norm")
    if hasattr(norm, "autoscale_None"):
        # Now, with all of the values: left to itself it takes its limits from the image that is drawn first.
        norm.autoscale_None(np.ma.masked_invalid(values.ravel()))
        return dict(given)
    low, high = log_limits(values) if norm == "log" else low_high
    return {"vmin": low, "vmax": high, **given}
