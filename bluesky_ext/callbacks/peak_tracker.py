"""The peaks of every image, as rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bluesky_ext.documents import Map, Rows, as_image
from bluesky_ext.images import mean_frame
from bluesky_ext.peaks import locate, peak_columns, warm_up

#: What averaging makes, and what most detectors do: their kernels are compiled, or loaded, when a stage is made.
DTYPES = ("float64", "uint16")


@dataclass(frozen=True)
class _Locate:
    """The kernel: the peaks of an event's image."""

    data_key: str
    diameter: int | tuple[int, int]
    keywords: dict[str, Any]

    def __call__(self, data: Mapping[str, Any], seq_num: int) -> Rows:
        image = as_image(data[self.data_key])
        if image.ndim < 2 or image.dtype.kind not in "biuf":
            raise ValueError(
                f"{self.data_key} is no image: shape {image.shape}, dtype {image.dtype}; give the key of an image"
            )
        if image.ndim > 2:
            image = mean_frame(image)
        table = locate(image, self.diameter, constant_columns=True, **self.keywords)
        columns = {str(name): column.to_numpy() for name, column in table.items()}
        return Rows({**columns, "frame": np.full(len(table), seq_num)}, {"n_nonfinite": table.attrs["nonfinite"]})


class PeakTracker(Map):
    """The peaks of every image: each is an event, a row of its image's page.

    The columns are those of `trackpy.locate`, ``y x mass size ecc signal raw_mass ep`` (two sizes and errors for a
    diameter that differs between the axes), and ``frame``, the ``seq_num`` of the event that the image is of. The
    stream ``frames`` has an event for each image, one without peaks too, with their number ``n_rows``, the scan's other
    scalar readings, and ``n_nonfinite``: how many pixels were NaN or infinite and counted as zero.

    Parameters
    ----------
    data_key : str
        The key of the image. Several frames in one event are averaged.
    diameter : odd int or tuple of two
        The extent of a peak in pixels, as for `trackpy.locate`.
    executor, max_in_flight, on_error, handlers, root_map, hash_images, stale_after, max_open_runs
        As for `bluesky_ext.documents.Map`.
    **locate_kwargs
        Any keyword of `trackpy.locate`: ``minmass``, ``separation``, ``percentile``, ``topn`` and so on.

    Examples
    --------
    >>> from bluesky_ext import PeakTracker
    >>> pt = PeakTracker("dexela_image", diameter=15, percentile=80, separation=100)
    """

    makes_rows = True
    # The number of peaks of a frame is worth a plot. The rows are not: BestEffortCallback would draw anew for each.
    hinted = ("n_rows",)

    def __init__(self, data_key: str, diameter: int | tuple[int, int], **locate_kwargs: Any) -> None:
        options = {key: locate_kwargs.pop(key) for key in _OPTIONS if key in locate_kwargs}
        peak_columns(diameter, **locate_kwargs)  # refuses a bad keyword now, not at the first event
        warm_up(DTYPES, diameter)
        super().__init__(
            _Locate(data_key, diameter, locate_kwargs),
            parameters={"data_key": data_key, "diameter": diameter, **locate_kwargs},
            data_keys=(data_key,),
            **options,
        )


_OPTIONS = (
    *("executor", "max_in_flight", "on_error", "handlers", "root_map"),
    *("hash_images", "stale_after", "max_open_runs"),
)
