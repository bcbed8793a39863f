"""Peaks that compete for each other, linked so that they move the least: in a millisecond, however many there are."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from trackpy.linking import SubnetOversizeException

#: The strategies of trackpy that look for this optimum, by trying all links there are.
EXHAUSTIVE = (None, "auto", "hybrid", "numba", "recursive", "nonrecursive")


def assign(sources: set[Any], destinations: set[Any], search_range: float, max_size: int = 30) -> tuple[list, list]:
    """Links of known peaks to new ones, of which the sum of the squared distances is the smallest.

    It is called as a solver of `trackpy.linking`, and finds the links that those of trackpy find: a peak that is lost
    counts as one that moved by the search range. They try all combinations, which takes half a minute for 25 peaks
    within reach of each other; this is the assignment problem, which is solved in the cube of their number.

    Parameters
    ----------
    sources, destinations : set of points
        The known and the new peaks; the known ones with their candidates and the distances in ``forward_cands``.
    search_range : float
        How far a peak may move.
    max_size : int
        The links of more known peaks than this are refused: most would be wrong.

    Returns
    -------
    tuple of two lists
        Known and new peaks in pairs; None for a peak that has no other.
    """
    if len(sources) > max_size:
        raise SubnetOversizeException(f"Subnetwork contains {len(sources)} points")
    # In the order of their rows: where two links are equally good, the same is chosen every time.
    known, new = (sorted(points, key=lambda point: (point.t, point.row)) for points in (sources, destinations))
    columns = {point: column for column, point in enumerate(new)}
    lost = search_range**2
    # More than all known peaks can cost together, so that it is never chosen.
    costs = np.full((len(known), len(new) + len(known)), (len(known) + 1) * (lost + 1))
    for row, point in enumerate(known):
        costs[row, len(new) + row] = lost
        for candidate, distance in point.forward_cands:
            costs[row, columns[candidate]] = distance**2
    chosen = linear_sum_assignment(costs)[1].tolist()
    links = [new[column] if column < len(new) else None for column in chosen]
    unclaimed = [point for point in new if point not in links]
    return [*known, *[None] * len(unclaimed)], [*links, *unclaimed]
