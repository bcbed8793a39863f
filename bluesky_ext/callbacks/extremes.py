"""The darkest and the brightest that each pixel of a run has been."""

from __future__ import annotations

import numpy as np


class Extremes:
    """Minimum and maximum of the images of a run, pixel by pixel; NaN is not measured.

    The latest image is held back until another one comes, because a minimum cannot be taken back: when the RunEngine
    resumes, it is nearly always the latest event alone that it says again.

    Attributes
    ----------
    stale : bool
        Whether an image is in them that was taken back.
    """

    def __init__(self) -> None:
        self.stale = False
        self._dark: np.ndarray | None = None
        self._light: np.ndarray | None = None
        self._folded: set[int] = set()
        self._held: tuple[int, np.ndarray] | None = None

    @property
    def frames(self) -> list[int]:
        """The seq_nums of the images, in order."""
        held = self._held
        return sorted(self._folded if held is None else self._folded | {held[0]})

    def add(self, seq_num: int, image: np.ndarray) -> None:
        """Take in an image, (ny, nx) float64; it belongs to the extremes from now on."""
        held, self._held = self._held, (seq_num, image)
        if held is None:
            return
        self._folded.add(held[0])
        if self._dark is None or self._light is None:
            self._dark, self._light = held[1].copy(), held[1]
        else:
            np.fmin(self._dark, held[1], out=self._dark)
            np.fmax(self._light, held[1], out=self._light)

    def retract(self, seq_num: int) -> None:
        """Take back the image of this number, if there is one and it is the latest; or become stale."""
        if self._held is not None and self._held[0] == seq_num:
            self._held = None
        self.stale = self.stale or seq_num in self._folded

    def images(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Minimum and maximum, dark and light, new arrays of (ny, nx) float64; None before the first image."""
        dark, light, held = self._dark, self._light, self._held
        if held is None:
            return None if dark is None or light is None else (dark.copy(), light.copy())
        if dark is None or light is None:
            return held[1].copy(), held[1].copy()
        return np.fmin(dark, held[1]), np.fmax(light, held[1])
