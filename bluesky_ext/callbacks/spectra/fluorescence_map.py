"""Element maps, current while the scan runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np

from bluesky_ext._arguments import check_keywords, keywords_of, refuse_document
from bluesky_ext._compile import compile_kernels
from bluesky_ext.callbacks.scan import Scan
from bluesky_ext.callbacks.spectra.fluorescence_fit import cfg_bytes, refuse_path
from bluesky_ext.callbacks.spectra.point_map import PointMap, Points
from bluesky_ext.callbacks.tree import nxdata
from bluesky_ext.engine import DerivedRun, Reduce, Stage
from bluesky_ext.spectra.fluorescence import Curve, FluorescenceModel, SpectrumSum, fluorescence_model
from bluesky_ext.spectra.fluorescence.kernels import warm_up

#: How lines of scattered light begin, which have no mass fraction.
SCATTER = "scatter"


@dataclass
class _Elements(Points):
    """The areas of a run so far, and its spectra."""

    zero: float = 0.0
    gain: float = 1.0
    refit: bool = True
    spectra: SpectrumSum | None = None


class FluorescenceMap(PointMap):
    """Maps of the elements of a scan: areas of lines, their uncertainties, and mass fractions, at each of its points.

    Give it the events of a `FluorescenceFit`. `dataset` has the maps so far, at any time, on the scan's grid, and
    `publish` the tree that users of the NanoMAX pipeline read: ``map/massfractions/Fe K`` with ``x``, ``y`` and
    ``values``, and ``parameters`` and ``uncertainties`` likewise; and the sum of the spectra. With the ``cfg`` it shows
    the fits of the sum and of the latest spectrum too, and `curve` gives that of any point.

    At the stop it emits an event for each line with its maps, in the stream ``positions`` where the motors were along
    the axes of these, and in ``spectrum`` the sum of all spectra with its energies.

    Parameters
    ----------
    data_key : str
        The key of the spectra, as for the fit.
    cfg : bytes, array or path, optional
        The .cfg, to show fits, as for the fit.
    motors, positions, shape, extents, snaking
        Where the points are, as for `bluesky_ext.CrystalMap`.
    keep_bytes : int
        How many bytes the spectra may take that are kept for `curve`: those that come first, and some of the latest.
    stream_name : str
        The stream whose events are the points.
    **options
        As for `bluesky_ext.engine.Reduce` (``on_error`` and so on).
    """

    dim = "line"
    kernels = (warm_up,)
    libraries = ("numpy", "numba", "xarray")

    def __init__(
        self,
        data_key: str,
        cfg: bytes | np.ndarray | os.PathLike[str] | str | None = None,
        *,
        motors: Sequence[str] | None = None,
        positions: Literal["readback", "setpoint"] = "readback",
        shape: Sequence[int] | None = None,
        extents: Sequence[Sequence[float]] | None = None,
        snaking: Sequence[bool] | None = None,
        keep_bytes: int = 2**28,
        stream_name: str = "primary",
        **options: Any,
    ) -> None:
        refuse_document("FluorescenceMap", cfg)
        check_keywords("FluorescenceMap", options, keywords_of(FluorescenceMap, Reduce, Stage))
        if not isinstance(keep_bytes, int) or keep_bytes < 0:
            raise ValueError(f"keep_bytes={keep_bytes!r}: give a number of bytes, 0 for none")
        content = None if cfg is None else cfg_bytes(cfg)
        compile_kernels(*self.kernels)
        if content is not None:
            fluorescence_model(content, concentrations=False)  # which is kept, or refused here
        self._cfg = content
        self.data_key, self._keep_bytes = data_key, keep_bytes
        self._areas, self._uncertainties = f"{data_key}_areas", f"{data_key}_uncertainties"
        scan = Scan(motors, positions, shape, extents, snaking)
        super().__init__(
            scan,
            stream_name=stream_name,
            parameters={
                **{"data_key": data_key, "cfg": None if content is None else np.frombuffer(content, np.uint8)},
                **{**scan.as_dict(), "keep_bytes": keep_bytes, "stream_name": stream_name},
            },
            **options,
        )

    @classmethod
    def again(cls, record: Mapping[str, Any], materials: Any, **options: Any) -> Self:
        """The stage that a record is of, which has the .cfg by its sha256, and never as the path of a file."""
        refuse_path(record)
        return super().again(record, materials, **options)

    @property
    def model(self) -> FluorescenceModel | None:
        """What the fits that are shown are of; None without a ``cfg``."""
        if self._cfg is None:
            return None
        refit = True if self.latest is None else self.latest.refit
        return fluorescence_model(self._cfg, refit=refit, concentrations=False)

    def begin(self, start: Mapping[str, Any]) -> _Elements:
        """No points yet."""
        return _Elements(**vars(super().begin(start)))

    def names_of(self, descriptor: Mapping[str, Any]) -> dict[str, list[str]]:
        """The names of the lines, which the configuration has."""
        if self._areas not in descriptor["data_keys"]:
            return {}
        said = self._configuration(descriptor)
        n_lines = int(np.prod(descriptor["data_keys"][self._areas]["shape"]))
        lines = [str(line) for line in np.ravel(said.get("lines", ()))]
        if len(lines) != n_lines:
            lines = [f"line {number}" for number in range(1, n_lines + 1)]
        groups = {"parameters": lines, "uncertainties": lines}
        if f"{self.data_key}_massfractions" in descriptor["data_keys"]:
            elements = [line for line in lines if not line.lower().startswith(SCATTER)]
            groups = {"massfractions": elements, **groups}
        return groups

    def describe_stream(self, run: Any, stream: Any) -> None:
        """Learn what the lines are called, the energy of channels, and which readings are those of the motors."""
        super().describe_stream(run, stream)
        if stream.name == self._stream_name:
            said = self._configuration(stream.descriptor)
            run.state.zero, run.state.gain = float(said.get("zero", 0.0)), float(said.get("gain", 1.0))
            run.state.refit = bool(said.get("refit", True))

    def numbers_of(self, state: _Elements, data: Mapping[str, Any]) -> np.ndarray:
        """The mass fractions, areas and uncertainties of an event."""
        key = self.data_key
        parts = [np.asarray(data[name], float) for name in (self._areas, self._uncertainties)]
        if "massfractions" in state.names:
            fractions = np.asarray(data[f"{key}_massfractions"], float)
            lines, elements = state.names["parameters"], state.names["massfractions"]
            if len(elements) != len(lines):
                fractions = fractions[[at for at, line in enumerate(lines) if not line.lower().startswith(SCATTER)]]
            parts.insert(0, fractions)
        return np.concatenate(parts)

    def reduce(self, state: _Elements, stream: str, event: Mapping[str, Any]) -> bool:
        """Take the areas of a point, and its spectrum."""
        if not super().reduce(state, stream, event):
            return False
        spectrum = event["data"].get(self.data_key)
        if isinstance(spectrum, np.ndarray | list) and np.ndim(spectrum) == 1:
            spectrum = np.asarray(spectrum, float)
            if state.spectra is None:
                state.spectra = SpectrumSum(len(spectrum), self._keep_bytes)
            state.spectra.put(event["seq_num"], spectrum)
        return True

    def curve(self, seq_num: int | None = None, uid: str | None = None) -> Curve:
        """The spectrum of an event and its fit; of the latest event, and of the run that started last, unless given.

        Raises
        ------
        LookupError
            If the stage was given no ``cfg``, or the spectrum is not kept.
        """
        if self._cfg is None:
            raise LookupError(f"{self.name} was given no cfg, by which spectra are fitted: give cfg=")
        with self._open_runs.lock:
            state = self.latest if uid is None else self._run(uid).state
            if state is None or state.spectra is None:
                raise LookupError(f"{self.name} has no spectrum yet")
            spectrum = state.spectra[state.spectra.latest if seq_num is None else seq_num]
        return fluorescence_model(self._cfg, refit=state.refit, concentrations=False).curve(spectrum)

    def more(self, state: _Elements) -> dict[str, Any]:
        """The sum of the spectra, and with the ``cfg`` its fit and that of the latest one."""
        spectra = state.spectra
        if spectra is None:
            return {}
        energy = state.zero + state.gain * np.arange(len(spectra.total))
        about = {"energy": energy, "energy_attrs": {"units": "keV"}, "n_spectra": len(spectra)}
        groups = {"spectrum": nxdata("counts", ["energy"], {**about, "counts": spectra.total.copy()})}
        if self._cfg is None:
            return groups
        model = fluorescence_model(self._cfg, refit=state.refit, concentrations=False)
        if len(spectra.total) >= model.n_channels:
            groups["spectrum_fit"] = _plot(model.curve(spectra.total))
            groups["latest_fit"] = _plot(model.curve(spectra[spectra.latest]), seq_num=spectra.latest)
        return groups

    def finish(self, state: _Elements, derived: DerivedRun, start: Mapping[str, Any]) -> None:
        """Emit the maps, where the motors were, and the sum of the spectra."""
        super().finish(state, derived, start)
        if (spectra := state.spectra) is None:
            return
        energy = state.zero + state.gain * np.arange(len(spectra.total))
        derived.event("spectrum", None, {"energy": energy, "counts": spectra.total.copy(), "n_spectra": len(spectra)})
        if spectra.twice:
            some = ", ".join(map(str, sorted(spectra.twice)[:5]))
            self._log.warning(
                "%s: the sum of spectra has %d events twice, which came again late (%s): give keep_bytes= for more",
                *(self.name, len(spectra.twice), some),
            )

    def _configuration(self, descriptor: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the fit of these spectra has said of its lines and channels."""
        names = {f"{self.data_key}_{name}": name for name in ("lines", "zero", "gain", "refit")}
        for said in descriptor.get("configuration", {}).values():
            if names.keys() & said.get("data", {}).keys():
                return {name: said["data"][key] for key, name in names.items() if key in said["data"]}
        return {}


def _plot(curve: Curve, **more: Any) -> dict[str, Any]:
    """A spectrum with its fit and its background drawn into it."""
    arrays = {**curve._asdict(), "energy_attrs": {"units": "keV"}, **more}
    group = nxdata("spectrum", ["energy"], arrays)
    group["_attrs"]["auxiliary_signals"] = ["fit", "background"]
    return group
