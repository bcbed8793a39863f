"""The diffractograms of a scan, and maps of regions of them, while it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np

from bluesky_ext._arguments import check_keywords, keywords_of
from bluesky_ext._version import __version__
from bluesky_ext.callbacks.scan import Scan, ScanPoints
from bluesky_ext.callbacks.spectra.point_map import PointMap, Points
from bluesky_ext.engine import Reduce, Stage
from bluesky_ext.engine.documents.open_runs import OpenStream
from bluesky_ext.engine.stages.run import StageRun
from bluesky_ext.spectra.azimuthal import Regions, Stack

#: What the radial axis is called, and its unit, by the name that pyFAI has for it.
RADIAL = {
    "q_nm^-1": ("q", "1/nm"),
    "q_A^-1": ("q", "1/angstrom"),
    "2th_deg": ("2theta", "deg"),
    "2th_rad": ("2theta", "rad"),
    "r_mm": ("r", "mm"),
}
#: What the configuration says of masks.
MASKS = ("mask_uids", "mask_sha256")
#: The whole range, which is mapped unless regions are given.
ALL = "all"


@dataclass(kw_only=True)
class _Diffractograms(Points):
    """What is kept of a run: its points, the stack of its diffractograms, and what they are, or why that is unknown."""

    about: Mapping[str, Any] | None = None
    refusal: str = ""
    regions: Regions | None = None
    stack: Stack | None = None
    began: datetime = field(default_factory=lambda: datetime.now(UTC))


class Diffractograms(PointMap):
    """The diffractograms of a scan, one for each point, and maps of regions of them on the scan's grid.

    Give it the events of an `AzimuthalIntegrator`. It publishes the stack as NXazint1d, or NXazint2d with sectors: the
    NXdata ``data`` with ``I`` (and ``I_errors``) in the order of the frames over ``radial_axis``. For each region it
    maps how bright it is (``intensity``, the mean over the region) and where its peak lies (``position``, the centre
    of mass above a straight line between the ends of the region; NaN where that is noise by the errors, if there are
    any), as `bluesky_ext.callbacks.spectra.point_map.PointMap` has them. At the stop it emits the maps, an event a
    region, and where the motors were.

    Parameters
    ----------
    data_key : str
        The key of the image that was integrated, as the integrator was given it.
    rois : dict of (float, float), optional
        Regions by name: from where to where on the radial axis, in its unit. The whole of it unless they are given.
        With sectors each has a map a sector, ``<name>_0``, ``<name>_1`` and so on.
    motors, positions, shape, extents, snaking
        As for `CrystalMap`.
    max_bytes : int
        What the stack of a run may take in memory, twice that when it is copied; 1 GiB unless given. Diffractograms
        that come when it is full are left out of the stack, which is told in the log and in the tree; the maps have all
        points.
    stream_name : str
        The stream whose events are the points.
    **options
        ``on_error`` and so on, as for `bluesky_ext.engine.Reduce`.

    Examples
    --------
    >>> from bluesky_ext import Diffractograms
    >>> dg = Diffractograms("dexela_image", rois={"111": (26.5, 27.5), "200": (30.8, 31.6)})
    """

    dim = "roi"
    libraries = ("numpy", "xarray")

    def __init__(
        self,
        data_key: str,
        rois: Mapping[str, Sequence[float]] | None = None,
        *,
        motors: Sequence[str] | None = None,
        positions: Literal["readback", "setpoint"] = "readback",
        shape: Sequence[int] | None = None,
        extents: Sequence[Sequence[float]] | None = None,
        snaking: Sequence[bool] | None = None,
        max_bytes: int = 2**30,
        stream_name: str = "primary",
        **options: Any,
    ) -> None:
        check_keywords("Diffractograms", options, keywords_of(Diffractograms, Reduce, Stage))
        if not isinstance(max_bytes, int) or max_bytes < 0:
            raise ValueError(f"max_bytes={max_bytes!r}: give a number of bytes, 0 or more")
        self.data_key = data_key
        self._rois = _checked(rois)
        self._max_bytes = max_bytes
        scan = Scan(motors, positions, shape, extents, snaking)
        super().__init__(
            scan,
            stream_name=stream_name,
            parameters={
                **{"data_key": data_key, "rois": self._rois, **scan.as_dict()},
                **{"max_bytes": max_bytes, "stream_name": stream_name},
            },
            data_keys=(f"{data_key}_intensity",),
            **options,
        )

    @property
    def radial(self) -> tuple[np.ndarray, str] | None:
        """The middles of the bins, (n_bins,) float64, and their unit by pyFAI's name for it; None before they come."""
        about = None if self.latest is None else self.latest.about
        return None if about is None else (np.array(about["radial"], float), about["unit"])

    def begin(self, start: Mapping[str, Any]) -> _Diffractograms:
        """No diffractograms yet."""
        return _Diffractograms(start, ScanPoints(self._scan, start))

    def describe_stream(self, run: StageRun, stream: OpenStream) -> None:
        """Learn what the diffractograms are."""
        if stream.name != self._stream_name or not stream.wanted:
            return
        state: _Diffractograms = run.state
        if state.about is None:
            try:
                about = self._about(stream.descriptor)
                radial = np.array(about["radial"], float)
                state.regions = Regions(radial, [*self._ranges(about).values()])
            except ValueError as error:  # every event fails with it
                state.refusal = str(error)
                return
            row = (len(about["sectors"]), len(radial)) if "sectors" in about else (len(radial),)
            state.stack = Stack((1 + ("error_model" in about), *row), self._max_bytes)
            state.about = about
        super().describe_stream(run, stream)

    def names_of(self, descriptor: Mapping[str, Any]) -> dict[str, list[str]]:
        """The regions, in each sector."""
        about = self._about(descriptor)
        names = [*self._ranges(about)]
        if "sectors" in about:
            names = [f"{name}_{number}" for name in names for number in range(len(about["sectors"]))]
        return {"intensity": names, "position": names}

    def numbers_of(self, state: Any, data: Mapping[str, Any]) -> np.ndarray:
        """How bright each region is, and where its peak is."""
        keys = ("intensity", "sigma")[: 1 + ("error_model" in state.about)]
        arrays = [np.atleast_2d(data[f"{self.data_key}_{key}"]) for key in keys]
        return np.concatenate([some.ravel() for some in state.regions.measure(*arrays)])

    def reduce(self, state: Any, stream: str, event: Mapping[str, Any]) -> bool:
        """Take the diffractogram of a point."""
        if stream == self._stream_name and state.about is None:
            raise ValueError(state.refusal)
        if not super().reduce(state, stream, event):
            return False
        keys = ("intensity", "sigma")[: 1 + ("error_model" in state.about)]
        arrays = [event["data"][f"{self.data_key}_{key}"] for key in keys]
        if not state.stack.put(event["seq_num"], arrays):
            self.complaints(
                f"stack of {state.start['uid']}",
                "%s: the stack of run %s is full (max_bytes=%d): diffractograms from event %d on are left out of it",
                *(self.name, state.start["uid"], self._max_bytes, event["seq_num"]),
            )
        return True

    def tree(self, state: _Diffractograms) -> dict[str, Any]:
        """The maps, and the stack as NXazint1d or NXazint2d."""
        tree = super().tree(state)
        if state.stack is not None:
            tree["_attrs"]["default"] = "data"
        return tree

    def more(self, state: _Diffractograms) -> dict[str, Any]:
        """The stack, and how it was made."""
        about, stack = state.about, state.stack
        if about is None or stack is None:
            return {}
        left_out = {"n_left_out_of_data": stack.n_left_out} if stack.n_left_out else {}
        return {**_azint(about, state.start, state.began), "data": _data(about, stack), **left_out}

    def _about(self, descriptor: Mapping[str, Any]) -> dict[str, Any]:
        """What the configuration of a descriptor says of the integration."""
        integrated = [key.removesuffix("_intensity") for key in descriptor["data_keys"] if key.endswith("_intensity")]
        found = []
        for said in descriptor.get("configuration", {}).values():
            data = said.get("data", {})
            for key in data:
                # Of maps that are composed, each key has the name of its map before it. The longest key of an image
                # is the one that it is of: the axis of "saxs_eiger" is none of "eiger".
                of = [one for one in integrated if f"_{key}".endswith(f"_{one}_radial")]
                if of and max(of, key=len) == self.data_key:
                    prefix = key.removesuffix("radial")
                    of_stage = prefix.removesuffix(f"{self.data_key}_")
                    masks = {one: data[at] for one in MASKS if (at := f"{of_stage}{one}") in data}
                    found.append(
                        masks | {one.removeprefix(prefix): data[one] for one in data if one.startswith(prefix)}
                    )
        if len(found) == 1:
            return found[0]
        raise ValueError(
            f"the events have {len(found) or 'no'} radial {'axes' if found else 'axis'} of {self.data_key!r}: "
            "subscribe to an AzimuthalIntegrator of that key"
        )

    def _ranges(self, about: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
        return self._rois or {ALL: (about["radial"][0], about["radial"][-1])}


def _checked(rois: Mapping[str, Sequence[float]] | None) -> dict[str, tuple[float, float]] | None:
    if rois is None:
        return None
    if not isinstance(rois, Mapping) or not rois:
        raise TypeError(f"rois={rois!r}: give ranges by name, as {{'111': (26.5, 27.5)}}")
    checked: dict[str, tuple[float, float]] = {}
    for name, region in rois.items():
        if not isinstance(name, str) or not name.strip(".") or "/" in name:
            raise ValueError(f"a region is called {name!r}: give text without '/'")
        try:
            low, high = map(float, region)
        except (TypeError, ValueError):
            low = high = np.nan
        if not -np.inf < low < high < np.inf:
            raise ValueError(f"the region {name!r} is {region!r}: give two numbers, the smaller one first")
        checked[name] = low, high
    return checked


def _data(about: Mapping[str, Any], stack: Stack) -> dict[str, Any]:
    """The NXdata of the stack."""
    name, unit = RADIAL[about["unit"]]
    has_sectors = "sectors" in about
    axes = [".", "azimuthal_axis", "radial_axis"] if has_sectors else [".", "radial_axis"]
    attributes = {"NX_class": "NXdata", "signal": "I", "axes": axes}
    intensities = {"units": "arbitrary units"}
    data: dict[str, Any] = {
        "_attrs": {**attributes, "interpretation": "image" if has_sectors else "spectrum"},
        "I_attrs": {"long_name": "intensity", **intensities},
        "radial_axis": np.array(about["radial"]),
        "radial_axis_attrs": {"long_name": name, "units": unit},
        "radial_axis_edges": np.array(about["radial_edges"]),
        "radial_axis_edges_attrs": {"long_name": f"{name} bin edges", "units": unit},
        "norm": np.array(about["norm"]),
        "norm_attrs": {
            "long_name": "effective number of pixels contributing to the corresponding bin",
            **intensities,
        },
        "frame": stack.frames,
    }
    data["I"], *errors = stack.values
    if errors:
        data["I_errors"] = errors[0]
        data["I_errors_attrs"] = {"long_name": "estimated intensity error", **intensities}
    if has_sectors:
        sectors = np.array(about["sectors"])
        data["azimuthal_axis"] = sectors.mean(axis=1)
        data["azimuthal_axis_attrs"] = {"long_name": "azimuthal bin center", "units": "deg"}
        if (sectors[1:, 0] == sectors[:-1, 1]).all():
            data["azimuthal_axis_edges"] = np.append(sectors[:, 0], sectors[-1, 1])
            data["azimuthal_axis_edges_attrs"] = {"long_name": "azimuthal bin edges", "units": "deg"}
        else:
            data["azimuthal_axis_ranges"] = sectors
            data["azimuthal_axis_ranges_attrs"] = {"units": "deg"}
    return data


def _azint(about: Mapping[str, Any], start: Mapping[str, Any], began: datetime) -> dict[str, Any]:
    """What NXazint1d and NXazint2d say of the instrument and the reduction."""
    results = ("radial", "radial_edges", "norm", "wavelength")
    given = {name: value for name, value in about.items() if name not in results}
    wavelength = about.get("wavelength")
    beam = (
        {}
        if wavelength is None
        else {
            "wavelength": wavelength * 1e10,
            "wavelength_attrs": {"units": "angstrom"},
            "energy": 12.398419843320026 / (wavelength * 1e10),
            "energy_attrs": {"units": "keV"},
        }
    )
    source = {"name": str(start.get("facility", "")), "type": "", "probe": "x-ray"}
    return {
        "definition": "NXazint2d" if "sectors" in about else "NXazint1d",
        "solid_angle_applied": bool(about["solid_angle"]),
        "polarization_applied": "polarization" in about,
        "normalization_applied": True,
        "monitor_applied": "monitor" in about,
        "instrument": {
            "_attrs": {"NX_class": "NXinstrument"},
            "name": str(start.get("beamline_id", start.get("instrument", ""))),
            "monochromator": {"_attrs": {"NX_class": "NXmonochromator"}, **beam},
            "source": {"_attrs": {"NX_class": "NXsource"}, **source},
        },
        "reduction": {
            "_attrs": {"NX_class": "NXprocess"},
            "program": "bluesky_ext",
            "version": __version__,
            "date": began.isoformat(),
            "reference": "https://doi.org/10.1107/S1600576715004306",
            "input": {"_attrs": {"NX_class": "NXparameters"}, **given},
        },
    }
