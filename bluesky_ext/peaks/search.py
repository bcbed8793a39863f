"""The search for peaks, step by step, in arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bluesky_ext._kernel import as_input
from bluesky_ext.peaks.bandpass import INTEGER, bandpass, gaussian_weights, storage_of
from bluesky_ext.peaks.buffers import thread_buffers
from bluesky_ext.peaks.duplicates import duplicates
from bluesky_ext.peaks.mask import blank_masked, fill_masked, on_masked
from bluesky_ext.peaks.maxima import maxima
from bluesky_ext.peaks.noise import measure_noise, position_error
from bluesky_ext.peaks.parameters import LocateParameters
from bluesky_ext.peaks.quantise import brightness_threshold, quantise, scale_factor, top_of
from bluesky_ext.peaks.refine import MASS, RAW_MASS, SIGNAL, SIZE, refine

WORKED_ON = {
    np.dtype(given): (np.dtype(image), np.dtype(quantised))
    for given, image, quantised in (
        *(("f8", "f8", "u1"), ("f4", "f8", "u1"), ("u1", "u2", "u2"), ("u2", "u2", "u2")),
        *(("u4", "f8", "u4"), ("i1", "f8", "u4"), ("i2", "f8", "u4"), ("i4", "f8", "u4")),
    )
}
"""What an image, and its quantised image, are held in: no value changes, and three sets of kernels serve eight dtypes.

To compile a set takes seconds. How a dtype rounds is told to the kernels (`storage_of`, `top_of`).
"""

FAST_DTYPES = frozenset(WORKED_ON)
"""Dtypes of the images that `search` takes."""


@dataclass(frozen=True, slots=True)
class Found:
    """The peaks of an image."""

    peaks: np.ndarray
    """(n, 8) float64: y, x, mass, size_y, size_x, ecc, signal, raw_mass."""
    index: np.ndarray
    """(n,) int64: the number of each among the peaks that there were before the filters."""
    total: int
    """How many there were before the filters."""
    errors: np.ndarray | None
    """(n,) or (n, 2) float64: position errors; None if not asked for, or without peaks."""
    nonfinite: int
    """How many pixels were not finite."""


def without_nonfinite(raw: np.ndarray) -> tuple[np.ndarray, int]:
    """The image with zeros for its non-finite pixels, and how many those were."""
    if raw.dtype.kind != "f":
        return raw, 0
    finite = np.isfinite(raw)
    count = raw.size - int(np.count_nonzero(finite))
    return (np.where(finite, raw, raw.dtype.type(0)), count) if count else (raw, 0)


def passing(mass: np.ndarray, size: np.ndarray | None, parameters: LocateParameters) -> np.ndarray:
    """Indices of the peaks that pass the filters; if `topn` leaves some out, darkest first.

    Parameters
    ----------
    mass, size : (n,) arrays
        Brightness, and radius of gyration in pixels (needed for `maxsize` only).
    parameters : LocateParameters
        Of which minmass, maxsize and topn are used.
    """
    keep = mass > (parameters.minmass or 0)
    if parameters.maxsize is not None and size is not None:
        keep &= size < parameters.maxsize
    kept = np.flatnonzero(keep)
    topn = parameters.topn
    if topn is None or len(kept) <= topn:
        return kept
    return kept[[np.argmax(mass[kept])]] if topn == 1 else kept[np.argsort(mass[kept])[-topn:]]


def _bandpass(
    raw: np.ndarray, parameters: LocateParameters, storage: int, out: np.ndarray
) -> tuple[np.ndarray, float, int]:
    """Fill `out` with the bandpassed image.

    Returns the raw image with zeros for its non-finite pixels, the highest value in `out`, and the number
    of the non-finite pixels.
    """
    integers = storage == INTEGER
    threshold = parameters.threshold
    if threshold is None:
        threshold = 1.0 if integers else 1 / 255
    weights_y, weights_x = (gaussian_weights(size) for size in parameters.noise)
    arguments = (weights_y, weights_x, *parameters.smoothing, float(threshold), storage, out)
    highest, finite = bandpass(raw, *arguments)
    # The running sums along y saw every pixel, at no cost. Without a boxcar along y somebody has to look.
    if integers or (finite and parameters.smoothing[0] > 1):
        return raw, highest, 0
    cleaned, nonfinite = without_nonfinite(raw)
    if nonfinite:
        raw = as_input(cleaned)
        highest, _ = bandpass(raw, *arguments)
    return raw, highest, nonfinite


def search(image: np.ndarray, parameters: LocateParameters, mask: np.ndarray | None) -> Found:
    """Peaks of a two-dimensional image of one of the FAST_DTYPES; the mask is True where a pixel is used."""
    storage = storage_of(image.dtype)
    held_in, quantised_dtype = WORKED_ON[image.dtype]
    raw = as_input(image.astype(held_in, copy=False))
    if mask is not None:
        filled = fill_masked(raw, mask, parameters.smoothing)
        if storage == INTEGER and filled.dtype.kind == "f":
            np.trunc(filled, out=filled, where=~mask)
        raw = as_input(filled)
    bandpassed, quantised = thread_buffers().get(raw.shape, quantised_dtype)
    raw, highest, nonfinite = _bandpass(raw, parameters, storage, bandpassed)
    if mask is not None:
        highest = blank_masked(bandpassed, mask)
    scale = scale_factor(highest, top_of(image.dtype))
    quantise(bandpassed, scale, quantised)

    threshold = brightness_threshold(quantised, parameters.percentile)
    coordinates = np.empty((0, 2), np.int64)
    if not np.isnan(threshold):  # or else all is black
        coordinates = maxima(quantised, threshold, parameters.maximum_box, parameters.margin)
    peaks = refine(raw, quantised, parameters.radius, coordinates, parameters.max_iterations)

    if mask is not None:
        peaks = peaks[~on_masked(peaks[:, :2], mask)]
    if min(parameters.distance) > 0:
        peaks = np.delete(peaks, duplicates(peaks[:, :2], parameters.distance, peaks[:, MASS]), axis=0)
    # After the duplicates, which are told apart by whole numbers: equal ones are equal before the division.
    peaks[:, MASS] /= scale
    peaks[:, SIGNAL] /= scale
    total = len(peaks)
    index = passing(peaks[:, MASS], peaks[:, SIZE], parameters)
    peaks = peaks[index]

    errors = None
    if parameters.characterize and len(peaks):
        black_level, noise = measure_noise(quantised, raw, parameters.radius, mask)
        errors = position_error(peaks[:, RAW_MASS], black_level, noise, parameters.radius, parameters.noise)
    return Found(peaks, index, total, errors, nonfinite)
