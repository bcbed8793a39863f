"""The peaks of every image, as rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from bluesky_ext._arguments import check_keywords, keywords_of, refuse_document, split_keywords
from bluesky_ext._compile import compile_kernels
from bluesky_ext.engine import Map, Rows, Stage, image_blocks
from bluesky_ext.images import Gaps, check_mask, mean_blocks, measured, warm_up_blocks
from bluesky_ext.images import warm_up as warm_up_images
from bluesky_ext.masks.selection import SelectedMasks
from bluesky_ext.masks.stage import MaskedMap, known_mask
from bluesky_ext.peaks import LocateParameters, locate, locate_kernels, peak_columns
from bluesky_ext.peaks.table import UNITS
from bluesky_ext.spectra.azimuthal import poni_bytes, scattering


@dataclass(frozen=True)
class _Locate:
    """The kernel: the peaks of an event's image, none of them where it is masked or was not measured."""

    takes_blocks: ClassVar[bool] = True
    keeps_nothing: ClassVar[bool] = True

    data_key: str
    diameter: int | tuple[int, int]
    keywords: dict[str, Any]
    gaps: Gaps
    mask: np.ndarray | None = None
    poni: bytes | None = None

    def __call__(self, data: Mapping[str, Any], seq_num: int, mask: np.ndarray | None = None) -> Rows:
        image = mean_blocks(image_blocks(data, self.data_key), self.gaps)
        mask = self.mask if mask is None else mask
        if mask is not None:
            check_mask(mask, image.shape)
        # Which floats are finite, locate sees at no cost: it is done again in the rare case that some are not.
        table, n_gaps = self._locate(image, mask, None if image.dtype.kind == "f" else measured(image, self.gaps))
        if n_gaps and self.gaps and image.dtype.kind == "f":
            table, n_gaps = self._locate(image, mask, measured(image, self.gaps))
        columns = {str(name): column.to_numpy() for name, column in table.items()}
        if self.poni is not None:
            columns |= scattering(self.poni, columns["y"], columns["x"], image.shape)
        return Rows({**columns, "frame": np.full(len(table), seq_num)}, {"n_gaps": n_gaps})

    def _locate(self, image: np.ndarray, mask: np.ndarray | None, found: np.ndarray | None) -> tuple[pd.DataFrame, int]:
        """The peaks where an image is used and was measured; and how many pixels are used and were not."""
        used, n_gaps = mask, 0
        if found is not None:
            n_gaps = np.count_nonzero(~found if mask is None else mask & ~found)
            used = found if mask is None else mask & found
        table = locate(image, self.diameter, constant_columns=True, mask=used, **self.keywords)
        return table, n_gaps + table.attrs["nonfinite"]


class PeakTracker(MaskedMap):
    """The peaks of every image: each is an event, a row of its image's page.

    The columns are those of `trackpy.locate`, ``y x mass size ecc signal raw_mass ep`` (two sizes and errors for a
    diameter that differs between the axes); with a .poni ``q two_theta chi d``, as
    `bluesky_ext.spectra.azimuthal.scattering` has them; and ``frame``, the ``seq_num`` of the event that the image is
    of. The stream ``frames`` has an event for each image, one without peaks too, with their number ``n_rows``, the
    scan's other scalar readings, and ``n_gaps``: how many pixels that no mask covers are no measurement.

    Parameters
    ----------
    data_key : str
        The key of the image. Several frames in one event are averaged.
    diameter : odd int or tuple of two
        The extent of a peak in pixels, as for `trackpy.locate`.
    mask : array, str, tuple or list of these, optional
        As the ``masks`` of `MaskApplier`. A masked pixel is never a peak, and makes none beside it: it is taken for the
        mean of the used pixels around it before the bandpass, and for black after it. A peak whose centre comes to lie
        on one is left out; see `bluesky_ext.peaks.locate`.
    registry : MaskClient, or what `bluesky_ext.storage.open_catalog` takes; optional
        Where masks are looked up, once at the start of each run.
    gaps : "auto", True or False
        Which pixels are no measurement and masked in the image that they are in: see `bluesky_ext.images.Gaps`. With
        False none is; those that are not finite count as zero then.
    poni : path, bytes or array of uint8, optional
        The .poni file with the geometry of the detector, read now, or its content. It needs pyFAI.
    **locate_kwargs
        Any keyword of `trackpy.locate` (``minmass``, ``separation``, ``percentile``, ``topn`` and so on), and of
        `bluesky_ext.engine.Map` (``executor``, ``on_error`` and so on).

    Examples
    --------
    >>> from bluesky_ext import PeakTracker
    >>> pt = PeakTracker("dexela_image", diameter=15, percentile=80, separation=100)
    """

    kernels = (warm_up_images, *locate_kernels(mask=True), warm_up_blocks)
    makes_rows = True
    libraries = ("numpy", "numba", "scipy", "pandas")
    units = UNITS
    # The number of peaks of a frame is worth a plot. The rows are not: BestEffortCallback would draw anew for each.
    hinted = ("n_rows",)

    def __init__(
        self,
        data_key: str,
        diameter: int | tuple[int, int],
        *,
        mask: Any = None,
        registry: Any = None,
        gaps: Gaps = "auto",
        poni: Any = None,
        **locate_kwargs: Any,
    ) -> None:
        refuse_document("PeakTracker", diameter)
        check_keywords("PeakTracker", locate_kwargs, keywords_of(PeakTracker, Map, Stage, LocateParameters))
        options, locate_kwargs = split_keywords(locate_kwargs, Map, Stage)
        peak_columns(diameter, **locate_kwargs)  # refuses a bad keyword now, not at the first event
        given = None if mask is None else SelectedMasks(mask, registry)
        compile_kernels(*self.kernels)
        parameters = {"data_key": data_key, "diameter": diameter, **locate_kwargs, "gaps": gaps}
        if given is not None:
            parameters["mask"] = given.parameters
        content = None if poni is None else poni_bytes(poni)
        if content is not None:
            scattering(content, (), ())  # refuses a bad one now, not at the first event
            parameters["poni"] = np.frombuffer(content, np.uint8)
            self.libraries = (*self.libraries, "pyFAI")
        super().__init__(
            _Locate(data_key, diameter, locate_kwargs, gaps, known_mask(given), content),
            given=given,
            gaps=gaps,
            parameters=parameters,
            data_keys=(data_key,),
            **options,
        )
