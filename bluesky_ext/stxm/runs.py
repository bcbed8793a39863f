"""What the scans of an STXM have in common: settings before, runs with a baseline, the shutter closed after."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Readable
from bluesky.utils import MsgGenerator, plan

from bluesky_ext.plans.grid import Axis
from bluesky_ext.plans.temporary import read_setting
from bluesky_ext.stxm.endstation import Endstation
from bluesky_ext.stxm.grid import check_setpoints
from bluesky_ext.stxm.metadata import as_json
from bluesky_ext.stxm.region import Polarized

__all__ = [
    "Run",
    "Setting",
    "as_seen",
    "check_energy",
    "given_md",
    "known_energy",
    "measure",
    "polarized",
    "run_scan",
    "start_document",
]


@dataclass(frozen=True)
class Run:
    """One run of a scan.

    Parameters
    ----------
    md : dict
        Its start document.
    points : iterable of mapping
        Where devices are set to at each event.
    before : mapping
        Where devices are set to before the run is opened.
    baseline : bool
        Whether the devices of the endstation are read before and after.
    """

    md: dict[str, Any]
    points: Iterable[Mapping[Any, Any]]
    before: Mapping[Any, Any] = field(default_factory=dict)
    baseline: bool = True


class Setting:
    """A setting of a detector that is read at each event, beside the detector.

    Of a device and a part of it `bluesky.plan_stubs.trigger_and_read` reads the device only, and that has no settings
    among its readings. This has no parent.

    Parameters
    ----------
    signal : Readable
        The setting.
    """

    parent = None

    def __init__(self, signal: Any) -> None:
        self._signal = signal

    @property
    def name(self) -> str:
        """Name of the setting."""
        return self._signal.name

    def read(self) -> Any:
        """Its reading."""
        return self._signal.read()

    def describe(self) -> Any:
        """Its data key."""
        return self._signal.describe()


def check_energy(station: Endstation, energy: float | None) -> dict[Any, float]:
    """Where the energy is to be set to, if anywhere; raises a ValueError if it cannot be."""
    if energy is None:
        return {}
    (value,) = check_setpoints("energy", [energy], station["ENERGY"])
    return {station["ENERGY"]: value}


@plan
def known_energy(station: Endstation, energy: float | None) -> MsgGenerator[list[float]]:
    """The energy that was asked for, or else where it is, in a list; an empty one if it is not known."""
    value = energy if energy is not None else (yield from as_seen(station, "ENERGY"))
    return [] if value is None else [float(value)]


@plan
def as_seen(station: Endstation, name: str) -> MsgGenerator[float | None]:
    """Where a device of the endstation is now; None if there is none, or nobody answers."""
    if name not in station:
        return None
    value = yield from read_setting(station[name])
    return None if value is None else float(value)


@plan
def polarized(station: Endstation) -> MsgGenerator[list[Polarized]]:
    """The setting of the undulator as it is, in a list; an empty one if it is not known."""
    polarization = yield from as_seen(station, "EPUPolarization")
    if polarization is None:
        return []
    offset = yield from as_seen(station, "EPUOffset")
    angle = yield from as_seen(station, "EPUAngle")
    return [Polarized(polarization, offset or 0.0, angle or 0.0)]


def start_document(
    plan_name: str,
    metadata: str,
    detectors: Sequence[Readable],
    axes: Sequence[Sequence[Axis]],
    plan_args: Mapping[str, Any],
    md: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What goes into a start document: a new dict, in which the caller's metadata win.

    Parameters
    ----------
    plan_name : str
        Name of the plan.
    metadata : str
        What `make_standard_metadata` gives.
    detectors : sequence
        The detectors.
    axes : sequence of sequence of Axis
        The dimensions of the run, the slowest first: the axes in each move together. None if its points make no grid.
    plan_args : mapping
        The arguments of the plan, which become what JSON has.
    md : mapping, optional
        The caller's metadata.
    """
    given = given_md(md)
    motors = [axis.motor for dimension in axes for axis in dimension]
    shape = [dimension[0].num for dimension in axes]
    points = 1
    for num in shape:
        points *= num
    fields = [[name for axis in dimension for name in _fields(axis.motor)] for dimension in axes]
    hints: dict[str, Any] = {"dimensions": [(names, "primary") for names in fields]} if all(fields) else {}
    if axes and all(len(dimension) == 1 for dimension in axes):
        hints["gridding"] = "rectilinear"
    grid = {
        "motors": [motor.name for motor in motors],
        "shape": shape,
        "extents": [[axis.start, axis.stop] for dimension in axes for axis in dimension[:1]],
        "snaking": [dimension[0].snake for dimension in axes],
        "num_points": points,
        "num_intervals": points - 1,
    }
    return {
        "plan_name": plan_name,
        "plan_args": {"detectors": [repr(det) for det in detectors], **json.loads(as_json(plan_args))},
        "detectors": [det.name for det in detectors],
        **(grid if axes else {}),
        "metadata": metadata,
        **given,
        "hints": {**hints, **given["hints"]},
    }


