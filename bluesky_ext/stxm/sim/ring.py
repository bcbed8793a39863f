"""A storage ring, whose current decays, and the clock that it decays by."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bluesky_ext.sim.check import check_number

__all__ = ["BeamTime", "Ring"]


@dataclass(frozen=True)
class Ring:
    """The current of a storage ring.

    Parameters
    ----------
    full : float
        Current after an injection, in mA.
    lifetime : float
        Time in which it falls to 1/e, in s.
    top_up : float, optional
        Seconds from one injection to the next. Without it there is none: the current decays.
    """

    full: float = 220.0
    lifetime: float = 36_000.0
    top_up: float | None = 180.0

    def __post_init__(self) -> None:
        check_number("full", self.full, above=True)
        check_number("lifetime", self.lifetime, above=True)
        if self.top_up is not None:
            check_number("top_up", self.top_up, above=True)

    def current(self, seconds: float) -> float:
        """Current so long after the first injection, in mA.

        Examples
        --------
        >>> ring = Ring(full=200, lifetime=1000, top_up=100)
        >>> [round(ring.current(t), 1) for t in (0, 50, 100)]
        [200.0, 190.2, 200.0]
        """
        since = seconds if self.top_up is None else seconds % self.top_up
        return self.full * math.exp(-since / self.lifetime)


class BeamTime:
    """The time that exposures have taken: the ring decays by it, and not by the clock on the wall.

    So the same scan gives the same numbers however fast the computer is. Detectors that are triggered together
    expose together: a new exposure begins when one that has had its share is triggered again.
    """

    def __init__(self) -> None:
        self.start = 0.0
        self._end = 0.0
        self._exposing: set[str] = set()

    def expose(self, detector: str, seconds: float) -> float:
        """Start of the exposure of a detector, in s.

        Parameters
        ----------
        detector : str
            Name of the detector.
        seconds : float
            How long it counts.
        """
        if detector in self._exposing:
            self.start = self._end
            self._exposing.clear()
        self._exposing.add(detector)
        self._end = max(self._end, self.start + seconds)
        return self.start
