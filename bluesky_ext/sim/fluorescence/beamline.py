"""A detector of fluorescence with several elements, and a beamline with it."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from ophyd import Component, Device
from ophyd.signal import InternalSignal
from ophyd.status import DeviceStatus

from bluesky_ext.sim.detector import HasPosition
from bluesky_ext.sim.fluorescence.sample import FluorescenceSample
from bluesky_ext.sim.motor import SimMotor
from bluesky_ext.sim.setting import Setting

__all__ = ["FluorescenceBeamline", "FluorescenceDetector", "fluorescence_beamline"]


class _Array(InternalSignal):
    """An array for each exposure."""

    def __init__(self, *, dtype: str, units: str, **kwargs: Any) -> None:
        super().__init__(value=np.zeros(0, dtype), **kwargs)
        self._dtype, self._units = dtype, units

    def describe(self) -> dict[str, dict[str, Any]]:
        detector = self.parent
        if not isinstance(detector, FluorescenceDetector):
            raise TypeError(f"{self.name}: this signal is a part of a FluorescenceDetector, not of {detector!r}")
        shape = [detector.n_elements]
        if self.attr_name == "spectra":
            shape.append(detector.sample.n_channels)
        about = {"source": self.source_name, "dtype": "array", "shape": shape}
        return {self.name: {**about, "dtype_numpy": self._dtype, "units": self._units}}


class FluorescenceDetector(Device):
    """A detector of several elements that counts the fluorescence of a sample at the positions of two motors.

    Readings are ``{name}_spectra``, (n_elements, n_channels) uint32, and of each element ``{name}_live_time`` and
    ``{name}_real_time`` in s and ``{name}_dead_time`` in percent: the more it counts, the more it misses. Exposures are
    numbered from the construction on, and the noise of each goes by its number.

    Parameters
    ----------
    name : str
        Name of the detector.
    sample : FluorescenceSample
        The sample.
    y, x : HasPosition
        The motors that move the sample, in mm.
    n_elements : int
        How many elements there are, each of which sees the same share of the whole.
    acquire_time : float
        How long an exposure takes, in s.
    pulse_time : float
        For how long an element is dead after a count, in s.
    **kwargs
        As for `ophyd.Device`.
    """

    spectra = Component(_Array, dtype="<u4", units="counts", kind="normal")
    live_time = Component(_Array, dtype="<f8", units="s", kind="normal")
    real_time = Component(_Array, dtype="<f8", units="s", kind="normal")
    dead_time = Component(_Array, dtype="<f8", units="%", kind="normal")
    acquire_time = Component(Setting, value=1.0, limits=(1e-6, 3600.0), kind="config")

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        sample: FluorescenceSample,
        y: HasPosition,
        x: HasPosition,
        n_elements: int = 4,
        acquire_time: float = 1.0,
        pulse_time: float = 2e-6,
        **kwargs: Any,
    ) -> None:
        if not 1 <= n_elements <= 1000:
            raise ValueError(f"{name}: n_elements={n_elements!r}, give a number from 1 to 1000")
        self.sample, self.n_elements, self.pulse_time = sample, n_elements, pulse_time
        self._y, self._x = y, x
        self._exposures = itertools.count()
        super().__init__(prefix, name=name, **kwargs)
        self.acquire_time.put(acquire_time)

    def trigger(self) -> DeviceStatus:
        """Count.

        Returns
        -------
        ophyd.status.DeviceStatus
            Done when the counting is over, which is at once.
        """
        status = DeviceStatus(self)
        rng = np.random.default_rng((self.sample.seed, next(self._exposures)))
        seconds = float(self.acquire_time.get())
        rate = self.sample.expected(float(self._y.position), float(self._x.position)) / self.n_elements
        dead = 1 - 1 / (1 + rate.sum() * self.pulse_time * (1 + 0.2 * np.arange(self.n_elements)))
        live = seconds * (1 - dead)
        now = time.time()
        readings = {
            "spectra": rng.poisson(live[:, np.newaxis] * rate).astype(np.uint32),
            "live_time": live,
            "real_time": np.full(self.n_elements, seconds),
            "dead_time": 100 * dead,
        }
        for part, value in readings.items():
            getattr(self, part).put(value, timestamp=now, internal=True)
        status.set_finished()
        return status


@dataclass(frozen=True)
class FluorescenceBeamline:
    """The devices of a beamline for fluorescence, and the sample in it.

    Parameters
    ----------
    sample : FluorescenceSample
        The sample, with the truth about it.
    detector : FluorescenceDetector
        The detector.
    y, x : SimMotor
        The motors that move the sample, in mm, ``sample_y`` and ``sample_x``.
    """

    sample: FluorescenceSample
    detector: FluorescenceDetector
    y: SimMotor
    x: SimMotor


def fluorescence_beamline(
    seed: int = 0, *, name: str = "xspress3", n_elements: int = 4, acquire_time: float = 1.0, **sample: Any
) -> FluorescenceBeamline:
    """A new beamline for fluorescence, ready for the RunEngine; alike ones give the same counts.

    Parameters
    ----------
    seed : int
        Seed of the sample and of all noise.
    name : str
        Name of the detector: the key of its spectra is ``{name}_spectra``.
    n_elements, acquire_time : int, float
        As for `FluorescenceDetector`.
    **sample
        More parameters of the `FluorescenceSample`.

    Examples
    --------
    >>> from bluesky import RunEngine
    >>> from bluesky.plans import grid_scan
    >>> b = fluorescence_beamline(seed=1)
    >>> RE = RunEngine()
    >>> uids = RE(grid_scan([b.detector], b.y, -0.05, 0.05, 2, b.x, -0.05, 0.05, 2))
    """
    film = FluorescenceSample(seed, **sample)
    y, x = (
        SimMotor(name=motor, value=(low + high) / 2, limits=(low - 1.0, high + 1.0))
        for motor, (low, high) in zip(("sample_y", "sample_x"), film.extents, strict=True)
    )
    detector = FluorescenceDetector(name=name, sample=film, y=y, x=x, n_elements=n_elements, acquire_time=acquire_time)
    return FluorescenceBeamline(film, detector, y, x)
