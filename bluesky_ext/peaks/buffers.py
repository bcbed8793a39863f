"""The working memory of `locate`, kept between frames."""

from __future__ import annotations

import threading
import weakref

import numpy as np


class Buffers:
    """A float64 and an integer image of one shape, made when first asked for."""

    def __init__(self) -> None:
        self._images: tuple[np.ndarray, np.ndarray] | None = None

    def get(self, shape: tuple[int, ...], dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
        """Uninitialised images of this shape: float64, and the given dtype."""
        images = self._images
        if images is None or images[0].shape != shape or images[1].dtype != dtype:
            self._images = None  # let go of the old ones before there are new ones
            images = self._images = (np.empty(shape), np.empty(shape, dtype))
        return images

    def release(self) -> None:
        """Let go of the images; a frame that is being worked on keeps its own to the end."""
        self._images = None


# Fresh memory costs a page fault every few kilobytes, a fifth of the time of a frame. So every thread keeps
# the images of the last shape it saw, and no others; they go when the thread ends, or by release_buffers.
_of_thread = threading.local()
_all: weakref.WeakSet[Buffers] = weakref.WeakSet()
_lock = threading.Lock()


def thread_buffers() -> Buffers:
    """Buffers of the calling thread."""
    try:
        return _of_thread.buffers
    except AttributeError:
        buffers = _of_thread.buffers = Buffers()
        with _lock:
            _all.add(buffers)
        return buffers


def release_buffers() -> None:
    """Free the memory that `locate` keeps in every thread: 9 to 12 bytes a pixel of the last frame."""
    with _lock:
        kept = list(_all)
    for buffers in kept:
        buffers.release()
