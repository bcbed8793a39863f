"""Datasets in files."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from bluesky_ext.engine.documents.file_name import file_name


def save(dataset: xr.Dataset, directory: Path, ending: str = "") -> None:
    """Save the dataset of a run as NetCDF 4, which is HDF5, in ``<uid of the scan><ending>.nc``.

    A file of this name is whole, whatever happens meanwhile.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{file_name(str(dataset.attrs['original_run_uid']))}{ending}.nc"
    unfinished = path.with_name(f"{path.name}.tmp")
    try:
        dataset.to_netcdf(unfinished, engine="h5netcdf")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
