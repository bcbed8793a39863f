"""The curves of a point: its spectrum with the fit, its diffractogram, and other arrays along one axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bluesky_ext.callbacks.spectra.azimuthal_integrator import AzimuthalIntegrator
from bluesky_ext.callbacks.spectra.diffractograms import RADIAL, Diffractograms
from bluesky_ext.callbacks.spectra.fluorescence_fit import FluorescenceFit
from bluesky_ext.callbacks.spectra.fluorescence_map import FluorescenceMap
from bluesky_ext.engine import Map, Stage
from bluesky_ext.spectra.fluorescence.model import FluorescenceModel
from bluesky_ext.view.points.recorder import MADE, TABLE, TAKEN

#: The arrays of a point by the number of the stage, the key, and whether they were taken or made.
Kept = Mapping[Any, Any]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One or several lines over the same x."""

    x: np.ndarray
    lines: Mapping[str, np.ndarray]
    label: str
    x_label: str = "channel"
    x_unit: str = ""
    y_label: str = "counts"
    log: bool = False
    #: The number of its first channel, where only a part of them is drawn.
    first_channel: int = 0


def curves_of(kept: Kept, stages: Sequence[Stage], names: list[str]) -> list[dict[str, str]]:
    """What there is to draw of a point: id, label and stage of each curve; what a map made is not told of a reduce."""
    found: dict[str, dict[str, str]] = {}
    for number, key, kind in sorted(kept, key=lambda one: not isinstance(stages[one[0]], Map)):
        stage = stages[number]
        if kind == TABLE or not _is_drawn(stage, key, kind) or key in found:
            continue
        found[key] = {"id": curve_id((number, key, kind), names), "label": _label(stage, key), "stage": names[number]}
    return list(found.values())


def curve_id(place: tuple[int, str, str], names: list[str]) -> str:
    """The id of the curve that is kept there."""
    return f"{names[place[0]]}/{place[1]}"


def curve(kept: Kept, stages: Sequence[Stage], names: list[str], id_: str) -> Curve:
    """The curve with an id; KeyError if the point has none such."""
    for (number, key, kind), value in kept.items():
        stage = stages[number]
        if id_ == curve_id((number, key, kind), names) and kind != TABLE and _is_drawn(stage, key, kind):
            values = np.asarray(value, float)
            if isinstance(stage, FluorescenceFit):
                return _spectrum(values, stage.model, key)
            if isinstance(stage, FluorescenceMap) and stage.model is not None:
                return _spectrum(values, stage.model, key)
            if isinstance(stage, AzimuthalIntegrator | Diffractograms):
                sigma = kept.get((number, key.removesuffix("intensity") + "sigma", kind))
                return _diffractogram(values, sigma, stage.radial, key)
            return Curve(x=np.arange(values.shape[-1], dtype=float), lines=_rows(values, "value"), label=key)
    raise KeyError(id_)


def _is_drawn(stage: Stage, key: str, kind: str) -> bool:
    if isinstance(stage, FluorescenceFit):
        return kind == MADE and key == stage.data_keys[0]
    if isinstance(stage, FluorescenceMap):
        return key == stage.data_key
    if isinstance(stage, AzimuthalIntegrator | Diffractograms):
        return key == f"{stage.data_key}_intensity" and kind == (MADE if isinstance(stage, Map) else TAKEN)
    return True


def _label(stage: Stage, key: str) -> str:
    if isinstance(stage, FluorescenceFit | FluorescenceMap):
        return f"spectrum of {key}"
    if isinstance(stage, AzimuthalIntegrator | Diffractograms):
        return f"diffractogram of {stage.data_key}"
    return key


def _spectrum(values: np.ndarray, model: FluorescenceModel, key: str) -> Curve:
    """A spectrum, its fit and its background, and each line of the fit above that."""
    one = model.curve(values)
    lines = {"measured": one.spectrum, "fit": one.fit, "background": one.background, **model.components(values)}
    return Curve(
        x=one.energy,
        lines=lines,
        label=f"spectrum of {key}",
        x_label="energy",
        x_unit="keV",
        log=True,
        first_channel=model.first,
    )


def _diffractogram(values: np.ndarray, sigma: Any, radial: tuple[np.ndarray, str] | None, key: str) -> Curve:
    lines = _rows(values, "intensity")
    if sigma is not None:
        lines |= _rows(np.asarray(sigma, float), "error")
    label = f"diffractogram of {key.removesuffix('_intensity')}"
    x, unit = (np.arange(values.shape[-1], dtype=float), "") if radial is None else radial
    x_label, x_unit = RADIAL.get(unit, ("bin", ""))
    return Curve(x=x, lines=lines, label=label, x_label=x_label, x_unit=x_unit, y_label="intensity")


def _rows(values: np.ndarray, name: str) -> dict[str, np.ndarray]:
    """A line for each row; of a single one without a number."""
    if values.ndim == 1:
        return {name: values}
    return {f"{name} {number}": row for number, row in enumerate(values.reshape(-1, values.shape[-1]))}
