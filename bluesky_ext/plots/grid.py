"""Readings of a scan where its motors were: events in, arrays with the axes of the scan out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike

from bluesky_ext.positions import lay_out, motors_of, planned_by, setpoint_of
from bluesky_ext.storage.datasets import read
from bluesky_ext.storage.stored import is_run

log = logging.getLogger(__name__)

SEQ_NUM = "seq_num"

# No dimension that comes in is called so: the events of a dataset may be along "time", as may an axis of the scan.
EVENT = "(event)"


def reshape(
    data: Any,
    key: str,
    *,
    stream: str = "primary",
    metadata: Mapping[str, Any] | None = None,
    motors: Sequence[str] | None = None,
    shape: Sequence[int] | None = None,
    extents: Sequence[Sequence[float]] | None = None,
    snaking: Sequence[bool] | None = None,
    seq_num: str | ArrayLike | None = None,
) -> xr.DataArray:
    """Readings of a scan where its motors were: on their grid, (*shape, *shape of a reading), the slowest axis first.

    Points that make no grid have one axis, ``point``, with the positions along it. Where the data has no positions, the
    points are where they were planned. What is given comes before what the start document says. Lazy (dask) arrays stay
    lazy.

    Parameters
    ----------
    data : run, xarray.Dataset, pandas.DataFrame or mapping of arrays
        A run as a catalogue or a database gives it for its uid, or whatever else `bluesky_ext.as_source` takes: of it
        are read the scalars and the reading. Or one event after the other: of a dataset, along the first dimension of
        the reading. A reading may be an image; in a table, a cell that holds an array.
    key : str
        Which reading.
    stream : str
        Which stream of a run.
    metadata : mapping, optional
        The start document, or ``{"start": ...}``. By default the ``attrs`` of the data.
    motors : sequence of str, optional
        The readings of the motors, the slowest first. By default those that the start document names.
    shape : sequence of int, optional
        Number of points that were planned along each axis of the scan, the slowest first.
    extents : sequence of pairs of float, optional
        First and last position along each axis. Without them axes whose positions are not in the data have none.
    snaking : sequence of bool, optional
        Whether an axis is run through forwards and backwards in turn. For the first axis, which is run through
        once, it makes no difference.
    seq_num : str or array of int, optional
        Number of each event in the scan, from 1, or the name of the reading that has it. By default
        ``data["seq_num"]``; if there is none, the events are taken to be the first of the scan, none of them missing.
        Of events with the same number, as a resumed scan has them, the last counts.

    Returns
    -------
    xarray.DataArray
        NaN (NaT for times) where there is no event, as in a scan that was aborted: integers become floats then.
        Its attrs are those of the reading.

    Raises
    ------
    ValueError
        If the description of the scan doesn't fit together, or the data doesn't have what is asked for.
    LookupError
        If the run has no such stream.

    Examples
    --------
    >>> reshape({"current": [1, 2, 3, 4]}, "current", shape=(2, 2), snaking=(False, True)).values
    array([[1, 2],
           [4, 3]])
    """
    if is_run(data) or not isinstance(data, Mapping | pd.DataFrame):
        data = read(data, streams=[stream], arrays=[key])[stream]
    given = getattr(data, "attrs", {}) if metadata is None else metadata
    start = given.get("start", given)
    planned = planned_by(start, shape, extents, snaking)
    if motors is not None and shape is None and list(motors) != motors_of(start):
        planned = None  # what is told is of other axes, or of another order
    events = _events(data, key)
    numbers, from_the_end = np.unique(_numbers(data, seq_num, len(events))[::-1], return_index=True)
    last = len(events) - 1 - from_the_end  # the last event of each number, the numbers in order

    names = motors_of(start) if motors is None else list(motors)
    absent = [name for name in motors or () if name not in data]
    if absent:
        raise ValueError(f"motors={motors!r}: the data has no {absent[0]!r}, only {list(data)}")
    keys = {key for key in map(str, data) if np.shape(data[key]) == (len(events),)}
    readings = {name: np.asarray(data[name], float)[last] for name in names if name in keys}
    setpoints = {name: np.asarray(data[sent], float)[last] for name in names if (sent := setpoint_of(name, keys))}
    if not readings and planned is None and (names or not start):
        raise ValueError("nothing says where the points were: give motors=, shape=, or the start document as metadata=")
    layout = lay_out(numbers, readings, planned, setpoints, names=names).clear_of(set(map(str, events.dims)))
    if layout.warning:
        if not readings:
            raise ValueError(layout.warning)
        log.warning("scan %s: %s", start.get("scan_id", start.get("uid", "")), layout.warning)

    places = np.full(layout.n_cells, -1)
    places[layout.cells] = last[np.isin(numbers, layout.frames)]
    places = places.reshape(layout.shape)
    if (places < 0).any() and events.dtype == bool:
        events = events.astype(float)
    events = events.drop_vars({*layout.dims, *layout.coords}.intersection(events.coords))
    if len(events):
        grid = events.isel({EVENT: xr.DataArray(places, dims=layout.dims)})
        if (places < 0).any():
            grid = grid.where(xr.DataArray(places >= 0, dims=layout.dims))
    else:
        empty = (*layout.shape, *events.shape[1:])
        grid = xr.DataArray(np.full(empty, np.nan), dims=(*layout.dims, *events.dims[1:]), name=events.name)
    units = {name: unit for name in readings if (unit := getattr(data[name], "attrs", {}).get("units"))}
    return grid.assign_coords(replace(layout, units=units).coordinates()).assign_attrs(events.attrs)


def _events(data: Any, key: str) -> xr.DataArray:
    """One reading of all events, along EVENT, without the coordinates of the events."""
    if key not in data:
        raise ValueError(f"the data has no {key!r}, only {list(data)}")
    if isinstance(data, xr.Dataset):
        reading = data[key]
        if not reading.ndim:
            raise ValueError(f"{key!r} is a single value: it has no events along it")
        event = reading.dims[0]
        kept = {name: coord for name, coord in reading.coords.items() if event not in coord.dims}
        return xr.DataArray(reading.data, kept, (EVENT, *reading.dims[1:]), reading.name, reading.attrs)
    values = np.asarray(data[key])
    if values.dtype == object and len(values) and isinstance(values[0], np.ndarray):
        shapes = {np.shape(value) for value in values}
        if len(shapes) > 1:
            raise ValueError(f"{key!r} has arrays of different shapes, {sorted(shapes)}: they make no grid")
        values = np.stack(list(values))
    if not values.ndim:
        raise ValueError(f"{key!r} is a single value: it has no events along it")
    return xr.DataArray(values, dims=(EVENT, *(f"{key}_dim_{axis}" for axis in range(1, values.ndim))), name=key)


def _numbers(data: Any, seq_num: Any, count: int) -> np.ndarray:
    """Number of each event in the scan, from 1: (count,) int64."""
    if seq_num is None and SEQ_NUM in data:
        seq_num = SEQ_NUM
    if seq_num is None:
        return np.arange(1, count + 1)
    if isinstance(seq_num, str):
        if seq_num not in data:
            raise ValueError(f"seq_num={seq_num!r} is not in the data, which has only {list(data)}")
        seq_num = data[seq_num]
    numbers = np.asarray(seq_num)
    if numbers.shape != (count,):
        raise ValueError(f"seq_num has shape {numbers.shape} where there are {count} events: give one for each")
    wrong = ~((numbers >= 1) & (numbers == np.floor(numbers)))
    if wrong.any():
        raise ValueError(f"seq_num {numbers[wrong][0]} is no number of an event, which are counted from 1")
    return numbers.astype(np.int64)
