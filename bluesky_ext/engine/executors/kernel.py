"""Kernels: functions of an event's data, some of which have a state that they are told of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Kernel = Callable[..., Any]

#: The methods of a kernel with a state, each called with a document: what it is told of its run.
TOLD = ("start", "descriptor", "parameters", "stop")


def perform(kernel: Kernel, data: Mapping[str, Any], seq_num: int, inputs: tuple = ()) -> Any:
    """The kernel's result for one event; what is only referred to (a frame in a file, a shared array) is read here."""
    for value in data.values():
        if hasattr(value, "read"):
            data = {key: item.read() if hasattr(item, "read") else item for key, item in data.items()}
            break
    return kernel(data, seq_num, *(item.read() if hasattr(item, "read") else item for item in inputs))


def hears(kernel: Kernel, *names: str) -> bool:
    """Whether a kernel, or one of those that it is composed of, has a method of such a name to be told by."""
    return any(callable(getattr(part, name, None)) for part in _parts(kernel) for name in names)


class StatefulKernel:
    """A run's own copy of a kernel with a state.

    Its events fail after it failed when it was told of the run: its results can't be trusted then. Parameters that
    are wrong are forgotten with the next that are right.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._trouble: dict[str, str] = {}

    def tell(self, name: str, doc: Mapping[str, Any]) -> None:
        """Tell the kernel of its run, by its method of this name."""
        try:
            for part in _parts(self._kernel):
                if callable(listener := getattr(part, name, None)):
                    listener(doc)
        except Exception as error:
            self._trouble[name] = f"{type(error).__name__}: {error}"
            raise
        if name == "parameters":
            self._trouble.pop(name, None)

    def __call__(self, data: Mapping[str, Any], seq_num: int, *inputs: Any) -> Any:
        """The kernel's result for one event."""
        for trouble in self._trouble.values():
            # A new error for each event: an exception holds the frames that it passed through, and their images.
            raise RuntimeError(f"its kernel failed when it was told of the run: {trouble}")
        return self._kernel(data, seq_num, *inputs)


def _parts(kernel: Kernel) -> list[Kernel]:
    """The kernels that a composed one is made of; of any other, itself."""
    parts = getattr(kernel, "kernels", None)
    return [kernel] if parts is None else [part for one in parts for part in _parts(one)]
