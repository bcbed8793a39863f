"""The sum of the spectra of a scan, and the spectra themselves, as far as they are kept."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

_BLOCK = 256
#: So many of the latest spectra are known even where there is no room for more.
LATEST = 16


class SpectrumSum:
    """The sum of spectra of one length, each of which may come again and is replaced then.

    What is NaN in a spectrum adds nothing to the sum.

    The spectra that come first are kept as float32, in which counts up to 16 million are exact, as long as there is
    room for them; and some of the latest.

    Parameters
    ----------
    n_channels : int
        The length of a spectrum.
    room : int
        How many bytes the spectra may take.
    """

    def __init__(self, n_channels: int, room: int) -> None:
        self.total = np.zeros(n_channels)
        #: The frames that came again when their spectrum was no longer known, so that the sum has both.
        self.twice: set[int] = set()
        self._n_kept = max(0, room // (4 * max(n_channels, 1)))
        self._rows: dict[int, int] = {}
        self._frames: set[int] = set()
        self._blocks: list[np.ndarray] = []
        self._latest: OrderedDict[int, np.ndarray] = OrderedDict()

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def latest(self) -> int:
        """The number of the spectrum that came last."""
        return next(reversed(self._latest))

    def put(self, frame: int, spectrum: np.ndarray) -> None:
        """Take a spectrum, for the first time or again."""
        if spectrum.shape != self.total.shape:
            raise ValueError(f"a spectrum has shape {spectrum.shape}, and those before it {self.total.shape}")
        if frame in self._frames:
            try:
                self.total -= _measured(self[frame])
            except LookupError:
                self.twice.add(frame)
        self._frames.add(frame)
        self.total += _measured(spectrum)
        self._latest.pop(frame, None)
        self._latest[frame] = spectrum
        if len(self._latest) > LATEST:
            self._latest.popitem(last=False)
        row = self._rows.get(frame, len(self._rows))
        if row >= self._n_kept:
            return
        self._rows[frame] = row
        if row >= _BLOCK * len(self._blocks):
            self._blocks.append(np.empty((_BLOCK, len(self.total)), np.float32))
        self._blocks[row // _BLOCK][row % _BLOCK] = spectrum

    def __getitem__(self, frame: int) -> np.ndarray:
        if frame in self._latest:
            return self._latest[frame]
        if frame in self._rows:
            row = self._rows[frame]
            return self._blocks[row // _BLOCK][row % _BLOCK].astype(float)
        if frame in self._frames:
            raise LookupError(
                f"the spectrum of event {frame} is not kept: the first {self._n_kept} are, and the latest"
            )
        raise LookupError(f"there is no spectrum of event {frame}, but {len(self._frames)} others")


def _measured(spectrum: np.ndarray) -> np.ndarray:
    """A spectrum with 0 where it is NaN; most are nowhere."""
    return np.where(np.isnan(spectrum), 0.0, spectrum) if np.isnan(spectrum.sum()) else spectrum
