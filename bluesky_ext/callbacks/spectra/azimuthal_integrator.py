"""The diffractogram of every image."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np

from bluesky_ext._arguments import check_keywords, keywords_of, refuse_document
from bluesky_ext._compile import compile_kernels
from bluesky_ext.engine import Map, Stage, image_blocks
from bluesky_ext.engine.documents.descriptors import data_key as described
from bluesky_ext.images import Gaps, check_mask
from bluesky_ext.masks.selection import SelectedMasks
from bluesky_ext.masks.stage import MaskedMap, known_mask
from bluesky_ext.spectra.azimuthal import AzimuthalSettings, Integrator, integration_kernels, integrator, poni_bytes


@dataclass(frozen=True)
class _Integrate:
    """The kernel: the diffractogram of an event's image. What it needs of the geometry is made once in a process."""

    takes_blocks: ClassVar[bool] = True

    data_key: str
    poni: bytes
    settings: AzimuthalSettings
    shape: tuple[int, int] | None
    gaps: Gaps
    monitor: str | None
    mask: np.ndarray | None

    def __call__(self, data: Mapping[str, Any], seq_num: int, mask: np.ndarray | None = None) -> dict[str, Any]:
        if self.monitor is not None and self.monitor not in data:  # a dark of maps that are composed
            return {}
        frames = image_blocks(data, self.data_key)
        one = self._integrator.integrate(
            frames, self.mask if mask is None else mask, monitor=self._monitor(data), gaps=self.gaps
        )
        changes: dict[str, Any] = {self.data_key: None, f"{self.data_key}_intensity": one.intensity}
        if one.sigma is not None:
            changes[f"{self.data_key}_sigma"] = one.sigma
        if self.gaps:
            changes[f"{self.data_key}_n_gaps"] = one.n_gaps
        return changes

    @cached_property
    def _integrator(self) -> Integrator:
        """It is held as long as the kernel is: several kernels in a worker would have it made anew for every event."""
        return integrator(self.poni, self.settings, self.shape)

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def _monitor(self, data: Mapping[str, Any]) -> float:
        if self.monitor is None:
            return 1.0
        reading = data[self.monitor]
        try:
            value = float(reading)
        except (TypeError, ValueError):
            value = math.nan
        if not 0 < value < math.inf:
            said = reading.tolist() if isinstance(reading, np.ndarray) else reading
            raise ValueError(f"the monitor {self.monitor!r} is {said!r:.80}: intensities can't be divided by it")
        return value


