"""Images and tables that several tests look at."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest


def draw_spots(shape, centres, height, width, background=0.0):
    """Gaussian spots on a flat background, float64."""
    y, x = np.indices(shape)
    image = np.full(shape, float(background))
    for cy, cx in centres:
        image += height * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * width**2))
    return image


@pytest.fixture
def spots() -> Callable[..., np.ndarray]:
    return draw_spots


@pytest.fixture
def detector_image() -> Callable[..., np.ndarray]:
    """A detector's image: background, noise and Bragg spots of many heights, float64 and not negative."""

    def image(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        ny, nx = shape
        pixels = rng.normal(5.0, 3.0, shape)
        for _ in range(max(4, ny * nx // 15000)):
            y, x = rng.integers(12, ny - 12), rng.integers(12, nx - 12)
            spot = draw_spots((25, 25), [(12, 12)], rng.uniform(20, 1000), rng.uniform(2, 4))
            pixels[y - 12 : y + 13, x - 12 : x + 13] += spot
        return np.clip(pixels, 0, None)

    return image
