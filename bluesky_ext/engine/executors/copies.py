"""A lane's copies of kernels, one for each open run: what its worker does when it is asked to.

Every call has a number that makes it different from all others, since dask takes equal calls for one.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from bluesky_ext.engine.executors.tasks import Kernel, perform


class _Copy:
    """A kernel that does one thing at a time, also where the worker has several threads."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.lock = threading.Lock()


_copies: dict[str, _Copy] = {}


def place(copy: str, number: int, kernel: Kernel) -> None:
    """Take a run's kernel in."""
    _copies[copy] = _Copy(kernel)


def hear(copy: str, number: int, name: str, doc: Mapping[str, Any]) -> None:
    """Let the kernel hear a document of its run."""
    there = _copies[copy]
    listener = getattr(there.kernel, name, None)
    if listener is not None:
        with there.lock:
            listener(doc)


def work(copy: str, number: int, data: Mapping[str, Any], seq_num: int, inputs: tuple) -> Any:
    """The kernel's result for one event."""
    there = _copies[copy]
    with there.lock:
        return perform(there.kernel, data, seq_num, inputs)


def leave(copy: str, number: int) -> None:
    """Forget a run's kernel."""
    _copies.pop(copy, None)
