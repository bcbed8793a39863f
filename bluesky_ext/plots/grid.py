"""The grid of a scan: events in the order they were taken in, arrays with the scan's axes out."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    import pandas as pd

SEQ_NUM = "seq_num"

# No dimension that comes in is called so: the events of a dataset may be along "time", as may an axis of the scan.
EVENT = "(event)"


def reshape(
    data: xr.Dataset | pd.DataFrame | Mapping[str, ArrayLike],
    key: str,
    *,
    metadata: Mapping[str, Any] | None = None,
    shape: Sequence[int] | None = None,
    extents: Sequence[Sequence[float]] | None = None,
    snaking: Sequence[bool] | None = None,
    dims: Sequence[str] | None = None,
    seq_num: str | ArrayLike | None = None,
) -> xr.DataArray:
    """Readings of a grid scan on its grid, (*shape, *shape of a reading), the slowest axis first.

    The scan is described by the arguments, or by the start document of a grid scan; an argument that is given
    comes before the start document. Lazy (dask) arrays stay lazy.

    Parameters
    ----------
    data : xarray.Dataset, pandas.DataFrame or mapping of arrays
        One event after the other: of a dataset, along the first dimension of the reading. A reading may be an
        image; in a table, a cell that holds an array.
    key : str
        Which reading.
    metadata : mapping, optional
        The start document, or ``{"start": ...}``. By default the ``attrs`` of the data.
    shape : sequence of int, optional
        Number of points along each axis of the scan, the slowest first.
    extents : sequence of pairs of float, optional
        First and last position along each axis. Without them the axes have no positions.
    snaking : sequence of bool, optional
        Whether an axis is run through forwards and backwards in turn. For the first axis, which is run through
        once, it makes no difference.
    dims : sequence of str, optional
        Names of the axes. By default those of the motors in the start document, or dim_0, dim_1, ...
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
        If the description of the scan doesn't fit together, or the events don't fit into it.

    Examples
    --------
    >>> reshape({"current": [1, 2, 3, 4]}, "current", shape=(2, 2), snaking=(False, True)).values
    array([[1, 2],
           [4, 3]])
    """
    start = _start(data, metadata)
    lengths = _lengths(start.get("shape") if shape is None else shape)
    bounds = _bounds(start.get("extents") if extents is None else extents, lengths)
    snaked = _snaked(start.get("snaking") if snaking is None else snaking, lengths)
    names = _names(start, lengths) if dims is None else tuple(dims)

    events = _events(data, key)
    clash = set(names).intersection(map(str, events.dims))
    if len(names) != len(lengths) or len(set(names)) != len(names) or clash:
        raise ValueError(
            f"dims={names!r} must be {len(lengths)} different names, none of them of an axis of {key!r}, "
            f"{events.dims[1:]!r}"
        )
    events = events.drop_vars(set(names).intersection(events.coords))
    numbers = _numbers(data, seq_num, len(events), lengths)
    # The last event of each number, the numbers in order.
    numbers, from_the_end = np.unique(numbers[::-1], return_index=True)
    if len(numbers) < math.prod(lengths) and events.dtype == bool:
        events = events.astype(float)
    in_order = (
        events.isel({EVENT: len(events) - 1 - from_the_end})
        .assign_coords({EVENT: numbers})
        .reindex({EVENT: np.arange(1, math.prod(lengths) + 1)})
    )
    grid = in_order.isel({EVENT: xr.DataArray(_visits(lengths, snaked), dims=names)}).drop_vars(EVENT)
    if bounds is not None:
        for name, (first, last), length in zip(names, bounds, lengths, strict=True):
            grid = grid.assign_coords({name: (name, np.linspace(first, last, length), _unit_of(data, name))})
    return grid


def _visits(lengths: Sequence[int], snaked: Sequence[bool]) -> np.ndarray:
    """For each point of the grid, the how-manieth of the scan it is, from 0: shape `lengths`, int64."""
    visits = np.arange(math.prod(lengths))
    # The fastest axis first: when a slower one is turned round, the rows within are moved as they are.
    for axis in reversed(range(len(lengths))):
        if snaked[axis]:
            turns = visits.reshape(math.prod(lengths[:axis]), lengths[axis], -1)
            turns[1::2] = turns[1::2, ::-1].copy()
    return visits.reshape(lengths)


def _start(data: Any, metadata: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The start document that came with the data, or an empty one."""
    given = getattr(data, "attrs", {}) if metadata is None else metadata
    return given.get("start", given)