def given_md(md: Any) -> dict[str, Any]:
    """The caller's metadata as a new dict, with hints; raises a TypeError if they are no dict."""
    given = {} if md is None else md
    if not isinstance(given, Mapping):
        raise TypeError(f"md is {md!r}: give a dict, or leave it out")
    hints = given.get("hints")
    if hints is not None and not isinstance(hints, Mapping):
        raise TypeError(f"hints of md is {hints!r}: give a dict, or leave it out")
    return {**given, "hints": dict(hints or {})}


def _fields(motor: Any) -> list[str]:
    return list(getattr(motor, "hints", {}).get("fields", [motor.name]))


@plan
def run_scan(
    runs: Iterable[Run],
    detectors: Sequence[Any],
    motors: Sequence[Any],
    station: Endstation,
    settings: Mapping[Any, Any] | None = None,
    also: Sequence[Any] = (),
    carried: Mapping[Any, Any] | None = None,
) -> MsgGenerator[str]:
    """Measure the runs one after the other with the shutter open.

    At every end the shutter is closed, and what the runs moved goes back to where it was; ``settings`` stay.

    Parameters
    ----------
    runs : iterable of Run
        The runs.
    detectors : sequence
        The detectors.
    motors : sequence
        What the runs move, and is read at each event.
    station : Endstation
        The shutter and the baseline. The ring current is read at each event.
    settings : mapping, optional
        Where devices are set to before all.
    also : sequence
        What else is read at each event.
    carried : mapping, optional
        What the detectors move, and from where.

    Returns
    -------
    str
        The uid of the first run.
    """
    beam = station.beam()
    current = [station["StorageRingCurrent"]] if "StorageRingCurrent" in station else []
    read = [*detectors, *motors, *also]
    read += [device for device in current if device not in read]

    def inner() -> MsgGenerator[str]:
        for moves in filter(None, (settings, carried)):
            yield from _move(moves)
        yield from beam.open(stay=True)
        first = ""
        for run in runs:
            if run.before:
                yield from _move(run.before)
            baseline = list(station.devices.values()) if run.baseline else []
            measured: Any = bpp.run_wrapper(measure(run.points, read, baseline), md=run.md)
            uid = yield from measured
            first = first or uid
        return first

    # The beam innermost: the shutter is closed before anything moves back.
    measured = bpp.finalize_wrapper(inner(), beam.restore)
    measured = bpp.reset_positions_wrapper(measured, [*motors, *(carried or {})])
    devices = [beam, *detectors, *motors]
    return (yield from bpp.stage_wrapper(measured, devices))


@plan
def measure(
    points: Iterable[Mapping[Any, Any]], read: Sequence[Any], baseline: Sequence[Any] = ()
) -> MsgGenerator[None]:
    """An event at each point, and one of the baseline before and after.

    `bluesky.preprocessors.baseline_wrapper` reads the baseline after the last checkpoint of a run: if the plan is
    paused just then, the RunEngine reads it again after the run is closed, and fails.

    Parameters
    ----------
    points : iterable of mapping
        Where devices are set to at each event.
    read : sequence
        What is read there.
    baseline : sequence
        What is read before and after, in a stream of its own.
    """
    if baseline:
        yield from bps.trigger_and_read(baseline, name="baseline")
    at: dict[Any, Any] = defaultdict(lambda: None)
    for point in points:
        yield from bps.move_per_step(point, at)
        yield from bps.trigger_and_read(read)
    yield from bps.checkpoint()
    if baseline:
        yield from bps.trigger_and_read(baseline, name="baseline")
        yield from bps.checkpoint()


@plan
def _move(settings: Mapping[Any, Any]) -> MsgGenerator[None]:
    yield from bps.checkpoint()
    yield from bps.mv(*_flat(settings))


def _flat(settings: Mapping[Any, Any]) -> Iterator[Any]:
    for device, value in settings.items():
        yield device
        yield value
