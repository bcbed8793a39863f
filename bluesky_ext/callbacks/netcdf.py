"""Datasets in files."""

from __future__ import annotations

from pathlib import Path

import xarray as xr


def save(dataset: xr.Dataset, path: Path) -> None:
    """Save a dataset as NetCDF 4, which is HDF5; a file that has this name is whole, whatever happens meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.tmp")
    dataset.to_netcdf(unfinished, engine="h5netcdf")
    unfinished.replace(path)
