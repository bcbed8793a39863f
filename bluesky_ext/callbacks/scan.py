"""The grid of a scan: what the user says of it, and what its start document says."""

from __future__ import annotations

import math
import operator
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bluesky_ext.engine.documents.provenance import motors_of


@dataclass(frozen=True)
class Scan:
    """What the user says of a scan, slowest axis first; it goes before what a start document says.

    Parameters
    ----------
    shape : sequence of int, optional
        Number of points along each axis.
    extents : sequence of (first, last), optional
        Positions along each axis.
    snaking : sequence of bool, optional
        Whether an axis is run through in both directions.
    dims : sequence of str, optional
        Names of the axes.
    """

    shape: Sequence[int] | None = None
    extents: Sequence[Sequence[float]] | None = None
    snaking: Sequence[bool] | None = None
    dims: Sequence[str] | None = None

    @property
    def n_axes(self) -> int:
        """How many axes the user knows of; 0 if nothing was said."""
        return next((len(said) for said in self.as_dict().values() if said is not None), 0)

    def as_dict(self) -> dict[str, Any]:
        """The parameters by name."""
        return asdict(self)

    def points(self, start: Mapping[str, Any]) -> tuple[int, ...] | None:
        """The number of points along each axis; None if nobody says it."""
        shape = start.get("shape") if self.shape is None else self.shape
        try:
            return None if shape is None else tuple(operator.index(length) for length in shape)
        except TypeError:
            raise ValueError(f"the start document has shape={shape!r}, which is no grid: give shape=") from None

    def has(self, seq_num: int, start: Mapping[str, Any]) -> bool:
        """Whether an event is a point of the scan."""
        points = self.points(start)
        return points is None or 1 <= seq_num <= math.prod(points)

    def check(self, seq_num: int, start: Mapping[str, Any]) -> None:
        """Refuse an event that is not a point of the scan."""
        points = self.points(start)
        if points is not None and not self.has(seq_num, start):
            raise ValueError(
                f"event {seq_num} is not one of the {math.prod(points)} of a scan of shape {points}: give shape="
            )

    def grid(self, start: Mapping[str, Any], last: int, taken: Collection[str]) -> dict[str, Any]:
        """The keywords ``shape, extents, snaking, dims`` of `crystal_maps` and `window_maps`.

        Parameters
        ----------
        start : dict
            The start document.
        last : int
            The highest seq_num: if nobody says a shape, there is one axis of so many points, or of ``num_points``.
        taken : collection of str
            Names that axes can't have. The motors give them theirs, unless one of these is among them.
        """
        shape, grid = self.points(start), self.as_dict()
        told = {key: start[key] for key in ("extents", "snaking") if grid[key] is None and start.get(key) is not None}
        if shape is None:
            shape = (max(start.get("num_points") or 1, last),)
        elif self.shape is None:
            grid |= told
        else:  # what is told of a scan of so many axes may be of this one, and else of none that is asked for
            grid |= {key: said for key, said in told.items() if len(said) == len(shape)}
        motors = motors_of(start) or ()
        if self.dims is None and len(motors) == len(shape) and set(taken).isdisjoint(motors):
            grid["dims"] = motors
        return {**grid, "shape": shape}
