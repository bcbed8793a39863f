"""What all tests need."""

from __future__ import annotations

import pytest

from bluesky_ext import images, peaks


def pytest_sessionstart(session: pytest.Session) -> None:
    """Have the kernels compiled, which on a new machine takes longer than a test may."""
    images.warm_up()
    peaks.warm_up(mask=True)
