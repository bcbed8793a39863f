from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import numpy as np
import pytest


@pytest.fixture
def render() -> Callable[..., np.ndarray]:
    """What makes the pixels of a PNG from a figure, (rows, columns, rgb) uint8, the highest row first."""
    from matplotlib.image import imread

    def rendered(figure):
        png = io.BytesIO()
        figure.savefig(png, dpi=figure.dpi)
        png.seek(0)
        return (imread(png)[..., :3] * 255).round().astype(np.uint8)

    return rendered


@pytest.fixture(autouse=True)
def pyplot_knows_of_nothing() -> Iterator[None]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield
    assert pyplot.get_fignums() == []
