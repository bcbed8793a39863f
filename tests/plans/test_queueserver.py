"""The plans as bluesky-queueserver sees them."""

from __future__ import annotations

import inspect
import typing
from typing import Any

import pytest
from bluesky.utils import MsgGenerator, is_plan
from bluesky_queueserver.manager import profile_ops

import bluesky_ext.plans
from bluesky_ext import stxm
from bluesky_ext.plans import (
    configure_area_det,
    dark_plan,
    dark_run,
    fly_scan_nd,
    grid_scan_axes,
    grid_scan_nd,
    live_view,
    loop_forever,
)
from bluesky_ext.sim import Beamline
from bluesky_ext.stxm import sim
from suitcase_nxstxm import scan_types

OF_STXM = [plan for plan in map(vars(stxm).get, stxm.__all__) if is_plan(plan)]
SCANS = [grid_scan_nd, grid_scan_axes, fly_scan_nd]
PLANS = [*SCANS, configure_area_det, dark_plan, dark_run, live_view, loop_forever, *OF_STXM]


@pytest.mark.parametrize("plan", PLANS)
def test_plans_are_plans_and_describe_themselves(plan):
    assert is_plan(plan)
    hints = typing.get_type_hints(plan)
    assert typing.get_origin(hints["return"]) is typing.get_origin(MsgGenerator[str])
    assert plan not in OF_STXM or hints["return"] == MsgGenerator[str]
    parameters = inspect.signature(plan).parameters
    assert set(hints) == {*parameters, "return"}
    # A queueserver cannot resolve strings.
    assert not [parameter for parameter in parameters.values() if isinstance(parameter.annotation, str)]


def test_md_is_last():
    assert len(OF_STXM) == len(scan_types)
    for plan in (*SCANS, dark_run, live_view, *OF_STXM):
        assert list(inspect.signature(plan).parameters)[-1] == "md"


@pytest.mark.parametrize("plan", PLANS)
def test_queueserver_reads_the_plans(plan):
    processed = profile_ops._process_plan(plan, existing_devices={}, existing_plans={})  # noqa: SLF001
    assert processed["name"] == plan.__name__
    assert processed["description"]
    described = {parameter["name"] for parameter in processed["parameters"] if parameter.get("description")}
    assert described == set(inspect.signature(plan).parameters)


def prepared(namespace: dict[str, Any], name: str, args: list[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """A plan of the queue as it is called: names become devices, wherever a device may stand."""
    plans, devices, plans_in, devices_in = profile_ops.existing_plans_and_devices_from_nspace(nspace=namespace)
    item = {"name": name, "args": args, "kwargs": kwargs, "user_group": "primary"}
    assert profile_ops.validate_plan(item, allowed_plans=plans, allowed_devices=devices) == (True, "")
    return profile_ops.prepare_plan(
        item,
        plans_in_nspace=plans_in,
        devices_in_nspace=devices_in,
        allowed_plans={"primary": plans},
        allowed_devices={"primary": devices},
        nspace=namespace,
    )


@pytest.mark.parametrize("name", ["grid_scan_nd", "fly_scan_nd"])
@pytest.mark.parametrize("single", [True, False])
def test_queueserver_prepares_a_scan(bench: Beamline, name: str, single: bool):
    namespace: dict[str, Any] = {name: getattr(bluesky_ext.plans, name)}
    namespace |= {device.name: device for device in (bench.detector, bench.shutter, bench.y, bench.x)}
    kwargs = {"time_per_point": 0.2, "shutter_open": "open", "shutter_close": 0, "md": {"sample": "LaB6"}}
    plan = prepared(
        namespace,
        name,
        ["dexela" if single else ["dexela"], "sample_y", -1, 1, 2, "sample_x", 0.5, 1, 3],
        {**kwargs, "shutter": "shutter", "snake": single or ["sample_x"]},
    )
    detectors = bench.detector if single else [bench.detector]
    assert plan["args"] == [detectors, bench.y, -1, 1, 2, bench.x, 0.5, 1, 3]
    assert plan["kwargs"] == {**kwargs, "shutter": bench.shutter, "snake": single or [bench.x]}
    assert "save" in [msg.command for msg in plan["callable"](*plan["args"], **plan["kwargs"])]


def test_queueserver_finds_the_endstation_by_its_name():
    s = sim.stxm(seed=3)
    station = stxm.Endstation(s.devices, s.shutter)
    namespace = {"sample_image": stxm.sample_image, "endstation": station, "counter0": s.counter}
    plan = prepared(namespace, "sample_image", [["counter0"], "endstation", -1, 1, 2, -2, 2, 3], {"dwell": 2.0})
    assert plan["args"][:2] == [[s.counter], station]
