"""Crystal maps, their reflections, grains and peaks as files for other programs."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bluesky_ext._version import __version__
from bluesky_ext.callbacks.tree import entry, nxdata_of, nxdata_of_peaks
from bluesky_ext.live.processed.nexus import iso_time, nexus_tree
from bluesky_ext.live.processed.tree_file import save_tree
from bluesky_ext.peaks import grains
from bluesky_ext.peaks.reflection_table import reflection_table
from bluesky_ext.peaks.table import UNITS
from bluesky_ext.spectra.azimuthal import poni_bytes, scattering

FORMATS = ("nexus", "csv", "dials")
#: The column that says which grain a peak is of.
_GRAIN = "grain"


def export_crystal_maps(
    dataset: xr.Dataset,
    directory: str | os.PathLike[str],
    name: str,
    *,
    peaks: pd.DataFrame | None = None,
    poni: Any = None,
    formats: Collection[str] = FORMATS,
    overwrite: bool = False,
    **keywords: Any,
) -> list[Path]:
    """Write crystal maps, their reflections, grains and peaks to files, and return the paths of these.

    ``nexus`` writes ``<name>.nxs`` with NXdata of the maps, of the grains, of the numbers of peaks and of the peaks;
    ``csv`` the tables of `crystal_map_tables`, as ``<name>-<table>.csv``; ``dials`` the reflection table
    ``<name>.refl`` of the peaks, if these are given.

    Parameters
    ----------
    dataset : xarray.Dataset
        Crystal maps, as ``dataset`` of `bluesky_ext.CrystalMap` has them.
    directory : path
        Where the files go.
    name : str
        What their names begin with.
    peaks : pandas.DataFrame, optional
        A row a peak with its particle, as ``tracks`` of `bluesky_ext.CrystalMap` has them.
    poni : path, bytes or array of uint8, optional
        The .poni file with the geometry of the detector, or its content: peaks and reflections have ``q``,
        ``two_theta``, ``chi`` and ``d`` with it, in place of those of an earlier one.
    formats : collection of str
        Some of ``nexus``, ``csv`` and ``dials``.
    overwrite : bool
        Whether files that are there are written over.
    **keywords
        For `bluesky_ext.peaks.grains`: threshold and so on.

    Raises
    ------
    FileExistsError
        If one of them is there; then none is written.
    ValueError
        If a format is not known.
    """
    if unknown := set(formats) - set(FORMATS):
        raise ValueError(f"formats has {sorted(unknown)[0]!r} in it: there are {', '.join(FORMATS)}")
    stem = Path(directory) / name
    settings = dict(keywords)
    if poni is not None:
        content = poni_bytes(poni)
        settings["poni"] = content.decode()
        along = dataset["maps"].dims[:1]
        known = scattering(content, dataset["y"], dataset["x"])
        dataset = dataset.assign({key: (along, values, {"units": UNITS[key]}) for key, values in known.items()})
        peaks = None if peaks is None else peaks.assign(**scattering(content, peaks["y"], peaks["x"]))
    found = grains(dataset, **keywords)
    peaks = None if peaks is None else _with_grains(peaks, found)
    contents: dict[Path, Any] = {}
    if "nexus" in formats:
        contents[stem.with_name(f"{name}.nxs")] = _tree(dataset, found, peaks, settings)
    if "csv" in formats:
        tables = _tables(dataset, found, peaks)
        contents |= {stem.with_name(f"{name}-{what}.csv"): table for what, table in tables.items()}
    if "dials" in formats and peaks is not None:
        contents[stem.with_name(f"{name}.refl")] = reflection_table(peaks)
    there = [path for path in contents if path.exists()]
    if there and not overwrite:
        raise FileExistsError(f"{there[0]} is there already: give another name, or overwrite")
    stem.parent.mkdir(parents=True, exist_ok=True)
    for path, content in contents.items():
        _write(path, content)
    return list(contents)


def crystal_map_tables(
    dataset: xr.Dataset, peaks: pd.DataFrame | None = None, **keywords: Any
) -> dict[str, pd.DataFrame]:
    """Tables of crystal maps by name, as they are written to CSV.

    Returns
    -------
    dict of pandas.DataFrame
        ``reflections``, a row each with its grain; ``grains``, with the middle of each on the axes of the maps,
        weighted by its brightness; ``maps``, a row a point of the scan: where it is, its number of peaks, and a column
        for each reflection and each grain; and ``peaks``, a row each with its grain, if they are given.
    """
    found = grains(dataset, **keywords)
    return _tables(dataset, found, None if peaks is None else _with_grains(peaks, found))


def _tables(dataset: xr.Dataset, found: xr.Dataset, peaks: pd.DataFrame | None) -> dict[str, pd.DataFrame]:
    dims = dataset["maps"].dims
    along = {name: one for name, one in dataset.items() if one.dims == dims[:1]}
    reflections = pd.DataFrame({str(name): one.to_numpy() for name, one in along.items()})
    reflections.insert(0, str(dims[0]), dataset[dims[0]].to_numpy())
    reflections = reflections.assign(grain=found["grain_of"].to_numpy(), overlap=found["overlap"].to_numpy())
    each = {_GRAIN: found[_GRAIN].to_numpy()}
    each |= {name: found[name].to_numpy() for name in ("total", "n_reflections")}
    positions = {name: one for name, one in dataset["maps"].coords.items() if set(one.dims) & set(dims[1:])}
    each |= {str(name): _middles(found["maps"], one) for name, one in positions.items()}
    shape = dataset["maps"].shape[1:]
    points = {str(name): _spread(one, dims[1:], shape) for name, one in positions.items()}
    if "n_peaks" in dataset:
        points["n_peaks"] = dataset["n_peaks"].to_numpy().ravel()
    for maps in (dataset["maps"], found["maps"]):
        numbers = maps[maps.dims[0]].to_numpy()
        points |= {
            f"{maps.dims[0]}_{number}": one.ravel() for number, one in zip(numbers, maps.to_numpy(), strict=True)
        }
    tables = {"reflections": reflections, "grains": pd.DataFrame(each), "maps": pd.DataFrame(points)}
    return tables if peaks is None else {**tables, "peaks": peaks}


def _with_grains(peaks: pd.DataFrame, found: xr.Dataset) -> pd.DataFrame:
    """The peaks with their grains, -1 for those of none, and of those whose track has no map."""
    if "particle" not in found:
        raise ValueError(f"the dataset has no 'particle', only {list(found)}: give that of a CrystalMap with its peaks")
    of = pd.Series(found["grain_of"].to_numpy(), found["particle"].to_numpy())
    return peaks.assign(**{_GRAIN: of.reindex(peaks["particle"], fill_value=-1).to_numpy()})


def _spread(positions: xr.DataArray, dims: tuple, shape: tuple[int, ...]) -> np.ndarray:
    """Positions along one of the dims, for each point."""
    along = [length if dim in positions.dims else 1 for dim, length in zip(dims, shape, strict=True)]
    return np.broadcast_to(positions.to_numpy().reshape(along), shape).ravel()


def _middles(maps: xr.DataArray, positions: xr.DataArray) -> np.ndarray:
    """The mean position of each map, weighted by its brightness."""
    rest = maps.dims[1:]
    return ((maps * positions).sum(rest) / maps.where(positions.notnull()).sum(rest)).to_numpy()


def _tree(
    dataset: xr.Dataset, found: xr.Dataset, peaks: pd.DataFrame | None, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """The tree of the NeXus file; the maps are what is plotted."""
    groups = {"maps": nxdata_of(dataset.assign(grain_of=found["grain_of"], overlap=found["overlap"]), "maps")}
    groups["grains"] = nxdata_of(found, "maps")
    if "n_peaks" in dataset:
        groups["n_peaks"] = nxdata_of(dataset, "n_peaks")
    if peaks is not None:
        groups["peaks"] = nxdata_of_peaks(peaks)
    start = {"uid": dataset.attrs.get("original_run_uid", ""), "scan_id": dataset.attrs.get("scan_id", -1)}
    process = {"program": "bluesky_ext export_crystal_maps", "version": __version__, "date": iso_time(time.time())}
    return nexus_tree({"entry": entry(start, "maps", **groups)}, {**process, **settings}, {})


def _write(path: Path, content: Any) -> None:
    """A file, whole or not at all."""
    if isinstance(content, Mapping):
        save_tree(content, path)
        return
    unfinished = path.with_name(f"{path.name}.tmp")
    try:
        if isinstance(content, bytes):
            unfinished.write_bytes(content)
        else:
            content.to_csv(unfinished, index=False)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
