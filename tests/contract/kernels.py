"""Kernels of these tests that processes can import."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np


def die_at_three(data, seq_num):
    """Take the worker along at event 3."""
    if seq_num == 3:
        os._exit(1)
    return {"number": seq_num}


class Counting:
    """A kernel with state, which it has from what it is told; it dies at event 3, once."""

    def __init__(self):
        self.heard = []
        self.scale = 1

    def start(self, doc):
        self.heard.append("start")

    def descriptor(self, doc):
        self.heard.append(doc["name"])

    def parameters(self, doc):
        self.scale = doc["scale"]

    def stop(self, doc):
        self.heard.append("stop")

    def __call__(self, data, seq_num):
        marker = Path(data["marker"])
        if seq_num == 3 and not marker.exists():
            marker.touch()
            os._exit(1)
        return {"heard": ",".join(self.heard), "where": os.getpid(), "result": seq_num * self.scale}


def minus(data, seq_num, dark):
    """The first pixel of the input."""
    return {"first": float(dark[0])}


class Keeping:
    """A kernel that keeps the first image it is given."""

    def __init__(self):
        self.image = None

    def __call__(self, data, seq_num):
        if self.image is None:
            self.image = data["det_image"]
        return {"first": float(self.image[0, 0])}


class Loaded:
    """A kernel that knows how often it was pickled here, and loaded where it works."""

    pickled = 0
    loads = 0

    def __init__(self, image):
        self.image = image

    def __getstate__(self):
        Loaded.pickled += 1
        return self.__dict__

    def __setstate__(self, state):
        Loaded.loads += 1
        self.__dict__ = state

    def __call__(self, data, seq_num):
        return {"loads": Loaded.loads}


class WhereRead:
    """A handler of images that writes down, beside its file, which process read."""

    def __init__(self, path):
        self.path = path

    def __call__(self, number):
        with open(f"{self.path}.pids", "a") as file:
            file.write(f"{os.getpid()}\n")
        return np.full((64, 64), 100, np.uint16)


def die_once(data, seq_num):
    """Kill the worker at event 3, unless the file says that this has happened."""
    marker = Path(data["marker"])
    if seq_num == 3 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"number": seq_num}
