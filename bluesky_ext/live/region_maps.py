"""Maps of regions of the images or the spectra of a scan, which can be set while it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from bluesky_ext._arguments import check_keywords, keywords_of
from bluesky_ext.callbacks.scan import Scan
from bluesky_ext.callbacks.spectra.point_map import PointMap, Points
from bluesky_ext.engine import DerivedRun, Reduce, Stage, as_image
from bluesky_ext.engine.documents.open_runs import OpenStream
from bluesky_ext.engine.documents.provenance import Provenance
from bluesky_ext.engine.stages.run import StageRun
from bluesky_ext.images.regions import Kind, Regions
from bluesky_ext.live.parameters import Parameters, RegionsParameter

#: What the parameter is called, and the maps.
REGIONS, SUM = "regions", "sum"


@dataclass(kw_only=True)
class _Regions(Points):
    """The points of a run, and with which regions they were summed: from which event on."""

    axis: np.ndarray | None = None
    used: list[tuple[int, Regions]] = field(default_factory=list)

    def use(self, regions: Regions, seq_num: int) -> None:
        """Sum with these regions from an event on; a map that was begun stays when its region is gone."""
        self.used.append((seq_num, regions))
        known = self.names.get(SUM, [])
        names = [*known, *(one.name for one in regions if one.name not in known)]
        self.names = {SUM: names} if names else {}
        self.columns.widen(len(names))


class RegionMaps(PointMap):
    """Maps of regions: the sum of the counts in each of them, at every point of the scan.

    The regions are a parameter. They can be set before a scan and during it, with `set_parameters` or on the page of
    the live server: the next event is summed with the new ones. A region that is added during a scan has NaN before
    that; one that is moved keeps what it has, and the stream ``regions``, emitted at the stop, tells from which event
    on which regions were summed.

    `dataset` has the maps so far, and `publish` shows them as `bluesky_ext.callbacks.spectra.point_map.PointMap` does:
    ``grid/sum/<region>``. At the stop it emits the maps, an event a region, and where the motors were.

    Parameters
    ----------
    data_key : str
        The key of the image, or of the spectra, of which the frames are averaged, or the elements added. Pixels that
        are not finite don't count.
    regions : sequence of Region, or of dicts, or JSON
        What to sum: see `bluesky_ext.images.Region`.
    kinds : sequence of {"rectangle", "polygon", "range"}
        Which regions there may be: rectangles and polygons of images, or ``("range",)`` for spectra. The ends of a
        range are energies behind a `FluorescenceFit`, on the radial axis behind an `AzimuthalIntegrator`, and otherwise
        the numbers of channels.
    motors, positions, shape, extents, snaking
        As for `CrystalMap`.
    stream_name : str
        The stream whose events are the points.
    **options
        ``on_error`` and so on, as for `bluesky_ext.engine.Reduce`.

    Examples
    --------
    >>> from bluesky_ext import RegionMaps
    >>> rm = RegionMaps("dexela_image", [{"name": "spot", "type": "rectangle", "x": [10, 20], "y": [5, 9]}])
    >>> rm.set_parameters({"regions": []})
    """

    dim = "region"
    libraries = ("numpy", "xarray")

    def __init__(
        self,
        data_key: str,
        regions: Any = (),
        *,
        kinds: Sequence[Kind] = ("rectangle", "polygon"),
        motors: Sequence[str] | None = None,
        positions: Literal["readback", "setpoint"] = "readback",
        shape: Sequence[int] | None = None,
        extents: Sequence[Sequence[float]] | None = None,
        snaking: Sequence[bool] | None = None,
        stream_name: str = "primary",
        **options: Any,
    ) -> None:
        check_keywords("RegionMaps", options, keywords_of(RegionMaps, Reduce, Stage))
        about = f"what is summed of {data_key}"
        self.data_key = data_key
        self.settings = Parameters([RegionsParameter(REGIONS, regions, about, of=data_key, kinds=tuple(kinds))])
        scan = Scan(motors, positions, shape, extents, snaking)
        super().__init__(
            scan,
            stream_name=stream_name,
            parameters={
                **{"data_key": data_key, "regions": self.settings[REGIONS].value.plain, "kinds": list(kinds)},
                **{**scan.as_dict(), "stream_name": stream_name},
            },
            data_keys=(data_key,),
            **options,
        )

    def set_parameters(self, values: Mapping[str, Any]) -> None:
        """Set the ``regions``, for the events that come from now on, and for later runs.

        Raises
        ------
        ValueError
            If they can't be; it says why, and nothing is changed.
        """
        if unknown := sorted(set(values) - {REGIONS}):
            raise ValueError(f"{self.name} has no parameter {unknown[0]!r:.100}: there is {REGIONS!r}")
        with self._open_runs.lock:
            self.settings = self.settings.changed(values)
            self.parameters = {**self.parameters, "regions": self.settings[REGIONS].value.plain}
            self._provenance = Provenance.of(
                self.name, self.parameters, path=self.path, libraries=self.libraries, hash_images=self._hash_images
            )

    def begin(self, start: Mapping[str, Any]) -> _Regions:
        """No points yet."""
        return _Regions(**vars(super().begin(start)))

    def describe_stream(self, run: StageRun, stream: OpenStream) -> None:
        """Learn where the channels of spectra lie, and which readings are those of the motors."""
        if stream.name == self._stream_name and stream.wanted:
            run.state.axis = _axis_of(stream.descriptor, self.data_key)
            self._tell_unit("" if run.state.axis is not None else "channel")
            run.state.scan.describe(stream.descriptor)

    def _tell_unit(self, unit: str) -> None:
        """Tell those who draw ranges whether their ends are channels, whatever axis they draw them over."""
        with self._open_runs.lock:
            one = self.settings.described[REGIONS]
            if isinstance(one, RegionsParameter) and "range" in one.kinds and one.unit != unit:
                self.settings = Parameters([replace(one, unit=unit)]).changed({REGIONS: self.settings[REGIONS].value})

    def names_of(self, descriptor: Mapping[str, Any]) -> dict[str, list[str]]:
        """The regions, as they are now."""
        return {SUM: [one.name for one in self.settings[REGIONS].value]}

    def numbers_of(self, state: _Regions, data: Mapping[str, Any]) -> list[float]:
        """The sum of the counts in each region that was ever summed in the run, NaN of those that are gone."""
        regions, axis = state.used[-1][1], state.axis
        values = as_image(data[self.data_key])
        sums = {one.name: one.sum(values) if one.type != "range" else _in_range(one, values, axis) for one in regions}
        return [sums.get(name, np.nan) for name in state.names.get(SUM, ())]

    def reduce(self, state: _Regions, stream: str, event: Mapping[str, Any]) -> bool:
        """Take the sums of a point."""
        if stream != self._stream_name:
            return False
        regions: Regions = self.settings[REGIONS].value
        if not state.used or state.used[-1][1] != regions:
            state.use(regions, event["seq_num"])
        state.columns.put(event["seq_num"], self.numbers_of(state, event["data"]))
        state.scan.note(event["seq_num"], event["data"])
        return True

    def finish(self, state: _Regions, derived: DerivedRun, start: Mapping[str, Any]) -> None:
        """Emit the maps, where the motors were, and with which regions the points were summed."""
        super().finish(state, derived, start)
        for seq_num, regions in state.used:
            used = {"from_seq_num": seq_num, "regions": str(regions)}
            derived.event("regions", None, used, unhashed=("from_seq_num",))  # which depends on the order of events
        if len(state.used) > 1:
            changes = ", ".join(str(seq_num) for seq_num, _ in state.used[1:][:10])
            self._log.info("%s: the regions were changed at event %s", self.name, changes)


def _in_range(region: Any, values: np.ndarray, axis: np.ndarray | None) -> float:
    if axis is None or len(axis) != values.shape[-1]:
        return region.sum(values)
    cut = values[..., region.slice(axis)]
    cut = cut[np.isfinite(cut)]
    return float(cut.sum(dtype=np.float64)) if cut.size else np.nan


def _axis_of(descriptor: Mapping[str, Any], data_key: str) -> np.ndarray | None:
    """Where the channels of spectra lie, as the stage says that made them; None if they are only numbered."""
    n = int(descriptor["data_keys"][data_key]["shape"][-1]) if descriptor["data_keys"][data_key].get("shape") else 0
    radial = f"{data_key.removesuffix('_intensity')}_radial"
    for said in descriptor.get("configuration", {}).values():
        data = said.get("data", {})
        if f"{data_key}_gain" in data:
            return float(data.get(f"{data_key}_zero", 0.0)) + float(data[f"{data_key}_gain"]) * np.arange(n)
        if radial in data:
            return np.array(data[radial], float)
    return None
