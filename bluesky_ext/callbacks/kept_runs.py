"""The datasets of the runs that were mapped last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import xarray as xr

KEEP_RUNS = 10


class KeptRuns(Mapping[str, xr.Dataset]):
    """Datasets by the uid of the scan that they are of; also by the first letters of that, or by the ``scan_id``.

    Parameters
    ----------
    n : int
        How many are kept, the latest.
    """

    def __init__(self, n: int) -> None:
        if n < 1:
            raise ValueError(f"keep_runs={n!r}: give a number of runs above 0")
        self._n = n
        self._datasets: dict[str, xr.Dataset] = {}

    def add(self, dataset: xr.Dataset) -> None:
        """Keep a dataset; the oldest makes room for it."""
        uid = str(dataset.attrs["original_run_uid"])
        self._datasets.pop(uid, None)
        datasets = {**self._datasets, uid: dataset}
        self._datasets = {uid: datasets[uid] for uid in [*datasets][-self._n :]}

    def __getitem__(self, key: str | int) -> xr.Dataset:
        for uid, dataset in reversed(self._datasets.items()):
            if key == dataset.attrs["scan_id"] or (isinstance(key, str) and key and uid.startswith(key)):
                return dataset
        raise KeyError(f"{key!r} is no run here: there are {self!r}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._datasets)

    def __len__(self) -> int:
        return len(self._datasets)

    def __repr__(self) -> str:
        scans = (f"scan {dataset.attrs['scan_id']} ({uid[:8]})" for uid, dataset in self._datasets.items())
        return ", ".join(scans) or "no runs yet"
