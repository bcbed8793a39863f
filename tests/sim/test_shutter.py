from __future__ import annotations

from typing import Any

import bluesky.plan_stubs as bps
import numpy as np
import pytest
from bluesky import RunEngine

from bluesky_ext.sim import Shutter


@pytest.mark.parametrize("value", ["open", "Open", 1, True, 1.0, np.int64(1)])
def test_open(value: str | int):
    shutter = Shutter(name="shutter", value="closed")
    shutter.set(value).wait(10)
    assert shutter.get() == "open"
    assert shutter.is_open


@pytest.mark.parametrize("value", ["closed", "close", "CLOSE", 0, False, np.int64(0)])
def test_closed(value: str | int):
    shutter = Shutter(name="shutter")
    assert shutter.is_open
    shutter.put(value)
    assert shutter.get() == "closed"
    assert not shutter.is_open


@pytest.mark.parametrize("value", ["ajar", 2, None, [1]])
def test_anything_else_is_refused_where_it_is_said(value: object):
    shutter = Shutter(name="shutter")
    with pytest.raises(ValueError, match=r"^shutter: a shutter cannot be set to .*, give 'open' or 'closed'$"):
        shutter.set(value)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="cannot be set to"):
        shutter.put(value)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="cannot be set to"):
        Shutter(name="shutter", value=value)  # pyright: ignore[reportArgumentType]
    assert shutter.is_open


def test_a_plan_sets_and_reads_it(run_engine: RunEngine):
    shutter: Any = Shutter(name="shutter")
    states = []

    def plan():
        for value in (0, "Open", "close"):
            yield from bps.mv(shutter, value)
            states.append((yield from bps.rd(shutter)))

    run_engine(plan())
    assert states == ["closed", "open", "closed"]
    assert shutter.describe() == {"shutter": {"source": "SIM:shutter", "dtype": "string", "shape": []}}
    assert shutter.hints == {"fields": []}
