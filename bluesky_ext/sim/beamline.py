"""A whole simulated beamline in one call."""

from __future__ import annotations

from dataclasses import dataclass, fields
from os import PathLike
from typing import Any

from bluesky_ext.sim.crystal import Crystal
from bluesky_ext.sim.detector import CrystalDetector, Sample
from bluesky_ext.sim.imagefile import Spec
from bluesky_ext.sim.motor import SimMotor
from bluesky_ext.sim.powder import Powder
from bluesky_ext.sim.shutter import Shutter

__all__ = ["Beamline", "PowderBeamline", "beamline", "powder_beamline"]

# How far the motors go beyond the borders of the sample, in mm: a fly scan needs room to accelerate.
TRAVEL = 10.0


@dataclass(frozen=True)
class Beamline:
    """The devices of a beamline, and the sample in it.

    Parameters
    ----------
    crystal : Crystal
        The sample, with the truth about it.
    detector : CrystalDetector
        The area detector.
    shutter : Shutter
        The shutter, open at the start.
    y, x : SimMotor
        The motors that move the sample, in mm, ``sample_y`` and ``sample_x``; the middle of the sample is in the
        beam at the start.
    """

    crystal: Crystal
    detector: CrystalDetector
    shutter: Shutter
    y: SimMotor
    x: SimMotor


def beamline(
    seed: int = 0,
    shape: tuple[int, int] = (512, 512),
    *,
    name: str = "dexela",
    directory: str | PathLike[str] | None = None,
    spec: Spec = "AD_TIFF",
    frames_per_point: int = 1,
    acquire_time: float = 0.1,
    real_time: bool = False,
    **crystal: Any,
) -> Beamline:
    """A new beamline with a crystal in it, ready for the RunEngine.

    Two beamlines made alike and used alike give the same images, bit for bit.

    Parameters
    ----------
    seed : int
        Seed of the crystal and of all noise.
    shape : tuple of int
        Rows and columns of the detector.
    name : str
        Name of the detector: the key of its images is ``{name}_image``.
    directory : path, optional
        Where the detector writes its images. By default they are in the events.
    spec : {"AD_TIFF", "AD_HDF5"}
        Which files it writes.
    frames_per_point : int
        Frames of each image.
    acquire_time : float
        Time of each frame, in s.
    real_time : bool
        Let moves and exposures last as long as they would, as for a demonstration or a fly scan.
    **crystal
        More parameters of the `Crystal`: n_grains, extents, spots_per_grain, ...

    Returns
    -------
    Beamline
        The devices: crystal, detector, shutter, y, x.

    Examples
    --------
    >>> from bluesky import RunEngine
    >>> from bluesky.plans import grid_scan
    >>> b = beamline(seed=1, shape=(64, 64), n_grains=2)
    >>> RE = RunEngine()
    >>> uids = RE(grid_scan([b.detector], b.y, -0.5, 0.5, 2, b.x, -0.5, 0.5, 2))
    """
    sample = Crystal(seed, shape, **crystal)
    devices = _devices(
        sample,
        sample.extents,
        name=name,
        directory=directory,
        spec=spec,
        frames_per_point=frames_per_point,
        acquire_time=acquire_time,
        real_time=real_time,
    )
    return Beamline(crystal=sample, **devices)


@dataclass(frozen=True)
class PowderBeamline:
    """The devices of a beamline, and the powder in it.

    Parameters
    ----------
    powder : Powder
        The sample, with the truth about it, and the .poni of the detector.
    detector, shutter, y, x
        As those of a `Beamline`.
    """

    powder: Powder
    detector: CrystalDetector
    shutter: Shutter
    y: SimMotor
    x: SimMotor


def powder_beamline(
    seed: int = 0, shape: tuple[int, int] = (512, 512), *, name: str = "dexela", **options: Any
) -> PowderBeamline:
    """A new beamline with a powder in it, ready for the RunEngine.

    Parameters
    ----------
    seed, shape, name
        As for `beamline`.
    **options
        Parameters of the `Powder`: d_spacings, hill, gradient, ...; and of the `CrystalDetector`: directory, spec, ...

    Examples
    --------
    >>> b = powder_beamline(shape=(64, 64), hill=0)
    >>> b.detector.image.name
    'dexela_image'
    """
    known = {field.name for field in fields(Powder)}
    powder = Powder(seed, shape, **{key: value for key, value in options.items() if key in known})
    others = {key: value for key, value in options.items() if key not in known}
    return PowderBeamline(powder=powder, **_devices(powder, ((-1.0, 1.0), (-1.0, 1.0)), name=name, **others))


def _devices(
    sample: Sample, extents: tuple[tuple[float, float], ...], *, name: str, real_time: bool = False, **detector: Any
) -> dict[str, Any]:
    """The devices around a sample that goes so far, ((y0, y1), (x0, x1)), in mm."""
    y, x = (
        SimMotor(name=motor, value=(low + high) / 2, limits=(low - TRAVEL, high + TRAVEL), real_time=real_time)
        # Not "y" and "x": tables of peaks have columns of these names.
        for motor, (low, high) in zip(("sample_y", "sample_x"), extents, strict=True)
    )
    shutter = Shutter(name="shutter")
    seen = CrystalDetector(name=name, crystal=sample, y=y, x=x, shutter=shutter, real_time=real_time, **detector)
    return {"detector": seen, "shutter": shutter, "y": y, "x": x}