class AzimuthalIntegrator(MaskedMap):
    """Events with the diffractogram of their image in place of it, equal to what pyFAI makes of it.

    ``<data_key>_intensity`` is (n_bins,) float32, or (n_sectors, n_bins) with sectors, NaN in bins without a pixel;
    ``<data_key>_sigma`` its standard error, if there is an error model; ``<data_key>_n_gaps`` how many pixels that no
    mask covers were no measurement. The configuration of the derived descriptors has the axes
    (``<data_key>_radial``, ``<data_key>_radial_edges``, ``<data_key>_sectors``), the geometry and the settings.
    Of several frames in one event it is the mean diffractogram.

    Parameters
    ----------
    data_key : str
        The key of the image.
    poni : path, bytes or array of uint8
        The .poni file with the geometry of the detector, read now, or its content.
    n_bins, unit, radial_range, sectors, splitting, solid_angle, polarization, error_model
        As for `bluesky_ext.spectra.azimuthal.AzimuthalSettings`.
    monitor : str, optional
        The key of a reading that the intensities are divided by. A stream without it is handed on as it is.
    mask : array, str, tuple or list of these, optional
        As the ``masks`` of `MaskApplier`: masked pixels are not used. Those that the detector masks itself, as pyFAI
        knows it, are never used.
    registry : MaskClient, or what `bluesky_ext.storage.open_catalog` takes; optional
        Where masks are looked up, once at the start of each run.
    gaps : "auto", True or False
        Which pixels are no measurement: see `bluesky_ext.spectra.azimuthal.Integrator.integrate`. Dead pixels at the
        maximum of uint16, here and there, need True.
    shape : (int, int), optional
        Rows and columns of the images, for a .poni that does not say it.
    **options
        ``executor``, ``on_error`` and so on, as for `bluesky_ext.engine.Map`.

    Examples
    --------
    >>> from bluesky_ext import AzimuthalIntegrator
    >>> from bluesky_ext.sim import Powder
    >>> ai = AzimuthalIntegrator("dexela_image", Powder(shape=(64, 64)).poni, 100, "2th_deg")
    >>> token = ai.subscribe(print)
    """

    kernels = tuple(integration_kernels())
    libraries = ("numpy", "numba", "pyFAI")
    other_gaps = "; or below 0 in signed integers, or at the value of dead pixels that pyFAI knows of the detector"
    #: Diffractograms of sectors have two dimensions, as images do.
    hashes_images = True

    def __init__(
        self,
        data_key: str,
        poni: str | os.PathLike[str] | bytes | np.ndarray,
        n_bins: int,
        unit: Literal["q_nm^-1", "q_A^-1", "2th_deg", "2th_rad", "r_mm"] = "q_nm^-1",
        *,
        radial_range: tuple[float, float] | None = None,
        sectors: int | Sequence[tuple[float, float]] | None = None,
        splitting: Literal["no", "bbox", "full"] = "bbox",
        solid_angle: bool = True,
        polarization: float | None = None,
        error_model: Literal["poisson", "azimuthal"] | None = None,
        monitor: str | None = None,
        mask: Any = None,
        registry: Any = None,
        gaps: Gaps = "auto",
        shape: tuple[int, int] | None = None,
        **options: Any,
    ) -> None:
        refuse_document("AzimuthalIntegrator", poni)
        check_keywords("AzimuthalIntegrator", options, keywords_of(AzimuthalIntegrator, Map, Stage))
        self.data_key, self.n_gaps = data_key, f"{data_key}_n_gaps"
        content = poni_bytes(poni)
        settings = AzimuthalSettings(
            n_bins, unit, radial_range, sectors, splitting, solid_angle, polarization, error_model
        )
        shape = None if shape is None else (int(shape[0]), int(shape[1]))
        given = None if mask is None else SelectedMasks(mask, registry)
        compile_kernels(*self.kernels)
        #: What integrates here, which has the axes.
        self.integrator = integrator(content, settings, shape)
        if (known := known_mask(given)) is not None:
            check_mask(known, self.integrator.shape)
        self._about = {**asdict(settings), "monitor": monitor, "poni": content.decode()}
        self._about["poni_sha256"] = hashlib.sha256(content).hexdigest()
        super().__init__(
            _Integrate(data_key, content, settings, shape, gaps, monitor, known),
            given=given,
            gaps=gaps,
            parameters={
                **{"data_key": data_key, "poni": np.frombuffer(content, np.uint8), **asdict(settings)},
                **{"monitor": monitor, "mask": None if given is None else given.parameters},
                **{"gaps": gaps, "shape": shape},
            },
            data_keys=(data_key,) if monitor is None else (data_key, monitor),
            **options,
        )

    @property
    def radial(self) -> tuple[np.ndarray, str]:
        """The middles of the bins, (n_bins,) float64, and their unit by pyFAI's name for it."""
        return self.integrator.radial, self._about["unit"]

    def describe(self, state: Any, descriptor: dict[str, Any]) -> None:
        """Say what the axes are, and how the integration is done."""
        super().describe(state, descriptor)
        used, one = self.masks_of(state), self.integrator
        about = {
            **{name: said for name, said in self._about.items() if said is not None and name != "sectors"},
            "radial": one.radial.tolist(),
            "radial_edges": one.radial_edges.tolist(),
            "norm": one.norm(None if used is None else used.mask).tolist(),
        }
        if one.sectors is not None:
            about["sectors"] = one.sectors.tolist()
        if one.wavelength is not None:
            about["wavelength"] = one.wavelength
        said = {f"{self.data_key}_{name}": value for name, value in about.items()}
        source = f"bluesky_ext:{self.name}"
        mine = descriptor.setdefault("configuration", {}).setdefault(self.name, {})
        for part, content in (
            ("data", said),
            ("timestamps", dict.fromkeys(said, time.time())),
            ("data_keys", {key: described(value, source) for key, value in said.items()}),
        ):
            mine[part] = {**mine.get(part, {}), **content}
