"""The areas of fluorescence lines and mass fractions in the spectra of every event."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from bluesky_ext._arguments import check_keywords, keywords_of, refuse_document
from bluesky_ext._compile import compile_kernels
from bluesky_ext.engine import Map, Stage, as_image
from bluesky_ext.engine.documents.descriptors import data_key as described
from bluesky_ext.engine.stages.run import StageRun
from bluesky_ext.spectra.fluorescence import Combined, FluorescenceModel, combine, fluorescence_model, parsed, unused
from bluesky_ext.spectra.fluorescence.kernels import warm_up


@dataclass(frozen=True)
class Normalisation:
    """By what the counts of an event are multiplied, as its readings say; see `FluorescenceFit`."""

    live_time: str | None = None
    dead_time: str | None = None
    correction: str | None = None
    monitor: str | None = None
    monitor_reference: float = 1.0

    @property
    def keys(self) -> list[str]:
        """The readings that are needed."""
        return [key for key in (self.live_time, self.dead_time, self.correction, self.monitor) if key is not None]

    def weights(
        self, data: Mapping[str, Any], seconds: float, n_frames: int, n_elements: int, at: Sequence[int]
    ) -> Any:
        """What the counts of some elements in each frame are multiplied by, (n_frames, n) float64; None for 1."""
        weights, shape = None, (n_frames, n_elements)
        if self.live_time is not None:
            live = _positive(self.live_time, _readings(data, self.live_time, shape)[:, at], "a live time")
            weights = seconds / live.sum(axis=0)
        if self.dead_time is not None:
            dead = _readings(data, self.dead_time, shape)[:, at]
            if not (dead < 100).all() or not (dead >= 0).all():
                raise ValueError(f"{self.dead_time} is {_said(dead)}: a dead time is at least 0 % and less than 100 %")
            weights = 1 / (1 - dead / 100)
        if self.correction is not None:
            given = _readings(data, self.correction, shape)[:, at]
            weights = _positive(self.correction, given, "a correction of the dead time")
        return None if weights is None else np.broadcast_to(weights, (n_frames, len(at)))

    def scale(self, data: Mapping[str, Any]) -> float:
        """What all counts are multiplied by."""
        if self.monitor is None:
            return 1.0
        return self.monitor_reference / float(_positive(self.monitor, _readings(data, self.monitor), "a monitor")[0, 0])


def _readings(data: Mapping[str, Any], key: str, shape: tuple[int, int] = (1, 1)) -> np.ndarray:
    """A reading of each element, (1, n_elements) float64, or of each in each frame, (n_frames, n_elements)."""
    if key not in data:
        raise ValueError(f"the event has no {key}, which is needed to normalise its spectra")
    try:
        values = np.ravel(np.asarray(data[key], float))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{key} is no number: {str(data[key])[:60]!r}") from error
    n_frames, n_elements = shape
    if values.size == n_frames * n_elements:
        return values.reshape(shape)
    if values.size not in (1, n_elements):
        raise ValueError(f"{key} has {values.size} values for {n_elements} elements: give one, or one for each")
    return np.broadcast_to(values, (1, n_elements))


def _positive(key: str, values: np.ndarray, what: str) -> np.ndarray:
    if not (np.isfinite(values) & (values > 0)).all():
        raise ValueError(f"{key} is {_said(values)}: {what} is above 0")
    return values


def _said(values: np.ndarray) -> str:
    return ", ".join(f"{value:g}" for value in dict.fromkeys(values.ravel().tolist()))


@dataclass(frozen=True)
class _Fit:
    """The kernel: the model, and how the spectra of an event are put together."""

    data_key: str
    model: FluorescenceModel
    sums: Literal["before", "after"]
    elements: tuple[int, ...] | None
    normalisation: Normalisation
    concentrations: bool

    def __call__(self, data: Mapping[str, Any], seq_num: int) -> dict[str, Any]:
        key, model = self.data_key, self.model
        spectra = as_image(data[key])
        if not spectra.ndim or not spectra.size or spectra.dtype.kind not in "biuf":
            raise ValueError(f"{key} is no spectrum: it has shape {spectra.shape} and dtype {spectra.dtype}")
        n_elements = spectra.shape[-2] if spectra.ndim > 1 else 1
        spectra = spectra.reshape(-1, n_elements, spectra.shape[-1])
        at = list(range(n_elements) if self.elements is None else self.elements)
        if max(at) >= n_elements:
            raise ValueError(f"{key} has {n_elements} elements and none of number {max(at)}")
        weights = self.normalisation.weights(data, model.time, len(spectra), n_elements, at)
        scale = self.normalisation.scale(data)
        if self.elements is not None:
            spectra = spectra[:, at]
        whole = _combined(spectra, weights)
        parts = [whole]
        if self.sums == "after" and len(at) > 1:
            each = np.ones(spectra.shape[:2]) if weights is None else weights
            parts = [_combined(spectra[:, [one]], each[:, [one]]) for one in range(len(at))]
        fits = [model.fit(*part) for part in parts]
        areas, deviations, chi2 = fits[0]
        if len(fits) > 1:
            areas = np.sum([one.areas for one in fits], axis=0)
            deviations = np.sqrt(np.sum([one.uncertainties**2 for one in fits], axis=0))
            chi2 = float(np.mean([one.chi2 for one in fits]))
        areas = areas * scale
        spectrum = whole.spectrum if whole.bad is None else np.where(whole.bad, np.nan, whole.spectrum)
        made = {key: spectrum, f"{key}_areas": areas, f"{key}_uncertainties": deviations * scale}
        if self.concentrations:
            made[f"{key}_massfractions"] = model.mass_fractions(areas)
        return {**made, f"{key}_chi2": chi2, f"{key}_n_bad": self._n_bad(parts)}

    def _n_bad(self, parts: Sequence[Combined]) -> int:
        fitted = slice(self.model.first, self.model.n_channels)
        return sum(int(np.count_nonzero(part.bad[fitted])) for part in parts if part.bad is not None)


def _combined(spectra: np.ndarray, weights: np.ndarray | None) -> Combined:
    """The sum of spectra, (n_frames, n_elements, n_channels), by their weights, (n_frames, n_elements)."""
    return combine(spectra.reshape(-1, spectra.shape[-1]), None if weights is None else weights.ravel())


class FluorescenceFit(Map):
    """Events with the areas of fluorescence lines in their spectra, by the linear model of a .cfg of PyMca.

    Each spectrum is fitted by itself: SNIP takes its background away, and the areas are the exact least squares
    solution without negative ones. Of a spectrum, or one for each element of a detector, (n_elements, n_channels), or
    several frames of these, which are added, (n_frames, n_elements, n_channels), the event has then ``<data_key>``, the
    spectrum that is the sum of them, NaN where a channel is no measurement; ``<data_key>_areas``, ``_uncertainties``
    and ``_massfractions``, a number for each line; ``_chi2`` of the fit, and ``_n_bad``: how many channels that should
    have been fitted are no measurement (not finite, below 0, or as large as a counter can get). The names of the lines
    are `lines`, and in the configuration of the descriptor as ``<data_key>_lines``, with the energy of channel 0 and of
    a channel, ``<data_key>_zero`` and ``<data_key>_gain``, and ``<data_key>_refit``. See
    `bluesky_ext.spectra.fluorescence`.

    Parameters
    ----------
    data_key : str
        The key of the spectra.
    cfg : bytes, array or path
        The .cfg: its content as bytes or as an array of them, or the path of the file, which is read now.
    sums : {"before", "after"}
        Whether the spectra of elements are added before the fit, or fitted one by one and their areas added.
    elements : sequence of int, optional
        Which elements are used, from 0; all unless given.
    live_time, dead_time, correction : str, optional
        The reading that says for each element, or for all, how long it was live, in s; what share of its counts it
        missed, in percent; or what its counts are to be multiplied by. Live times make the areas those of the time that
        the .cfg has in its concentrations. One of the three at most.
    monitor : str, optional
        The reading of the incoming intensity, by which areas are divided.
    monitor_reference : float
        What they are multiplied by then: the monitor for the flux that the .cfg has.
    refit : bool
        Whether no area may be negative; without it the areas are those of PyMca with ``refit=0``.
    concentrations : bool
        Whether there are mass fractions, for which the .cfg must have a matrix and an energy.
    **options
        ``executor``, ``on_error`` and so on, as for `bluesky_ext.engine.Map`.
    """

    kernels = (warm_up,)
    libraries = ("numpy", "numba", "scipy", "PyMca5", "fisx")

    def __init__(
        self,
        data_key: str,
        cfg: bytes | np.ndarray | os.PathLike[str] | str,
        *,
        sums: Literal["before", "after"] = "before",
        elements: Sequence[int] | None = None,
        live_time: str | None = None,
        dead_time: str | None = None,
        correction: str | None = None,
        monitor: str | None = None,
        monitor_reference: float = 1.0,
        refit: bool = True,
        concentrations: bool = True,
        **options: Any,
    ) -> None:
        refuse_document("FluorescenceFit", cfg)
        check_keywords("FluorescenceFit", options, keywords_of(FluorescenceFit, Map, Stage))
        if sums not in ("before", "after"):
            raise ValueError(f"sums={sums!r} must be 'before' or 'after' the fit")
        if sum(one is not None for one in (live_time, dead_time, correction)) > 1:
            raise ValueError("live_time, dead_time and correction say the same in three ways: give one of them")
        if not (isinstance(monitor_reference, int | float) and 0 < monitor_reference < float("inf")):
            raise ValueError(f"monitor_reference={monitor_reference!r}: give a number above 0")
        if elements is not None and (not len(elements) or min(elements) < 0 or len(set(elements)) < len(elements)):
            raise ValueError(f"elements={elements!r}: give the numbers of elements, from 0, each once")
        if not isinstance(refit, bool):
            raise TypeError(f"refit={refit!r}: give True or False; spectra.fluorescence.fit_spectra has PyMca's refit")
        content = cfg_bytes(cfg)
        compile_kernels(*self.kernels)
        model = fluorescence_model(content, refit=refit, concentrations=concentrations)
        self.lines = model.lines
        #: What is fitted to the spectra.
        self.model = model
        normalisation = Normalisation(live_time, dead_time, correction, monitor, monitor_reference)
        self.n_bad = f"{data_key}_n_bad"
        self.remarkable = (self.n_bad,)
        chosen = None if elements is None else tuple(int(one) for one in elements)
        super().__init__(
            _Fit(data_key, model, sums, chosen, normalisation, concentrations),
            parameters={
                **{"data_key": data_key, "cfg": np.frombuffer(content, np.uint8), "sums": sums, "elements": chosen},
                **{"live_time": live_time, "dead_time": dead_time, "correction": correction, "monitor": monitor},
                **{"monitor_reference": monitor_reference, "refit": refit, "concentrations": concentrations},
            },
            data_keys=(data_key, *normalisation.keys),
            **options,
        )
        if left_out := unused(parsed(content), has_live_time=live_time is not None):
            self._log.warning("%s does not do what the .cfg says in %s", self.name, ", ".join(left_out))

    @classmethod
    def again(cls, record: Mapping[str, Any], materials: Any, **options: Any) -> Self:
        """The stage that a record is of, which has the .cfg by its sha256, and never as the path of a file."""
        refuse_path(record)
        return super().again(record, materials, **options)

    def describe(self, state: Any, descriptor: dict[str, Any]) -> None:
        """Say what the lines are, and the energy of channels."""
        about = {"lines": list(self.lines), "zero": self.model.zero, "gain": self.model.gain}
        about["refit"] = self.model.is_nonnegative
        said = {f"{self.data_keys[0]}_{name}": value for name, value in about.items()}
        source, kev = f"bluesky_ext:{self.name}", {"units": "keV"}
        configuration = descriptor.setdefault("configuration", {})
        before = configuration.get(self.name, {})  # of a stage that has the same name
        configuration[self.name] = {
            "data": {**before.get("data", {}), **said},
            "timestamps": {**before.get("timestamps", {}), **dict.fromkeys(said, time.time())},
            "data_keys": {
                **before.get("data_keys", {}),
                **{k: described(v, source, kev if isinstance(v, float) else None) for k, v in said.items()},
            },
        }

    def remark(self, run: StageRun, event: Mapping[str, Any], told: Mapping[str, Any]) -> None:
        """Say how many channels were left out because they are no measurement."""
        run.complaints(
            f"{self.name} bad channels",
            "%s leaves out %d channels of %r in event %d of run %s, which are no measurement: not finite, "
            "below 0, or saturated. A line that has most of its peak there is NaN",
            *(self.name, told[self.n_bad], self.data_keys[0], event["seq_num"], run),
        )


def cfg_bytes(cfg: bytes | np.ndarray | os.PathLike[str] | str) -> bytes:
    """The content of a configuration: of a file, if this is a path."""
    if isinstance(cfg, bytes | bytearray | memoryview):
        return bytes(cfg)
    if isinstance(cfg, np.ndarray):
        if cfg.dtype != np.uint8 or cfg.ndim != 1:
            raise TypeError(f"cfg has dtype {cfg.dtype} and shape {cfg.shape}: give its bytes, or the path of the file")
        return cfg.tobytes()
    try:
        return Path(cfg).read_bytes()
    except OSError as error:
        raise ValueError(f"cfg={os.fspath(cfg)!r} can't be read: {error.strerror}") from error


def refuse_path(record: Mapping[str, Any]) -> None:
    """Refuse a record that has the path of a configuration, which no stage writes: a file would be read for it."""
    cfg = record["parameters"].get("cfg")
    if isinstance(cfg, str):
        raise ValueError(f"the record has the file {cfg!r} as cfg: it was not written by that stage")
