"""The rulers along an image: where its pixels are, in what unit, and what to write beside them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

# Lengths in metres; of every other unit it is only known whether it is the same.
METRES = {"m": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6, "µm": 1e-6, "μm": 1e-6, "nm": 1e-9}

# Of a pixel: a coordinate that deviates less from even steps is drawn with even steps, as nobody can see it.
TOLERANCE = 0.05


@dataclass(frozen=True)
class Ruler:
    """One axis of an image.

    Parameters
    ----------
    label : str
        What to write beside it.
    unit : str or None
        Its unit, if that is known.
    centres : ndarray
        Positions of the middle of the pixels, (n,) float64.
    edges : ndarray
        Positions of their borders, (n + 1,) float64.
    is_even : bool
        Whether the steps are all the same.
    is_numbered : bool
        Whether the positions are the numbers of the pixels only, as there is no coordinate.
    """

    label: str
    unit: str | None
    centres: np.ndarray
    edges: np.ndarray
    is_even: bool
    is_numbered: bool

    @property
    def span(self) -> float:
        """Length from border to border, positive."""
        return float(abs(self.edges[-1] - self.edges[0]))


def rulers(image: xr.DataArray) -> tuple[Ruler, Ruler]:
    """The rulers along the rows and along the columns of a 2-d array: (y, x)."""
    along_y, along_x = (_centres(image, str(dim)) for dim in image.dims)
    # A scan of a single row: its pixels are taken to be square.
    step_y, step_x = _step(along_y), _step(along_x)
    return (
        _ruler(image, str(image.dims[0]), along_y, step_y or step_x or 1.0),
        _ruler(image, str(image.dims[1]), along_x, step_x or step_y or 1.0),
    )


def real_aspect(y: Ruler, x: Ruler) -> float | None:
    """Length of one unit along y over that of one unit along x; None for units that can't be compared.

    Units that are not known are taken to be the same.
    """
    if y.unit == x.unit or y.unit is None or x.unit is None:
        return 1.0
    if y.unit in METRES and x.unit in METRES:
        return METRES[y.unit] / METRES[x.unit]
    return None


def label_of(data: xr.DataArray, name: str) -> str:
    """What to write beside an axis or a colour bar: the long name or the name, and the unit."""
    text, unit = str(data.attrs.get("long_name") or name), data.attrs.get("units")
    return f"{text} ({unit})" if unit else text


def _centres(image: xr.DataArray, dim: str) -> np.ndarray:
    if not image.sizes[dim]:
        raise ValueError(f"the image has no pixels along {dim!r}")
    if dim not in image.coords:
        return np.arange(image.sizes[dim], dtype=float)
    coordinate = image.coords[dim]
    if coordinate.dtype.kind not in "iuf":
        raise ValueError(
            f"the coordinate {dim!r} has {coordinate.dtype} where numbers are needed: leave it out with drop_vars"
        )
    centres = coordinate.to_numpy().astype(float)
    steps = np.diff(centres)
    if not np.isfinite(centres).all() or not ((steps > 0).all() or (steps < 0).all()):
        raise ValueError(f"the coordinate {dim!r} does not rise or fall all along: put it in order with sortby")
    return centres


def _step(centres: np.ndarray) -> float:
    return float(centres[-1] - centres[0]) / max(len(centres) - 1, 1)


def _ruler(image: xr.DataArray, dim: str, centres: np.ndarray, step: float) -> Ruler:
    even = centres[0] + step * np.arange(len(centres))
    is_even = bool(np.abs(centres - even).max() <= TOLERANCE * abs(step))
    if is_even:
        edges = centres[0] + step * (np.arange(len(centres) + 1) - 0.5)
    else:
        between = (centres[1:] + centres[:-1]) / 2
        edges = np.concatenate([[2 * centres[0] - between[0]], between, [2 * centres[-1] - between[-1]]])
    if dim not in image.coords:  # xarray would make one up if asked for it
        return Ruler(dim, None, centres, edges, is_even, True)
    coordinate = image.coords[dim]
    return Ruler(label_of(coordinate, dim), coordinate.attrs.get("units"), centres, edges, is_even, False)
