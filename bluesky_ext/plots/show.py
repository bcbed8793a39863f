"""Pictures of scans by short calls, for a session at a beamline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray as xr

from bluesky_ext.plots.grid import reshape
from bluesky_ext.plots.image import plot_real_aspect
from bluesky_ext.plots.maps import plot_crystal_maps
from bluesky_ext.storage.find import find_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Show:
    """Figures of scans: their crystal maps, or a reading where the motors were.

    ``show()`` draws the latest crystal maps, those of a scan that goes on too, and ``show(scan=3)`` those of scan 3;
    ``show(key)`` draws a reading of the latest scan in the catalogue, and ``show(key, 3)`` that of scan 3. A scan is
    named as for `bluesky_ext.storage.find_run`.

    Parameters
    ----------
    catalog : client
        Where the runs are, raw and derived, as `bluesky_ext.open_catalog` returns it.
    cm : CrystalMap
        Whose maps are drawn; those before the session are in its ``directory``.

    Examples
    --------
    >>> from bluesky_ext import CrystalMap, open_catalog
    >>> show = Show(open_catalog("./runs"), CrystalMap(search_range=3, directory="maps"))  # doctest: +SKIP
    >>> figure = show("dexela_stats_total", -2)  # doctest: +SKIP
    """

    def __init__(self, catalog: Any, cm: Any) -> None:
        self._catalog, self._cm = catalog, cm

    def __call__(self, key: str | None = None, scan: str | int | None = None, **kwargs: Any) -> Figure:
        """Draw.

        Parameters
        ----------
        key : str, optional
            A reading of the scan, or of what was made of each of its images (``n_rows``, the number of peaks). By
            default the crystal maps are drawn.
        scan : str or int, optional
            A scan_id, a uid, at least six characters of its beginning, or -1 for the last scan, -2 for that before.
        **kwargs
            For `plot_crystal_maps` or `plot_real_aspect`.
        """
        if key is None:
            return plot_crystal_maps(self._maps(scan), **kwargs)
        return plot_real_aspect(self._reading(key, -1 if scan is None else scan), **kwargs)

    def _maps(self, scan: str | int | None) -> xr.Dataset:
        from tiled.queries import Eq  # pyright: ignore[reportMissingImports]

        if scan is not None:
            start = find_run(self._catalog, scan).start
            if start["uid"] not in self._cm.runs:
                raise LookupError(f"scan {start.get('scan_id')} ({start['uid'][:8]}) has no crystal maps: name another")
            return self._cm.runs[start["uid"]]
        latest = self._cm.dataset
        if latest.attrs["original_run_uid"]:
            return latest
        stored = self._catalog.search(Eq("start.analysis_stage", self._cm.name)).sort(("start.time", -1))
        for run in stored.values().head(1):
            return self._cm.runs[run.start["original_run_uid"]]
        raise LookupError("there are no crystal maps yet: scan a crystal")

    def _reading(self, key: str, scan: str | int) -> xr.DataArray:
        from tiled.queries import Eq  # pyright: ignore[reportMissingImports]

        run = find_run(self._catalog, scan)
        derived = self._catalog.search(Eq("start.original_run_uid", run.start["uid"])).values()
        known: list[str] = []
        for one, stream in ((run, "primary"), *((one, "frames") for one in derived)):
            if stream in one:
                if key in (data_keys := one[stream].metadata["data_keys"]):
                    return reshape(one, key, stream=stream).assign_coords(scan=run.start.get("scan_id", 0))
                known += data_keys
        raise LookupError(f"scan {run.start.get('scan_id')} has no {key!r}, only {sorted({*known})}")
