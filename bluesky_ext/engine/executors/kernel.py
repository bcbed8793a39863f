"""Kernels: functions of an event's data, some of which have a state that they are told of."""

from __future__ import annotations

import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from typing import Any

from bluesky_ext.engine.executors.shared import SharedArray

Kernel = Callable[..., Any]

#: The methods of a kernel with a state, each called with a document: what it is told of its run.
TOLD = ("start", "descriptor", "parameters", "stop")

#: What a kernel is told of its run, each as a number of its own, the name of the method, and the document.
News = tuple[tuple[int, str, Mapping[str, Any]], ...]

_numbers = count()


def perform(kernel: Kernel, data: Mapping[str, Any], seq_num: int, inputs: tuple = ()) -> Any:
    """The kernel's result for one event; what is only referred to (a frame in a file, a shared array) is read here.

    A kernel with ``takes_blocks`` is given what is in files and more than a block in blocks, and reads each by itself,
    by `image_blocks`; what it returns in blocks is read here.
    """
    for key, value in data.items():
        if hasattr(value, "read"):
            blocks = value.blocks() if hasattr(value, "blocks") and _takes_blocks(kernel) else ()
            data = {**data, key: blocks if len(blocks) > 1 else value.read()}
    result = kernel(data, seq_num, *(inputs and [item.read() if hasattr(item, "read") else item for item in inputs]))
    if isinstance(result, dict):
        for key, value in result.items():
            if hasattr(value, "read"):
                result = {**result, key: value.read()}
    return result


def hears(kernel: Kernel, *names: str) -> bool:
    """Whether a kernel, or one of those that it is composed of, has a method of such a name to be told by."""
    return any(callable(getattr(part, name, None)) for part in _parts(kernel) for name in names)


def news(name: str, doc: Mapping[str, Any], earlier: News = ()) -> News:
    """What a kernel has to know when it hears this: new parameters take the place of those before them."""
    return (*(item for item in earlier if (item[1], name) != ("parameters", "parameters")), (next(_numbers), name, doc))


class StatefulKernel:
    """A run's own copy of a kernel with a state.

    What it must know comes with each event. Its events fail after it failed when it was told: its results can't be
    trusted then. Parameters that are wrong are forgotten with the next that are right.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._lock = threading.Lock()  # one thing at a time, also in a worker that has several threads
        self._known: dict[int | str, int] = {}
        self._trouble: dict[int | str, str] = {}

    def work(self, told: News, call: tuple | None = None) -> Any:
        """The kernel's result for an event, when it has heard what it does not know yet; without one, it only hears."""
        with self._lock:
            trouble = self._hear(told)
            # A new error for each event: an exception holds the frames that it passed through, and their images.
            for text in trouble if call is None else self._trouble.values():
                raise RuntimeError(text)
            return None if call is None else perform(self._kernel, *call)

    def _hear(self, told: News) -> list[str]:
        trouble = []
        for number, name, doc in told:
            key = name if name == "parameters" else number
            if self._known.get(key) == number:
                continue
            self._known[key] = number
            self._trouble.pop(key, None)
            try:
                for part in _parts(self._kernel):
                    if callable(listener := getattr(part, name, None)):
                        listener(doc)
            except Exception as error:
                self._trouble[key] = f"the kernel's {name} failed: {type(error).__name__}: {error}"
                trouble.append(self._trouble[key])
        return trouble


def _parts(kernel: Kernel) -> Iterable[Kernel]:
    """The kernels that a composed one is made of; of any other, itself."""
    parts = getattr(kernel, "kernels", None)
    return [kernel] if parts is None else [part for one in parts for part in _parts(one)]


def _takes_blocks(kernel: Kernel) -> bool:
    return all(getattr(part, "takes_blocks", False) for part in _parts(kernel))


# What a worker does that does not share our memory


class Unknown:
    """A worker's answer to a kernel that it has not met."""


_met: OrderedDict[str, Any] = OrderedDict()  # the kernels that the worker has worked with last
#: So many are kept of those that know nothing of a run, and of those that do, which are those of the open runs.
_PLAIN, _STATEFUL = 8, 64
_lock = threading.Lock()  # the worker of a cluster may have several threads


def perform_there(token: str, sent: Any, told: News | None, call: tuple | None) -> Any:
    """Do a task in a worker that may not have its kernel yet.

    It is ``sent`` the kernel, its pickle, where that lies in shared memory, or None if it should know it by its token;
    ``told`` is what a kernel with a state is to know.
    """
    with _lock:
        kernel: Any = _met.pop(token, None)
        if kernel is None:
            if sent is None:
                return Unknown()
            if isinstance(sent, SharedArray):  # its directory is ours alone, as the pipe is by which tasks come
                sent = sent.read().tobytes()
            sent = pickle.loads(sent) if isinstance(sent, bytes) else sent
            kernel = sent if told is None else StatefulKernel(sent)
            alike = [key for key, one in _met.items() if isinstance(one, StatefulKernel) is (told is not None)]
            if len(alike) >= (_PLAIN if told is None else _STATEFUL):  # the one not met for longest goes
                del _met[alike[0]]
        if not told or told[-1][1] != "stop":
            _met[token] = kernel
    return perform(kernel, *call or ()) if told is None else kernel.work(told, call)
