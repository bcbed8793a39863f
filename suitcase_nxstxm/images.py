"""The images of a run: one, or several that it takes one after the other; and which of them an event is of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from suitcase_nxstxm.errors import MisfitError
from suitcase_nxstxm.layout import Layout, layouts
from suitcase_nxstxm.placement import Path, unit_of
from suitcase_nxstxm.places import identity
from suitcase_nxstxm.request import Request
from suitcase_nxstxm.scan_types import scan_types
from suitcase_nxstxm.sequence import Sequence
from suitcase_nxstxm.signals import Signals
from suitcase_nxstxm.streams import Stream, region_of

__all__ = ["Images"]


class Images:
    """The images of a run.

    Parameters
    ----------
    request
        What the run asks for.

    Attributes
    ----------
    requests
        That of each image.
    layouts
        Those of the entries of each image.
    sequence
        The places of the events as the start document lists them; None if it doesn't.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self.requests = request.images or (request,)
        self.layouts = [[_planar(layout, image) for layout in layouts(image)] for image in self.requests]
        self.sequence = Sequence.of(request)

    def __len__(self) -> int:
        return len(self.requests)

    @property
    def whole(self) -> Request:
        """The request of the run with a number of points that can be compared to that of an entry."""
        request, layout, images = self._request, self.layouts[0][0], len(self.layouts)
        number = request.num_points
        if images > 1 and layout.planes:
            # As many as an entry has may well be that many lines.
            number = layout.size if number == images * layout.plane_size else None
        elif request.scan_type is scan_types.SAMPLE_LINE_SPECTRA and layout.planes and number != layout.size:
            number = None  # of lines, and a line may be as long as there are energies
        return replace(request, num_points=number)

    def held(self, number: int) -> list[tuple[Layout, str]]:
        """The layouts of an image, with what their entries are for."""
        image = self.requests[number]
        several = len(image.regions) > 1
        return [
            (layout, identity(image, layout.entry, image.regions[i].key if several else image.region_key))
            for i, layout in enumerate(self.layouts[number])
        ]

    def path(self, layout: Layout, plane: int, mine: Iterable[int]) -> Path:
        """The way of the run through the array of an entry.

        Parameters
        ----------
        layout
            That of the entry.
        plane
            The plane of the run, if it is of one image.
        mine
            The images that are in the entry.
        """
        request = self._request
        levels = len(request.order or layout.shape)
        fits = len(request.snaking) == levels or (layout.planes and len(request.snaking) == levels - 1)
        base = plane * layout.plane_size if layout.planes and len(self) == 1 else 0
        path = Path(layout.shape, base, request.order, request.snaking if fits else ())
        if self.sequence is None:
            return path
        return self.sequence.along(path, {i: self.requests[i].plane for i in mine}, len(self) > 1, request.max_points)

    def of(self, stream: Stream, index: int, data: Mapping[str, Any], what: str) -> tuple[int, int]:
        """The image that an event is of, by the number of its request; and the number of the event in its entry."""
        if len(self.requests) == 1:
            return 0, index
        layouts_ = self.layouts[0]
        if self.sequence is not None and (place := self.sequence.image_of(index)) is not None:
            image, number = place
        else:
            if len(layouts_) > 1 or self._request.scan_type is scan_types.SAMPLE_POINT_SPECTRA:
                events = layouts_[0].size * (1 if self._at_once(stream, data) else len(layouts_))
            else:
                events = max(layouts_[0].plane_size // self._unit(stream, data), 1)
            image, number = divmod(index, events)
        if image >= len(self.requests):
            raise MisfitError(f"{what} of run {self._request.run} is of image {image} of {len(self.requests)}")
        if not layouts_[0].planes:
            return image, number
        layout = self.layouts[image][0]
        covered = self._unit(stream, data) if self.sequence is None else self.sequence.covered(layout.shape)
        return image, self.requests[image].plane * (layout.plane_size // covered) + number

    def shared(
        self, all_signals: list[Signals], stream: Stream, index: int, numbers: dict[str, Any]
    ) -> Iterator[tuple[Signals, int, dict[str, Any]]]:
        """The parts of an event for each of the entries, with the index of the event in the entry."""
        count = len(all_signals)
        if count == 1:
            yield all_signals[0], index, numbers
            return
        regions = {region.key: i for i, region in enumerate(self._request.regions)}
        own = {key: regions[number] for key in numbers if (number := region_of(key)[1]) in regions}
        if own:
            together = len(set(own.values())) == count
            for i in sorted(set(own.values())):
                part = {region_of(key)[0]: value for key, value in numbers.items() if own.get(key, i) == i}
                for key in part:
                    stream.detectors.setdefault(key, key)
                yield all_signals[i], index if together else index // count, part
            return
        at_once = [key for key in stream.detectors if key in numbers and np.size(numbers[key]) == count]
        if at_once and len(at_once) == len([key for key in stream.detectors if key in numbers]):
            for i, signals in enumerate(all_signals):
                yield signals, index, numbers | {key: np.ravel(numbers[key])[i] for key in at_once}
            return
        yield all_signals[index % count], index // count, numbers

    def _unit(self, stream: Stream, data: Mapping[str, Any]) -> int:
        """How many points of an image an event covers."""
        layout = self.layouts[0][0]
        if self._request.num_points == len(self.requests) * layout.plane_size:
            return 1
        pattern = self._request.scan_type is scan_types.PTYCHOGRAPHY_SCAN
        sizes = [np.size(data[k]) for k in stream.detectors if k in data and not (pattern and np.ndim(data[k]) > 1)]
        found = max([stream.unit, *(unit_of(size, layout.shape, stream.unit) or 1 for size in sizes)])
        if found > layout.plane_size:
            raise MisfitError(
                f"an event of run {self._request.run} has {found} points, more than one of its images has"
            )
        return found

    def _at_once(self, stream: Stream, data: Mapping[str, Any]) -> bool:
        """Whether an event has the numbers of all regions."""
        keys = {region.key for region in self._request.regions}
        if keys <= {number for key in data if (number := region_of(key)[1]) is not None}:
            return True
        mine = [key for key in stream.detectors if key in data]
        return bool(mine) and len(keys) > 1 and all(np.size(data[key]) == len(keys) for key in mine)


def _planar(layout: Layout, request: Request) -> Layout:
    """The layout of a line spectrum with the energies as planes, if each may be a run of its own."""
    lines = request.scan_type is scan_types.SAMPLE_LINE_SPECTRA and request.several_runs
    return replace(layout, planes=True) if lines else layout
