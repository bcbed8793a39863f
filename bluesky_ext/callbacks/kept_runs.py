"""The datasets of the runs that were mapped last, and of those before in files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import xarray as xr

from bluesky_ext.engine.documents.file_name import file_name

KEEP_RUNS = 10


class KeptRuns(Mapping[str, xr.Dataset]):
    """Datasets by the uid of the scan that they are of; also by the first letters of that, or by the ``scan_id``.

    If there is a directory, each is saved there as NetCDF 4, which is HDF5, and found by its whole uid for ever.

    Parameters
    ----------
    n : int
        How many are kept, the latest.
    directory : path, optional
        Where they are saved, as ``<uid of the scan><ending>.nc``. A file of this name is whole, whatever happens.
    ending : str
        What the names of the files have behind the uid.
    """

    def __init__(self, n: int, directory: str | os.PathLike[str] | None = None, ending: str = "") -> None:
        if not isinstance(n, int) or n < 1:
            raise ValueError(f"keep_runs={n!r}: give a number of runs above 0")
        self._n = n
        self._directory = None if directory is None else Path(directory)
        self._ending = ending
        self._datasets: dict[str, xr.Dataset] = {}

    def add(self, dataset: xr.Dataset) -> None:
        """Keep a dataset, for which the oldest makes room, and save it."""
        uid = str(dataset.attrs["original_run_uid"])
        self._datasets.pop(uid, None)
        datasets = {**self._datasets, uid: dataset}
        self._datasets = {uid: datasets[uid] for uid in [*datasets][-self._n :]}
        if self._directory is None:
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._path(self._directory, uid)
        unfinished = path.with_name(f"{path.name}.tmp")
        try:
            dataset.to_netcdf(unfinished, engine="h5netcdf")
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)

    def __getitem__(self, key: str | int) -> xr.Dataset:
        for uid, dataset in reversed(self._datasets.items()):
            if key == dataset.attrs["scan_id"] or (isinstance(key, str) and key and uid.startswith(key)):
                return dataset
        if isinstance(key, str) and self._directory is not None and (path := self._path(self._directory, key)).exists():
            return xr.load_dataset(path, engine="h5netcdf")
        raise KeyError(f"{key!r} is no run here: there are {self!r}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._datasets)

    def __len__(self) -> int:
        return len(self._datasets)

    def __repr__(self) -> str:
        scans = (f"scan {dataset.attrs['scan_id']} ({uid[:8]})" for uid, dataset in self._datasets.items())
        return ", ".join(scans) or "no runs yet"

    def _path(self, directory: Path, uid: str) -> Path:
        return directory / f"{file_name(uid)}{self._ending}.nc"
