"""The places of a run's events as the run's start document lists them: ``sequence_map``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from suitcase_nxstxm.placement import Path
from suitcase_nxstxm.request import Request, number_of_points

__all__ = ["Sequence"]


@dataclass(frozen=True, eq=False)
class Sequence:
    """Image, row and column of each event.

    Parameters
    ----------
    listed
        Shape (n, 3), -1 for events that aren't listed.
    numbers
        For each event its number among those of its image, shape (n,).
    """

    listed: np.ndarray
    numbers: np.ndarray

    @classmethod
    def of(cls, request: Request) -> Sequence | None:
        """That of a run; None if it has none."""
        listed = request.sequence
        if listed is None or not len(listed):
            return None
        numbers = np.zeros(len(listed), np.int64)
        for image in np.unique(listed[:, 0]):
            mine = listed[:, 0] == image
            numbers[mine] = np.arange(np.count_nonzero(mine))
        return cls(listed, numbers)

    def image_of(self, event: int) -> tuple[int, int] | None:
        """The image of an event, and its number among the events of that; None if it isn't listed."""
        if event >= len(self.listed) or self.listed[event, 0] < 0:
            return None
        return int(self.listed[event, 0]), int(self.numbers[event])

    def covered(self, shape: tuple[int, ...]) -> int:
        """How many points an event is for: a row of an array of this shape if no event is for a column."""
        return shape[-1] if self.listed[:, 2].max() <= 0 else 1

    def along(self, path: Path, planes: Mapping[int, int], several: bool, most: int) -> Path:
        """The way through an array by these places.

        Parameters
        ----------
        path
            The way that it would be without them.
        planes
            The plane of each image that is in the array.
        several
            Whether there are images in other arrays, so that events are counted for each image from its plane on.
        most
            The most events that may be counted.
        """
        shape = path.shape
        if len(shape) < 2 or (self.listed[:, 1:] >= shape[-2:]).any():
            return path  # of something else than what is stored here
        covered = self.covered(shape)
        plane = math.prod(shape[-2:])
        image, row, column = self.listed.T
        within = np.where(image < 0, -1, row * shape[-1] + column)
        if several:
            events = plane // covered
            places = np.full(number_of_points(math.prod(shape) // covered, most, "a run of images"), -1, np.int64)
            for number, index in planes.items():
                mine = np.flatnonzero(image == number)[:events]
                places[index * events : index * events + len(mine)] = index * plane + within[mine]
        else:
            places = np.where(image < 0, -1, image * plane + within)
        if (places >= math.prod(shape) - path.base).any():
            return path
        usual = np.arange(len(places)) * covered
        if ((places == usual) | (places < 0)).all() and not any(path.snaking):
            return path
        return replace(path, places=places, covered=covered)