def _lengths(shape: Any) -> tuple[int, ...]:
    if shape is None:
        raise ValueError("nothing says what shape the scan has: give shape, or the start document as metadata")
    lengths = tuple(operator.index(length) for length in np.atleast_1d(shape).tolist())
    if not lengths or min(lengths) < 1:
        raise ValueError(f"shape={lengths!r} must have a number of points, at least 1, for each axis of the scan")
    return lengths


def _bounds(extents: Any, lengths: tuple[int, ...]) -> np.ndarray | None:
    """First and last position of each axis, (n, 2) float64."""
    if extents is None:
        return None
    flat = np.ravel(np.asarray(extents, float))  # an attribute of a NetCDF file has but one axis
    if len(flat) != 2 * len(lengths):
        raise ValueError(f"extents={extents!r} must have two numbers for each axis of a scan of shape {lengths}")
    return flat.reshape(-1, 2)


def _snaked(snaking: Any, lengths: tuple[int, ...]) -> list[bool]:
    if snaking is None:
        return [False] * len(lengths)
    snaked = np.atleast_1d(snaking).astype(bool).tolist()
    if len(snaked) != len(lengths):
        raise ValueError(f"snaking={snaking!r} must have one item for each axis of a scan of shape {lengths}")
    return snaked


def _names(start: Mapping[str, Any], lengths: tuple[int, ...]) -> tuple[str, ...]:
    """Names of the axes: the fields of the motors if there is one for each axis, or their names, or numbers."""
    fields = [np.atleast_1d(fields).tolist() for fields, _ in start.get("hints", {}).get("dimensions", ())]
    motors = np.atleast_1d(start.get("motors", ())).tolist()
    for names in ([names[0] for names in fields if len(names) == 1], motors):
        if len(names) == len(lengths):
            return tuple(map(str, names))
    return tuple(f"dim_{axis}" for axis in range(len(lengths)))


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


def _numbers(data: Any, seq_num: Any, count: int, lengths: tuple[int, ...]) -> np.ndarray:
    """Number of each event in the scan, from 1: (count,) int64."""
    points = math.prod(lengths)
    if seq_num is None and SEQ_NUM in data:
        seq_num = SEQ_NUM
    if seq_num is None:
        if count > points:
            raise ValueError(
                f"{count} events are more than the {points} points of a scan of shape {lengths}: give their seq_num"
            )
        return np.arange(1, count + 1)
    if isinstance(seq_num, str):
        if seq_num not in data:
            raise ValueError(f"seq_num={seq_num!r} is not in the data, which has only {list(data)}")
        seq_num = data[seq_num]
    numbers = np.asarray(seq_num)
    if numbers.shape != (count,):
        raise ValueError(f"seq_num has shape {numbers.shape} where there are {count} events: give one for each")
    wrong = ~((numbers >= 1) & (numbers <= points) & (numbers == np.floor(numbers)))
    if wrong.any():
        raise ValueError(
            f"seq_num {numbers[wrong][0]} is not one of the {points} of a scan of shape {lengths}, counted from 1"
        )
    return numbers.astype(np.int64)


def _unit_of(data: Any, name: str) -> dict[str, Any]:
    """The unit of a motor, if its positions are among the data and say so."""
    attrs = getattr(data[name], "attrs", {}) if name in data else {}
    return {"units": attrs["units"]} if "units" in attrs else {}
