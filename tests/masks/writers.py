"""What other processes do to a registry in these tests; they import it from here."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bluesky_ext.masks import MaskClient, MaskExists

SHAPE = (3, 8)
DETECTORS = {"det": SHAPE}


def content(number: int) -> np.ndarray:
    """A mask that tells who made it: its second row is the number in bits."""
    mask = np.ones(SHAPE, bool)
    mask[1] = [bool(number >> bit & 1) for bit in range(SHAPE[1])]
    return mask


def number_of(mask: np.ndarray) -> int:
    """Who made it."""
    return sum(1 << bit for bit in range(SHAPE[1]) if mask[1, bit])


def open_registry(where: str, api_key: str | None) -> MaskClient:
    return MaskClient.open(where, api_key=api_key, detector_shapes=DETECTORS)


class Place(NamedTuple):
    """A catalogue: where it is, its key, and the directory of its files."""

    where: str
    api_key: str | None
    data: Path

    def open(self) -> MaskClient:
        return open_registry(self.where, self.api_key)

    def arrays(self) -> list[str]:
        """The arrays whose files are there, by their keys."""
        return sorted(path.name for path in self.data.iterdir()) if self.data.exists() else []


def attempt(masks: MaskClient, number: int, name: str, version: Any = 0) -> str | None:
    """Register; the uid, or None where another one was first."""
    try:
        return masks.register_mask("det", name, content(number), version)
    except MaskExists:
        return None


def race(where: str, api_key: str | None, number: int, rounds: int, barrier: Any, answers: Any) -> None:
    """Register one mask a round, at the same time as others."""
    with open_registry(where, api_key) as masks:
        for at in range(rounds):
            barrier.wait(60)
            answers.put((at, number, attempt(masks, number, f"round {at}")))


def die_after(where: str, api_key: str | None, requests: int, version: Any) -> None:
    """Register a mask, and be killed when so many requests that change something were answered."""
    import httpx

    masks = open_registry(where, api_key)
    lock, count = threading.Lock(), 0
    send = httpx.Client.send

    def counted(self: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        nonlocal count
        response = send(self, request, **options)
        with lock:
            count += request.method != "GET"
            if count == requests:
                os.kill(os.getpid(), signal.SIGKILL)
        return response

    httpx.Client.send = counted
    masks.register_mask("det", "crashed", content(7), version)
