"""Kernels of these tests that processes can import."""

from __future__ import annotations

import os
from pathlib import Path


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
