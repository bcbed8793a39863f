"""The grains of a polycrystalline sample: where each lies in the sample and on the detector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Grain", "grow_grains", "scatter_points"]

# Candidates tried for each point before the points are said not to fit.
ATTEMPTS = 2000

# Half the width of the soft edge of a grain, as a fraction of its extent.
EDGE = 0.25


@dataclass(frozen=True, eq=False)
class Grain:
    """A grain: an ellipse with a soft edge in the sample, and a set of Bragg spots on the detector.

    Parameters
    ----------
    number : int
        The place of the grain in ``Crystal.grains``.
    centre : tuple of float
        Sample position (y, x) of the middle of the grain, in mm.
    extent : tuple of float
        Semi-axes of the ellipse in mm, along y and x before the rotation: here the intensity is one half.
    angle : float
        Rotation of the ellipse in rad, from y towards x.
    edge : float
        Half the width of the soft edge, as a fraction of the extent, between 0 and 1.
    spots : ndarray
        Positions (y, x) of the spots on the detector, in px, shape (n, 2), float64. The middle of the first
        pixel is (0, 0), as in trackpy.
    amplitudes : ndarray
        Height of each spot where the intensity of the grain is one, in counts per second, shape (n,), float64.
    """

    number: int
    centre: tuple[float, float]
    extent: tuple[float, float]
    angle: float
    edge: float
    spots: NDArray[np.float64]
    amplitudes: NDArray[np.float64]

    def intensity(self, y: ArrayLike, x: ArrayLike) -> NDArray[np.float64]:
        """Fraction of the full brightness of the grain at sample positions, between 0 and 1.

        Exactly 1 inside, exactly 0 outside, and a smooth step in between.

        Parameters
        ----------
        y, x : array_like
            Sample positions in mm; they are broadcast against each other.

        Returns
        -------
        ndarray
            Shape of ``y`` and ``x`` broadcast, float64.
        """
        dy = np.asarray(y, np.float64) - self.centre[0]
        dx = np.asarray(x, np.float64) - self.centre[1]
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        radius = np.hypot((dy * cos + dx * sin) / self.extent[0], (dx * cos - dy * sin) / self.extent[1])
        step = np.clip((1 + self.edge - radius) / (2 * self.edge), 0.0, 1.0)
        return step * step * (3 - 2 * step)


def grow_grains(
    sample: np.random.Generator,
    detector: np.random.Generator,
    count: int,
    extents: tuple[tuple[float, float], tuple[float, float]],
    shape: tuple[int, int],
    spots_per_grain: int,
    separation: float,
    rate: float,
    radii: Sequence[float] = (),
) -> tuple[Grain, ...]:
    """Random grains, spread over a sample, with spots spread over a detector.

    Parameters
    ----------
    sample, detector : numpy.random.Generator
        Random numbers for what the grains are in the sample, and for what they are on the detector.
    count : int
        How many grains.
    extents : tuple
        The sample, ((y0, y1), (x0, x1)), in mm.
    shape : tuple of int
        Rows and columns of the detector.
    spots_per_grain : int
        How many spots each grain has.
    separation : float
        Least distance of two spots, in px; half of it, and a pixel, is kept from the borders.
    rate : float
        Mean height of the spots, in counts per second.
    radii : sequence of float
        The rings around the middle of the detector that the spots are on, in px, one after the other; without any they
        are anywhere.

    Returns
    -------
    tuple of Grain
        In the order of their numbers.

    Raises
    ------
    ValueError
        If the spots do not fit on the detector.
    """
    (y0, y1), (x0, x1) = extents
    share = 1 / (2 * math.sqrt(max(count, 1)))
    # In units of the extents, so that the grains of a long sample are long as well, and as evenly spread.
    centres = scatter_points(sample, count, (0, 0), (1, 1), share)
    forms = sample.uniform((0.8, 0.8, 0.0, 0.7), (1.5, 1.5, math.pi, 1.3), (count, 4))
    margin = min(separation / 2 + 1, min(shape) / 2 - 1)
    corner = (shape[0] - 1 - margin, shape[1] - 1 - margin)
    spots = scatter_points(detector, count * spots_per_grain, (margin, margin), corner, separation, radii)
    heights = rate * detector.uniform(0.7, 1.3, (count, spots_per_grain))
    grains = []
    for number, ((y, x), (along_y, along_x, angle, brightness)) in enumerate(zip(centres, forms, strict=True)):
        mine = spots[number * spots_per_grain : (number + 1) * spots_per_grain]
        amplitudes = brightness * heights[number]
        # The truth that a test relies on.
        mine.flags.writeable = amplitudes.flags.writeable = False
        grains.append(
            Grain(
                number=number,
                centre=(float(y0 + (y1 - y0) * y), float(x0 + (x1 - x0) * x)),
                extent=(float((y1 - y0) * share * along_y), float((x1 - x0) * share * along_x)),
                angle=float(angle),
                edge=EDGE,
                spots=mine,
                amplitudes=amplitudes,
            )
        )
    return tuple(grains)


def scatter_points(
    rng: np.random.Generator,
    count: int,
    low: tuple[float, float],
    high: tuple[float, float],
    separation: float,
    radii: Sequence[float] = (),
) -> NDArray[np.float64]:
    """Random points (y, x) in a rectangle, no two of them nearer than a distance.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where the random numbers come from.
    count : int
        How many points.
    low, high : tuple of float
        Corners of the rectangle.
    separation : float
        Least distance of two points, in the unit of the corners.
    radii : sequence of float
        The rings around the middle of the rectangle that the points are on, one after the other; without any they are
        anywhere.

    Returns
    -------
    ndarray
        Shape (count, 2), float64.

    Raises
    ------
    ValueError
        If the points do not fit.
    """
    points = np.empty((count, 2))
    for placed in range(count):
        for _ in range(ATTEMPTS):
            if radii:
                angle = rng.uniform(0, 2 * math.pi)
                point = np.add(low, high) / 2 + radii[placed % len(radii)] * np.array([np.sin(angle), np.cos(angle)])
            else:
                point = rng.uniform(low, high)
            inside = (np.less_equal(low, point) & np.less_equal(point, high)).all()
            if inside and (placed == 0 or np.hypot(*(points[:placed] - point).T).min() >= separation):
                points[placed] = point
                break
        else:
            raise ValueError(
                f"only {placed} of {count} points fit {separation:g} apart between {low} and {high}"
                f"{' on their rings' if radii else ''}: ask for fewer points, or for a smaller separation"
            )
    return points
