"""Detectors that count the photons behind the sample: point by point, or a line at a time."""

from __future__ import annotations

import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from ophyd import Component, Device
from ophyd.signal import InternalSignal
from ophyd.status import DeviceStatus

from bluesky_ext.sim.setting import Setting
from bluesky_ext.sim.shutter import Shutter
from bluesky_ext.stxm.sim.microscope import Conditions, Microscope
from bluesky_ext.stxm.sim.ring import BeamTime
from bluesky_ext.stxm.sim.stage import Stage

__all__ = ["LineCounter", "PhotonDetector", "PointCounter", "RingCurrent"]

# ms in a s: a dwell time is in ms, as users of a STXM have it.
MILLI = 1e-3


class _Value(InternalSignal):
    """A value with a unit."""

    def __init__(self, *, units: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._units = units

    def describe(self) -> dict[str, dict[str, Any]]:
        description = super().describe()
        parent = self.parent
        units = parent.units if isinstance(parent, PhotonDetector) else self._units
        description[self.name].update(units=units)
        return description


class _Waveform(InternalSignal):
    """The counts of a line."""

    def describe(self) -> dict[str, dict[str, Any]]:
        detector = self.parent
        if not isinstance(detector, LineCounter):
            raise TypeError(f"{self.name}: this signal is a part of a LineCounter, not of {detector!r}")
        shape = [int(detector.line_num.get())]
        key = {"source": self.source_name, "dtype": "array", "shape": shape, "dtype_numpy": "<f8", "units": "counts"}
        return {self.name: key}


class PhotonDetector(Device, ABC):
    """What the detectors of the simulated STXM have in common: a dwell time, and where everything is.

    Exposures are numbered from the construction on, and the noise of each goes by the seed of the microscope, the
    name of the detector and that number: the same calls on a new detector give the same counts.

    Parameters
    ----------
    name : str
        Name of the detector.
    microscope : Microscope
        The physics.
    conditions : callable
        Gives the `Conditions`, by the time in s.
    beam_time : BeamTime
        The time by which the ring decays.
    shutter : Shutter, optional
        Without it the beam always passes.
    dwell : float
        Counting time of a point at the start, in ms.
    real_time : bool
        Let a trigger last as long as the counting.
    **kwargs
        As for `ophyd.Device`.
    """

    dwell = Component(Setting, value=1.0, limits=(1e-3, 3_600_000.0), kind="config")

    units = "counts"

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        microscope: Microscope,
        conditions: Callable[[float], Conditions],
        beam_time: BeamTime,
        shutter: Shutter | None = None,
        dwell: float = 1.0,
        real_time: bool = False,
        **kwargs: Any,
    ) -> None:
        self.microscope, self.real_time = microscope, real_time
        self._conditions, self._beam_time, self._shutter = conditions, beam_time, shutter
        self._exposures = itertools.count()
        super().__init__(prefix, name=name, **kwargs)
        self.dwell.put(dwell)

    @property
    def seconds(self) -> float:
        """How long a trigger counts, in s."""
        return float(self.dwell.get()) * MILLI

    def trigger(self) -> DeviceStatus:
        """Count.

        Returns
        -------
        ophyd.status.DeviceStatus
            Done when the counting is over.
        """
        status = DeviceStatus(self, settle_time=self.seconds if self.real_time else 0.0)
        start = self._beam_time.expose(self.name, self.seconds)
        is_open = self._shutter is None or self._shutter.is_open
        self._count(self._conditions(start), self.microscope.rng(self.name, next(self._exposures)), is_open)
        status.set_finished()
        return status

    @abstractmethod
    def _count(self, at: Conditions, rng: np.random.Generator, is_open: bool) -> None:
        """Put what it reads after an exposure under these conditions."""


