"""Rows: the table that a map makes of an event, and the names of the streams that tell of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

#: What the readings of a frame are.
SCALARS = (str, bool, int, float, np.generic)


@dataclass(frozen=True)
class Rows:
    """The rows that a kernel makes of an event: a table, and scalars about the event as a whole.

    The ``columns`` are one-dimensional arrays, the same ones for every event, empty if there is nothing to tell; the
    ``readings`` go to the stream of its frames.
    """

    columns: Mapping[str, np.ndarray]
    readings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if type(self.columns) is not dict and not isinstance(self.columns, Mapping):
            raise TypeError(f"rows are given as a dict of columns, not as a {type(self.columns).__name__}")
        shapes = {}
        for name, column in self.columns.items():
            shapes[name] = column.shape if type(column) is np.ndarray else np.shape(column)
        lengths = set(shapes.values())
        if len(lengths) > 1 or (lengths and len(min(lengths)) != 1):
            raise ValueError(f"the columns of rows are one-dimensional and equally long, not {shapes}")


def frames_of(stream: str) -> str:
    """The name of the stream that tells of the frames whose rows are in this one: "frames", of "dark" "dark_frames"."""
    return "frames" if stream == "primary" else f"{stream}_frames"
