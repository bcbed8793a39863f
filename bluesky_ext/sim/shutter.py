"""A simulated shutter."""

from __future__ import annotations

from typing import Any

from ophyd import Signal
from ophyd.status import Status

__all__ = ["Shutter"]


class Shutter(Signal):
    """A shutter that is set, and read, as "open" or "closed".

    Also taken: "close", capitals, and 1 or True for open, 0 or False for closed, as shutters of beamlines have
    it. It does not matter which of them is set: what is read is one of the two words.

    Parameters
    ----------
    name : str
        Name of the shutter.
    value : str or int
        State at the start.
    **kwargs
        As for `ophyd.Signal`: kind, parent, labels.
    """

    def __init__(self, *, name: str, value: str | int = "open", kind: Any = "normal", **kwargs: Any) -> None:
        super().__init__(name=name, value=self._state(name, value), kind=kind, **kwargs)

    @property
    def is_open(self) -> bool:
        """Whether the beam passes."""
        return self.get() == "open"

    def put(self, value: str | int, **kwargs: Any) -> None:
        """Open or close, at once.

        Parameters
        ----------
        value : str or int
            The state.
        **kwargs
            As for `ophyd.Signal.put`.
        """
        super().put(self._state(self.name, value), **kwargs)

    def set(self, value: str | int, **kwargs: Any) -> Status:
        """Open or close.

        Parameters
        ----------
        value : str or int
            The state.
        **kwargs
            As for `ophyd.Signal.set`: settle_time, timeout.

        Returns
        -------
        ophyd.status.Status
            Done when the shutter is there.
        """
        # Said in the words that are read back, or the signal waits for ever for what it was set to.
        return super().set(self._state(self.name, value), **kwargs)

    @staticmethod
    def _state(name: str, value: Any) -> str:
        match value.lower() if isinstance(value, str) else value:
            case "open" | 1:
                return "open"
            case "closed" | "close" | 0:
                return "closed"
        raise ValueError(f"{name}: a shutter cannot be set to {value!r}, give 'open' or 'closed'")
