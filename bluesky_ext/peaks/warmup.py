"""The kernels that `locate` needs, in groups that are compiled one beside the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np

from bluesky_ext._kernel import as_input
from bluesky_ext.peaks.bandpass import bandpass, gaussian_weights, storage_of
from bluesky_ext.peaks.duplicates import duplicates
from bluesky_ext.peaks.mask import blank_masked, fill_masked
from bluesky_ext.peaks.maxima import maxima
from bluesky_ext.peaks.noise import measure_noise
from bluesky_ext.peaks.quantise import brightness_threshold, quantise
from bluesky_ext.peaks.refine import refine
from bluesky_ext.peaks.search import WORKED_ON


def locate_kernels(
    dtypes: Iterable[str] = ("float64", "uint16", "uint32"), *, mask: bool = False
) -> list[partial[None]]:
    """What compiles the kernels of `locate`, for `bluesky_ext._compile.compile_kernels`.

    Parameters
    ----------
    dtypes : iterable of str
        Those of the images to come; the three have the kernels of all others.
    mask : bool
        Whether there will be a mask.
    """
    groups = [_bandpass, _maxima, _refine, _noise, *([_masked] if mask else []), _quantise]
    return [partial(group, tuple(dtypes)) for group in groups]


def _images(dtypes: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each dtype a raw image with one bright pixel, and a quantised one."""
    for image, quantised in dict.fromkeys(WORKED_ON[np.dtype(dtype)] for dtype in dtypes):
        raw, whole = np.zeros((8, 8), image), np.zeros((8, 8), quantised)
        raw[4, 4] = whole[4, 4] = 1
        yield as_input(raw), whole


def _bandpass(dtypes: Sequence[str]) -> None:
    weights = gaussian_weights(1)
    for raw, _ in _images(dtypes):
        bandpass(raw, weights, weights, 3, 3, 1.0, storage_of(raw.dtype), np.empty(raw.shape))


def _maxima(dtypes: Sequence[str]) -> None:
    for _, quantised in _images(dtypes):
        maxima(quantised, 0.0, (3, 3), (1, 1))


def _refine(dtypes: Sequence[str]) -> None:
    for raw, quantised in _images(dtypes):
        refine(raw, quantised, (1, 1), np.array([[4, 4]]), 1)


def _noise(dtypes: Sequence[str]) -> None:
    for raw, quantised in _images(dtypes):
        measure_noise(quantised, raw, (1, 1))


def _masked(dtypes: Sequence[str]) -> None:
    for raw, _ in _images(dtypes):
        mask = as_input(raw == 0)
        fill_masked(raw, mask, (3, 3))
        blank_masked(np.zeros(raw.shape), mask)


def _quantise(dtypes: Sequence[str]) -> None:
    for raw, quantised in _images(dtypes):
        quantise(np.zeros(raw.shape), 1.0, quantised)
        brightness_threshold(np.ones_like(quantised), 50)
    duplicates(np.array([[4.0, 4.0], [4.0, 5.0]]), (2.0, 2.0), np.ones(2))