class PointCounter(PhotonDetector):
    """A counter or a diode: one number for each trigger, ``{name}_single_value_rbv`` (hinted).

    Parameters
    ----------
    name : str
        Name of the detector.
    efficiency : float
        Fraction of the photons that it sees.
    dark_rate : float
        What it sees per second without a beam.
    gain : float
        What one photon adds to the reading.
    units : str
        Unit of the reading.
    **kwargs
        As for `PhotonDetector`.
    """

    single_value_rbv = Component(_Value, value=0.0, units="counts", kind="hinted")

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        efficiency: float = 1.0,
        dark_rate: float = 0.0,
        gain: float = 1.0,
        units: str = "counts",
        **kwargs: Any,
    ) -> None:
        self.efficiency, self.dark_rate, self.gain, self.units = efficiency, dark_rate, gain, units
        super().__init__(prefix, name=name, **kwargs)

    def expected(self, at: Conditions, is_open: bool = True) -> float:
        """Mean reading under some conditions."""
        rate = self.microscope.rate(at) * self.efficiency if is_open else 0.0
        return self.gain * (rate + self.dark_rate) * self.seconds

    def _count(self, at: Conditions, rng: np.random.Generator, is_open: bool) -> None:
        photons = rng.poisson(self.expected(at, is_open) / self.gain)
        self.single_value_rbv.put(self.gain * float(photons), timestamp=time.time(), internal=True)


class LineCounter(PhotonDetector):
    """A counter that is driven by the stage: one trigger counts a whole line, ``{name}_waveform_rbv``.

    The stage is taken from ``line_start`` to ``line_stop`` and stays there; ``line_num`` points are counted on the
    way, each for the dwell time. As on a beamline, configure, then stage, then trigger.

    Parameters
    ----------
    name : str
        Name of the detector.
    stage_x : Stage
        The stage that is scanned.
    **kwargs
        As for `PhotonDetector`.
    """

    line_start = Component(Setting, value=-1.0, limits=(-1e6, 1e6), kind="config")
    line_stop = Component(Setting, value=1.0, limits=(-1e6, 1e6), kind="config")
    line_num = Component(Setting, value=2, limits=(1, 100_000), whole=True, kind="config")
    waveform_rbv = Component(_Waveform, value=np.zeros(0), kind="normal")

    def __init__(self, prefix: str = "", *, name: str, stage_x: Stage, **kwargs: Any) -> None:
        self._stage_x = stage_x
        super().__init__(prefix, name=name, **kwargs)

    @property
    def seconds(self) -> float:
        """How long a trigger counts, in s."""
        return super().seconds * int(self.line_num.get())

    def expected(self, at: Conditions, is_open: bool = True) -> np.ndarray:
        """Mean counts of the line under some conditions, shape (line_num,)."""
        num = int(self.line_num.get())
        if not is_open:
            return np.zeros(num)
        # Where the beam is on the sample when the stage is at 0.
        zero = at.x - self._stage_x.where
        x = zero + np.linspace(self.line_start.get(), self.line_stop.get(), num)
        return self.microscope.incident(at) * self.microscope.transmissions(at, x) * self.seconds / num

    def _count(self, at: Conditions, rng: np.random.Generator, is_open: bool) -> None:
        counts = rng.poisson(self.expected(at, is_open)).astype(np.float64)
        self._stage_x.carry(float(self.line_stop.get()))
        self.waveform_rbv.put(counts, timestamp=time.time(), internal=True)


class RingCurrent(Device):
    """The current of the storage ring, in mA: ``{name}_val`` (hinted).

    Parameters
    ----------
    name : str
        Name of the device.
    microscope : Microscope
        Whose ring it is.
    beam_time : BeamTime
        The time by which it decays.
    **kwargs
        As for `ophyd.Device`.
    """

    val = Component(_Value, value=0.0, units="mA", kind="hinted")

    def __init__(
        self, prefix: str = "", *, name: str, microscope: Microscope, beam_time: BeamTime, **kwargs: Any
    ) -> None:
        self._microscope, self._beam_time = microscope, beam_time
        super().__init__(prefix, name=name, **kwargs)

    def read(self) -> Any:
        """Read the current of the exposure under way, or of the last one."""
        self.val.put(self._microscope.ring.current(self._beam_time.start), timestamp=time.time(), internal=True)
        return super().read()
