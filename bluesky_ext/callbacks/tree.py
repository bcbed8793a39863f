"""Trees that reduces publish: NeXus groups as dicts, whose attributes say what to plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr


def entry(start: Mapping[str, Any], default: str, **groups: Any) -> dict[str, Any]:
    """The NXentry of a run: which scan it is of, and its groups; ``default`` is the one to plot."""
    uid = start.get("original_run_uid", start.get("uid", ""))
    attributes = {"NX_class": "NXentry", "default": default if default in groups else ""}
    return {"_attrs": attributes, "original_run_uid": uid, "scan_id": start.get("scan_id", -1), **groups}


def nxdata(signal: str, axes: Sequence[str], arrays: Mapping[str, Any]) -> dict[str, Any]:
    """An NXdata: the signal among some arrays, and which of them are its axes, one for each of its dimensions."""
    return {"_attrs": {"NX_class": "NXdata", "signal": signal, "axes": list(axes)}, **arrays}


def nxdata_of(dataset: xr.Dataset, signal: str) -> dict[str, Any]:
    """The NXdata of a variable of a dataset, with its coordinates, and the variables that lie along its first axis."""
    variable = dataset[signal]
    axes = [str(name) for name in variable.dims]
    arrays: dict[str, Any] = {name: np.arange(dataset.sizes[name]) for name in axes}
    for name, coordinate in variable.coords.items():
        arrays[str(name)] = coordinate.to_numpy()
        if coordinate.attrs:
            arrays[f"{name}_attrs"] = dict(coordinate.attrs)
    arrays |= {str(name): one.to_numpy() for name, one in dataset.items() if one.dims == variable.dims[:1]}
    return nxdata(signal, axes, {**arrays, signal: variable.to_numpy()})
