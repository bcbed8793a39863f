"""Which point of a scan is in which pixel of a map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bluesky_ext.positions import Planned


def seq_nums_on(
    axes: Sequence[tuple[str, np.ndarray]],
    seq_nums: np.ndarray,
    positions: Mapping[str, np.ndarray],
    planned: Planned | None,
) -> np.ndarray:
    """The number of the point in each pixel, (len(axis), ...) int32; -1 where there is none, or it is unknown.

    A point lies in the pixel that is nearest to where it was; where a map has no axes of motors, and the shape of the
    scan, in that of its number in the plan. Of several points in a pixel it is the one that came last.

    Examples
    --------
    >>> axes = [("x", np.array([0.0, 0.5, 1.0]))]
    >>> seq_nums_on(axes, np.array([1, 2]), {"x": np.array([0.98, 0.51])}, None)
    array([-1,  2,  1], dtype=int32)
    """
    shape = tuple(len(along) for _, along in axes)
    placed = np.full(shape, -1, np.int32)
    if not len(seq_nums) or not placed.size:
        return placed
    if all(name in positions for name, _ in axes):
        known = np.isfinite([positions[name] for name, _ in axes]).all(axis=0)
        cells = tuple(_nearest(along, positions[name][known]) for name, along in axes)
    elif planned is not None and tuple(planned.shape) == shape:
        known = (seq_nums >= 1) & (seq_nums <= planned.n_points)
        cells = tuple(planned.cells(seq_nums[known]).T)
    else:
        return placed
    placed[cells] = seq_nums[known]
    return placed


def _nearest(along: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The index along an axis that is nearest to each position."""
    order = np.argsort(along, kind="stable")
    rising = along[order]
    return order[np.searchsorted((rising[1:] + rising[:-1]) / 2, positions)]
