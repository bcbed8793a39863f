"""Trees that reduces publish: NeXus groups as dicts, whose attributes say what to plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bluesky_ext.peaks.table import UNITS


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
    along = {name: one for name, one in dataset.items() if one.dims == variable.dims[:1]}
    for name, one in {**variable.coords, **along}.items():
        arrays[str(name)] = one.to_numpy()
        if one.attrs:
            arrays[f"{name}_attrs"] = dict(one.attrs)
    return nxdata(signal, axes, {**arrays, signal: variable.to_numpy()})


def nxdata_of_peaks(peaks: pd.DataFrame) -> dict[str, Any]:
    """The NXdata of a table with a row a peak: y over x, and beside them what else is known."""
    axes = [name for name in ("y", "x") if name in peaks] or [str(name) for name in peaks.columns[:1]]
    arrays: dict[str, Any] = {str(name): peaks[name].to_numpy() for name in peaks}
    arrays |= {f"{name}_attrs": {"units": UNITS[name]} for name in UNITS if name in peaks}
    return nxdata(axes[0], axes[1:], arrays)
