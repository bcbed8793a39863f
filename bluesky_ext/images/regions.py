"""Regions of images and of spectra: rectangles, polygons and ranges, and what is inside them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

Kind = Literal["rectangle", "polygon", "range"]
KINDS: tuple[Kind, ...] = ("rectangle", "polygon", "range")
#: So many regions there may be at once, with so many corners each, and names of so many characters.
MOST, MOST_CORNERS, LONGEST = 100, 1000, 50


@dataclass(frozen=True)
class Region:
    """A part of an image, or of a spectrum; centres of pixels and channels lie at whole numbers.

    Parameters
    ----------
    name : str
        What it is called.
    type : {"rectangle", "polygon", "range"}
        Of an image a rectangle, given by two corners, or a polygon, by three or more; of a spectrum a range, by two
        ends.
    x, y : sequences of float
        The corners along the columns and the rows of the image; of a range the ends, x alone.

    Examples
    --------
    >>> Region("spot", "rectangle", (1, 2), (0, 1)).mask((2, 4)).tolist()
    [[False, True, True, False], [False, True, True, False]]
    >>> Region("Fe K", "range", (6.3, 6.5)).slice(np.arange(0, 10, 0.1))
    slice(63, 66, None)
    """

    name: str
    type: Kind
    x: Sequence[float]
    y: Sequence[float] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not 0 < len(self.name) <= LONGEST or not self.name.isprintable():
            raise ValueError(f"a region is called {self.name!r:.100}: give 1 to {LONGEST} printable characters")
        if self.type not in KINDS:
            raise ValueError(f"region {self.name!r} is a {self.type!r:.50}: give one of {', '.join(KINDS)}")
        for axis in ("x", "y"):
            object.__setattr__(self, axis, self._corners(axis))
        n_x, n_y = len(self.x), len(self.y)
        if self.type == "range":
            if (n_x, n_y) != (2, 0):
                raise ValueError(f"range {self.name!r} has {n_x} x and {n_y} y: give its two ends, x alone")
        elif n_x != n_y or (self.type == "rectangle" and n_x != 2) or n_x < 2 + (self.type == "polygon"):
            wanted = "two corners" if self.type == "rectangle" else "three corners or more"
            raise ValueError(f"{self.type} {self.name!r} has {n_x} x and {n_y} y: give {wanted}, x and y of each")
        elif n_x > MOST_CORNERS:
            raise ValueError(f"polygon {self.name!r} has {n_x} corners: give {MOST_CORNERS} at most")

    def _corners(self, axis: str) -> tuple[float, ...]:
        try:
            corners = tuple(float(one) for one in getattr(self, axis))
        except (TypeError, ValueError):
            corners = (math.nan,)
        if not all(map(math.isfinite, corners)):
            raise ValueError(f"region {self.name!r} has {getattr(self, axis)!r:.80} as {axis}: give finite numbers")
        return corners

    @property
    def plain(self) -> dict[str, Any]:
        """The region as JSON has it."""
        return {"name": self.name, "type": self.type, "x": list(self.x), "y": list(self.y)}

    def box(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """The rows and columns of an image of this shape in which the region is."""
        ys = self.y if self.type != "range" else (0, shape[0] - 1)
        return _between(min(ys), max(ys), shape[0]), _between(min(self.x), max(self.x), shape[1])

    def mask(self, shape: tuple[int, int]) -> np.ndarray:
        """Which pixels of an image have their centre in the region, (ny, nx) bool; a range is of all rows.

        The edge of a rectangle is in it; of a polygon the left and upper edges are.
        """
        rows, columns = self.box(shape)
        inside = np.zeros(shape, bool)
        inside[rows, columns] = True if self.type != "polygon" else self._filled(rows, columns)
        return inside

    def slice(self, axis: np.ndarray) -> slice:
        """Which part of a rising axis lies between the ends of a range, both included."""
        low, high = sorted(self.x[:2])
        return slice(int(np.searchsorted(axis, low)), int(np.searchsorted(axis, high, "right")))

    def sum(self, values: np.ndarray) -> float:
        """The sum of what is finite in the region of an image, (..., ny, nx), whose frames are averaged; NaN if none.

        Of a range the channels are numbered; values are (..., n_channels), and all that is in it counts.
        """
        if self.type == "range":
            return _sum(values[..., self.slice(np.arange(values.shape[-1]))])
        if values.ndim < 2:
            raise ValueError(f"the {self.type} {self.name!r} is none of a spectrum: give a range")
        rows, columns = self.box(values.shape[-2:])
        cut = values[..., rows, columns]
        if self.type == "polygon":
            cut = cut[..., _filled(self, rows.start, rows.stop, columns.start, columns.stop)]
        return _sum(cut) / math.prod(values.shape[:-2])

    def _filled(self, rows: slice, columns: slice) -> np.ndarray:
        return _filled(self, rows.start, rows.stop, columns.start, columns.stop)


class Regions(tuple[Region, ...]):
    """Some regions with different names; as text they are JSON."""

    __slots__ = ()

    @property
    def plain(self) -> list[dict[str, Any]]:
        """The regions as JSON has them."""
        return [one.plain for one in self]

    def __str__(self) -> str:
        return json.dumps(self.plain, separators=(",", ":"))


def regions_of(given: Any, kinds: Iterable[str] = KINDS) -> Regions:
    """The regions that are given as such, as dicts, or as JSON; ValueError says why they can't be.

    Examples
    --------
    >>> regions_of('[{"name": "a", "type": "range", "x": [3, 5]}]')
    (Region(name='a', type='range', x=(3.0, 5.0), y=()),)
    """
    if isinstance(given, str | bytes):
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            raise ValueError("regions are a list in JSON") from None
    if not isinstance(given, list | tuple):
        raise ValueError(f"regions are a list, and not {given!r:.80}")
    if len(given) > MOST:
        raise ValueError(f"these are {len(given)} regions: give {MOST} at most")
    made = Regions(map(_region_of, given))
    names = [one.name for one in made]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"several regions are called {min(twice)!r}: give each a name of its own")
    if others := [one for one in made if one.type not in kinds]:
        raise ValueError(f"{others[0].name!r} is a {others[0].type}: give {' or '.join(kinds)}")
    return made


def _region_of(given: Any) -> Region:
    if isinstance(given, Region):
        return given
    if not isinstance(given, Mapping):
        raise ValueError(f"a region is an object with name, type, x and y, and not {given!r:.80}")
    if unknown := sorted(set(map(str, given)) - {"name", "type", "x", "y"}):
        raise ValueError(f"a region has no {unknown[0]!r:.50}: give name, type, x and y")
    y = given.get("y")
    return Region(given.get("name", ""), given.get("type", ""), given.get("x", ()), () if y is None else y)


def _between(low: float, high: float, n: int) -> slice:
    """The whole numbers below n that lie between two numbers, both included."""
    first, last = max(0, math.ceil(min(low, n))), min(n, math.floor(max(high, -1)) + 1)
    return slice(min(first, n), max(last, min(first, n)))


def _sum(values: np.ndarray) -> float:
    if values.dtype.kind == "f" and not (known := np.isfinite(values)).all():
        values = values[known]
    return float(values.sum(dtype=np.float64)) if values.size else math.nan


@lru_cache(maxsize=MOST)
def _filled(region: Region, top: int, bottom: int, left: int, right: int) -> np.ndarray:
    """Which pixels of a part of an image are in a polygon: those with an odd number of its edges at their left."""
    crossings = np.zeros((max(bottom - top, 0), max(right - left, 0) + 1), np.int32)
    x, y = np.array(region.x), np.array(region.y)
    for x0, y0, x1, y1 in zip(x, y, np.roll(x, -1), np.roll(y, -1), strict=True):
        if y0 == y1:
            continue
        rows = np.arange(*_between(min(y0, y1), np.nextafter(max(y0, y1), -np.inf), bottom).indices(bottom))
        rows = rows[rows >= top]
        at = np.ceil(x0 + (rows - y0) * (x1 - x0) / (y1 - y0)) - left
        np.add.at(crossings, (rows - top, np.clip(at, 0, crossings.shape[1] - 1).astype(int)), 1)
    return np.cumsum(crossings, axis=1)[:, :-1] % 2 == 1
