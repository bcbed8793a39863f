"""Attempts to read masks from a registry that may be gone, or frozen."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from bluesky_ext.masks.errors import MaskDamaged

T = TypeVar("T")

#: So long a run waits for a sign of life of a registry on a server, in s, and for each so many bytes of a mask.
PATIENCE, BYTES = 2.0, 10e6
#: After a failure a registry is asked again so often, in s.
PAUSE = 5.0


class Attempt(Generic[T]):
    """A function in a thread of its own, which is called again until it succeeds or its owner is gone.

    Parameters
    ----------
    owner : object
        What the function is a method of; it is not kept alive.
    function : callable
        Called with the owner and this attempt, whose `alive` it calls whenever the registry has answered.
    """

    def __init__(self, owner: Any, function: Callable[[Any, Attempt[T]], T]) -> None:
        self._owner, self._function = weakref.ref(owner), function
        self._changed = threading.Condition()
        self._deadline = time.monotonic() + PATIENCE
        self._result: tuple[T] | None = None
        self.error: Exception | None = None
        threading.Thread(target=self._run, name="masks of a registry", daemon=True).start()

    def alive(self, n_bytes: int = 0) -> None:
        """Wait for it longer: it has answered, and so many bytes come next."""
        with self._changed:
            self._deadline = time.monotonic() + PATIENCE + n_bytes / BYTES

    @property
    def ended(self) -> bool:
        """Whether it has a result, or an error that will not go away."""
        return self._result is not None or (self.error is not None and not is_outage(self.error))

    def wait(self) -> T | None:
        """The result, as soon as it is there; None if there is none yet and an error, or no sign of life for too long.

        Who waited in vain once is not made to wait again.
        """
        with self._changed:
            while self._result is None and self.error is None:
                left = self._deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            return None if self._result is None else self._result[0]

    def _run(self) -> None:
        while (owner := self._owner()) is not None:
            try:
                result = self._function(owner, self)
            except Exception as error:  # of any kind: it is what the run is told
                del owner
                with self._changed:
                    self.error = error
                    self._changed.notify_all()
                if not is_outage(error):
                    return
                time.sleep(PAUSE)
            else:
                with self._changed:
                    self._result = (result,)
                    self._changed.notify_all()
                return


def is_outage(error: Exception | None) -> bool:
    """Whether this says that a registry is not there, and not that something is wrong with a mask."""
    return isinstance(error, OSError) and not isinstance(error, MaskDamaged)
