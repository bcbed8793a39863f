"""A whole simulated STXM in one call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bluesky_ext.sim.shutter import Shutter
from bluesky_ext.stxm.sim.ccd import CCD
from bluesky_ext.stxm.sim.counter import LineCounter, PointCounter, RingCurrent
from bluesky_ext.stxm.sim.microscope import Conditions, Microscope, Polarization
from bluesky_ext.stxm.sim.ring import BeamTime
from bluesky_ext.stxm.sim.stage import Monochromator, Stage

__all__ = ["STXM", "stxm"]


@dataclass(frozen=True)
class STXM:
    """The devices of an STXM, and the truth about it.

    Positions are in um, angles in degrees, energies in eV, dwell times in ms. At the start the microscope is
    aligned, the sample in focus, the shutter open.

    Parameters
    ----------
    microscope : Microscope
        The physics, with the sample in it: the truth.
    counter : PointCounter
        Counts photons: ``counter0``.
    diode : PointCounter
        A photodiode beside it, noisier: ``pmt``.
    line : LineCounter
        Counts a line at a time: ``line0``.
    ccd : CCD
        The camera for ptychography.
    shutter : Shutter
        The shutter.
    sample_y, sample_x : Stage
        The fine stages of the sample.
    coarse_y, coarse_x : Stage
        The coarse ones below.
    goni_y, goni_x : Stage
        Those of the goniometer.
    goni_theta : Stage
        Its rotation.
    zoneplate_z : Stage
        The zone plate along the beam.
    osa_y, osa_x : Stage
        The order-sorting aperture.
    detector_y, detector_x : Stage
        The detectors.
    energy : Monochromator
        The photon energy; the zone plate follows it.
    polarization : Stage
        A `Polarization`, by its number.
    epu_offset, epu_angle : Stage
        More settings of the undulator; the angle is that of ``LINEAR_INCLINED``.
    ring_current : RingCurrent
        The storage ring.
    """

    microscope: Microscope
    counter: PointCounter
    diode: PointCounter
    line: LineCounter
    ccd: CCD
    shutter: Shutter
    sample_y: Stage
    sample_x: Stage
    coarse_y: Stage
    coarse_x: Stage
    goni_y: Stage
    goni_x: Stage
    goni_theta: Stage
    zoneplate_z: Stage
    osa_y: Stage
    osa_x: Stage
    detector_y: Stage
    detector_x: Stage
    energy: Monochromator
    polarization: Stage
    epu_offset: Stage
    epu_angle: Stage
    ring_current: RingCurrent

    @property
    def devices(self) -> dict[str, Any]:
        """The devices that plans and files need, by the names that the community has for them."""
        return {
            "SampleFineX": self.sample_x,
            "SampleFineY": self.sample_y,
            "Coarse.X": self.coarse_x,
            "Coarse.Y": self.coarse_y,
            "GoniX": self.goni_x,
            "GoniY": self.goni_y,
            "GoniTheta": self.goni_theta,
            "ZonePlate.Z": self.zoneplate_z,
            "OSA.X": self.osa_x,
            "OSA.Y": self.osa_y,
            "Detector.X": self.detector_x,
            "Detector.Y": self.detector_y,
            "ENERGY": self.energy,
            "EPUPolarization": self.polarization,
            "EPUOffset": self.epu_offset,
            "EPUAngle": self.epu_angle,
            "StorageRingCurrent": self.ring_current,
        }

    @property
    def zp_def(self) -> dict[str, float]:
        """The zone plate, under the names that the metadata of a scan has for its parameters."""
        zoneplate = self.microscope.zoneplate
        return {
            "zpD": zoneplate.diameter,
            "zpCStop": zoneplate.central_stop,
            "zpOZone": zoneplate.outer_zone,
            "zpA1": -zoneplate.slope,
        }

    def conditions(self, seconds: float = 0.0) -> Conditions:
        """Where everything is now; ``seconds`` is the beam time."""
        return Conditions(
            energy=self.energy.where,
            zoneplate_z=self.zoneplate_z.where,
            y=self.sample_y.where + self.coarse_y.where + self.goni_y.where,
            x=self.sample_x.where + self.coarse_x.where + self.goni_x.where,
            rotation=self.goni_theta.where,
            polarization=round(self.polarization.where),
            angle=self.epu_angle.where,
            osa_y=self.osa_y.where,
            osa_x=self.osa_x.where,
            detector_y=self.detector_y.where,
            detector_x=self.detector_x.where,
            seconds=seconds,
        )


def stxm(seed: int = 0, *, ccd_size: int = 64, jitter: bool = True, real_time: bool = False, **microscope: Any) -> STXM:
    """A new STXM with a sample in it, ready for the RunEngine.

    Two of them made alike and used alike give the same counts.

    Parameters
    ----------
    seed : int
        Seed of the sample, the misalignments and all noise.
    ccd_size : int
        Pixels of a side of the camera.
    jitter : bool
        Let stages stop a little beside their setpoints, as real ones do.
    real_time : bool
        Let moves and exposures last as long as they would.
    **microscope
        More parameters of the `Microscope`: specimen, zoneplate, ring, flux, ...

    Returns
    -------
    STXM
        The devices, and the truth.

    Examples
    --------
    >>> from bluesky import RunEngine
    >>> from bluesky.plans import scan
    >>> s = stxm(seed=1)
    >>> RE = RunEngine()
    >>> uids = RE(scan([s.counter], s.energy, 280, 295, 4))
    """
    truth = Microscope(seed, **microscope)
    beam_time = BeamTime()

    def stage(name: str, limit: float, off: float, value: float = 0.0, egu: str = "um", **kwargs: Any) -> Stage:
        limits = kwargs.pop("limits", (-limit, limit))
        options = {"jitter": off * jitter, "seed": seed, "real_time": real_time, "precision": 4}
        return Stage(name=name, value=value, limits=limits, egu=egu, **options, **kwargs)

    start = 285.2
    focus = truth.focus(start)
    osa, detector = (list(zip("yx", centre, strict=True)) for centre in (truth.osa_centre, truth.detector_centre))
    stages = {
        **{f"sample_{axis}": stage(f"sample_{axis}", 50.0, 0.002) for axis in "yx"},
        **{f"coarse_{axis}": stage(f"coarse_{axis}", 5_000.0, 0.1) for axis in "yx"},
        **{f"goni_{axis}": stage(f"goni_{axis}", 600.0, 0.01) for axis in "yx"},
        "goni_theta": stage("goni_theta", 75.0, 0.001, egu="deg"),
        "zoneplate_z": stage("zoneplate_z", 0.0, 0.01, focus, limits=(-15_000.0, -300.0)),
        **{f"osa_{axis}": stage(f"osa_{axis}", 4_000.0, 0.05, at) for axis, at in osa},
        **{f"detector_{axis}": stage(f"detector_{axis}", 4_000.0, 0.5, at) for axis, at in detector},
        "polarization": stage("epu_polarization", 0.0, 0.0, 2.0, "", limits=(0.0, 5.0), places=Polarization),
        "epu_offset": stage("epu_offset", 20.0, 0.0, egu="mm"),
        "epu_angle": stage("epu_angle", 90.0, 0.0, egu="deg"),
    }
    energy = Monochromator(
        name="energy",
        zoneplate=truth.zoneplate,
        zoneplate_z=stages["zoneplate_z"],
        value=start,
        limits=(200.0, 2_000.0),
        jitter=0.002 * jitter,
        seed=seed,
        real_time=real_time,
        precision=4,
    )
    for quick in (*stages.values(), energy):
        quick.velocity.put(1_000.0)
    devices: dict[str, Any] = {**stages, "energy": energy}
    shutter = Shutter(name="shutter")
    found: list[STXM] = []
    common = {
        "microscope": truth,
        "conditions": lambda seconds: found[0].conditions(seconds),
        "beam_time": beam_time,
        "shutter": shutter,
        "real_time": real_time,
    }
    made = STXM(
        microscope=truth,
        counter=PointCounter(name="counter0", dark_rate=20.0, **common),
        diode=PointCounter(name="pmt", efficiency=0.2, dark_rate=2_000.0, gain=1e-3, units="nA", **common),
        line=LineCounter(name="line0", stage_x=devices["sample_x"], **common),
        ccd=CCD(name="ccd", size=ccd_size, **common),
        shutter=shutter,
        ring_current=RingCurrent(name="ring_current", microscope=truth, beam_time=beam_time),
        **devices,
    )
    found.append(made)
    return made
