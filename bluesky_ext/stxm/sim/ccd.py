"""A camera behind the sample, for ptychography."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from ophyd import Component, Device
from ophyd.signal import UNSET_VALUE, InternalSignal

from bluesky_ext.stxm.sim.counter import PhotonDetector
from bluesky_ext.stxm.sim.microscope import Conditions

__all__ = ["CCD"]

DTYPE = np.dtype(np.uint32)


class _Image(InternalSignal):
    """The diffraction pattern of the last trigger."""

    def get(self, **kwargs: Any) -> Any:
        if self._readback is UNSET_VALUE:
            raise RuntimeError(f"{self.name}: there is no image, trigger the camera before reading it")
        return super().get(**kwargs)

    def describe(self) -> dict[str, dict[str, Any]]:
        camera = self.parent
        if not isinstance(camera, CCD):
            raise TypeError(f"{self.name}: this signal is a part of a CCD, not of {camera!r}")
        shape = [camera.size, camera.size]
        key = {"source": self.source_name, "dtype": "array", "shape": shape, "dtype_numpy": DTYPE.str}
        return {self.name: {**key, "units": "counts"}}


class _Stats(Device):
    """Numbers taken from the image, named as in areaDetector."""

    total = Component(InternalSignal, value=0.0, kind="hinted")


class CCD(PhotonDetector):
    """A camera that counts the photons of a diffraction pattern.

    Readings are ``{name}_image``, shape (size, size), uint32, and ``{name}_stats_total`` (hinted), the sum of it.

    Parameters
    ----------
    name : str
        Name of the camera.
    size : int
        Pixels of a side.
    dark_rate : float
        Counts of a pixel per second without a beam.
    **kwargs
        As for `PhotonDetector`.
    """

    image = Component(_Image, value=UNSET_VALUE, kind="normal")
    stats = Component(_Stats, kind="hinted")

    def __init__(self, prefix: str = "", *, name: str, size: int = 64, dark_rate: float = 0.0, **kwargs: Any) -> None:
        if isinstance(size, bool) or not isinstance(size, int) or not 16 <= size <= 1024:
            raise ValueError(f"{name}: size is {size!r}, give a whole number of pixels from 16 to 1024")
        self.size, self.dark_rate = size, dark_rate
        super().__init__(prefix, name=name, **kwargs)

    def expected(self, at: Conditions, is_open: bool = True) -> np.ndarray:
        """Mean image under some conditions, shape (size, size), in counts."""
        shape = (self.size, self.size)
        pattern = self.microscope.diffraction(at, self.size) if is_open else np.zeros(shape)
        return (pattern + self.dark_rate) * self.seconds

    def _count(self, at: Conditions, rng: np.random.Generator, is_open: bool) -> None:
        image = rng.poisson(self.expected(at, is_open)).astype(DTYPE)
        now = time.time()
        self.stats.total.put(float(image.sum(dtype=np.uint64)), timestamp=now, internal=True)
        self.image.put(image, timestamp=now, internal=True)
