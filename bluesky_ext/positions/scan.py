"""What the metadata of a scan, its start document, say of its points."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bluesky_ext.positions.planned import Planned

#: Patterns whose metadata name the motor along x first.
_X_FIRST = ("spiral", "spiral_fermat")


def motors_of(start: Mapping[str, Any]) -> list[str]:
    """The motors of a scan, slowest first, or their readings where only these are told; empty without motors.

    The start document may be that of a run derived from the scan, however many stages lie between.
    """
    for said in _sayings(start):
        motors = [str(motor) for motor in np.atleast_1d(said.get("motors", ()))]
        hints = said.get("hints")
        dimensions = hints.get("dimensions", ()) if isinstance(hints, Mapping) else ()
        fields = [[str(field) for field in np.atleast_1d(fields)] for fields, _ in dimensions]
        if fields == [["time"]]:
            fields = []
        if fields and len(motors) in (0, len(fields)):  # the motors of a cycler are in no order
            axes = [names[0] for names in fields if names]
            if start.get("plan_pattern") in _X_FIRST:
                return axes[::-1]
            return sorted(axes) if start.get("plan_name") == "scan_nd" else axes
        if motors or fields:
            return motors or [name for names in fields for name in names]
    return []


def setpoint_of(motor: str, keys: Collection[str]) -> str | None:
    """Which of these readings is that of where a motor was sent, as ophyd calls it; None if there is none."""
    return next((key for key in (f"{motor}_user_setpoint", f"{motor}_setpoint") if key in keys), None)


def planned_by(
    start: Mapping[str, Any],
    shape: Sequence[int] | None = None,
    extents: Sequence[Sequence[float]] | None = None,
    snaking: Sequence[bool] | None = None,
) -> Planned | None:
    """The grid that a start document describes, if it does; what is given comes before what it says.

    Raises
    ------
    ValueError
        If it makes no sense.
    """
    axes = start.get("shape") if shape is None else shape
    if axes is None:
        return None
    axes = np.atleast_1d(np.asarray(axes, object)).tolist()
    told = {"extents": start.get("extents"), "snaking": start.get("snaking")}
    if told["extents"] is not None:  # an attribute of a NetCDF file has but one axis
        told["extents"] = np.reshape(np.asarray(told["extents"], float), (-1, 2))
    if told["snaking"] is not None:
        told["snaking"] = np.atleast_1d(told["snaking"]).astype(bool).tolist()
    if shape is not None:  # what is told of a scan of so many axes may be of this one, and else of none that is meant
        told = {name: said for name, said in told.items() if said is not None and len(said) == len(axes)}
    return Planned(
        axes,
        told.get("extents") if extents is None else extents,
        told.get("snaking") if snaking is None else snaking,
        is_relative=str(start.get("plan_name", "")).startswith(("rel_", "relative_")),
    )


def _sayings(start: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The start document, and what it keeps of those of the runs that it is derived from, the nearest first."""
    yield start
    analysis = start.get("analysis")
    if isinstance(analysis, Mapping) and "parent_run_uid" in analysis:
        for step in (analysis, *reversed(analysis.get("upstream", ()))):
            yield step.get("objects", {})
