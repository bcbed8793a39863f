"""What positions on a detector mean: scattering vectors, angles and d-spacings."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from bluesky_ext.spectra.azimuthal.poni import poni_bytes, read_poni


def scattering(
    poni: Any, y: npt.ArrayLike, x: npt.ArrayLike, shape: tuple[int, int] | None = None
) -> dict[str, np.ndarray]:
    r"""Scattering vector, angles and d-spacing at positions on a detector, as pyFAI has them of the middles of pixels.

    Parameters
    ----------
    poni : path, bytes or array of uint8
        The .poni file with the geometry of the detector, or its content.
    y, x : (n,) array_like
        Positions in pixels. The middle of the first pixel is (0, 0), as in tables of peaks.
    shape : (int, int), optional
        Rows and columns of the image that they are in: a .poni of another detector is refused.

    Returns
    -------
    dict of (n,) float64 arrays
        ``q``, 4 pi sin(two_theta / 2) / wavelength, in 1/nm; ``two_theta``, the angle from the beam, in degrees;
        ``chi``, the azimuth from -180 to 180 degrees, 0 along x and 90 along y for a detector that is not tilted;
        ``d``, 2 pi / q, in nm, infinite in the beam.

    Raises
    ------
    ImportError
        If pyFAI is not installed.
    ValueError
        If the .poni is none, has no wavelength, or is of another detector.

    Examples
    --------
    >>> poni = b"PixelSize1: 1e-4\nPixelSize2: 1e-4\nDistance: 0.1\nPoni1: 0\nPoni2: 0\nWavelength: 1e-10"
    >>> scattering(poni, [999.5], [-0.5])["two_theta"]
    array([45.])
    """
    ai = _geometry(poni_bytes(poni))
    own = ai.detector.shape
    if shape is not None and own and tuple(own) != tuple(shape):
        raise ValueError(
            f"the image has {shape[0]} x {shape[1]} pixels, and the .poni is of a detector of {own[0]} x {own[1]}: "
            "give the .poni of this detector"
        )
    # Copies, since pyFAI is told nothing of whose they are.
    y, x = np.array(y, float).reshape(-1), np.array(x, float).reshape(-1)
    two_theta = ai.tth(y, x)
    q = 4e-9 * math.pi / ai.wavelength * np.sin(two_theta / 2)
    with np.errstate(divide="ignore"):
        d = 2 * math.pi / q
    return {"q": q, "two_theta": np.degrees(two_theta), "chi": np.degrees(ai.chi(y, x)), "d": d}


@lru_cache(maxsize=4)
def _geometry(poni: bytes) -> Any:
    """The geometry of pyFAI: it is read in a tenth of a second, once in each process."""
    try:
        ai = read_poni(poni)
    except ImportError as error:
        raise ImportError("to read a .poni, install the extra: pip install 'bluesky-ext[azint]'") from error
    if ai.wavelength is None:
        raise ValueError("the .poni has no line 'Wavelength', which q and d need: add it, in m")
    return ai
