"""Runs of an STXM as documents, made by hand: every scan type, in the old schema of its metadata and in the new one."""

import copy
import itertools
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import event_model
import h5py
import numpy as np
import pytest

NAMES = {
    "ENERGY": "BL:ENERGY",
    "GoniTheta": "IOC:m110",
    "SampleX": "IOC:m117",
    "SampleY": "IOC:m118",
    "Detector.X": "IOC:m114",
    "Detector.Y": "IOC:m115",
    "OSA.X": "IOC:m104",
    "OSA.Y": "IOC:m105",
    "_ZonePlateZ_base": "IOC:m111",
    "GoniX": "IOC:m107",
    "GoniY": "IOC:m108",
    "StorageRingCurrent": "PCT:mA:fbk",
}
BASELINE = {"ENERGY": 700.5, "GoniTheta": 2.25, "SampleX": 11.5, "SampleY": -3.25, "StorageRingCurrent": 219.5}


def roi(points, positioner):
    """A region of interest as STXM software has it."""
    if points is None:
        return {"SETPOINTS": [], "START": None, "STOP": None, "CENTER": None, "NPOINTS": 0, "POSITIONER": positioner}
    points = [float(p) for p in points]
    return {
        "SETPOINTS": points,
        "START": points[0],
        "STOP": points[-1],
        "NPOINTS": len(points),
        "POSITIONER": positioner,
    }


def region(x, y, energies, *, x_device="GoniX", y_device="GoniY", z=None, polarizations=((0, 0.0, -0.2),), angles=None):
    """A spatial region with its energies."""
    pol_rois = [{"POL": n, "ANGLE": angle, "OFF": off} for n, angle, off in polarizations]
    return {
        "X": roi(x, x_device),
        "Y": roi(y, y_device),
        "Z": roi(None, "ZonePlate.Z"),
        "ZP": {"X": roi(None, "ZonePlate.X"), "Y": roi(None, "ZonePlate.Y"), "Z": roi(z, "_ZonePlateZ_base")},
        "OSA": {"X": roi(None, "OSA.X"), "Y": roi(None, "OSA.Y")},
        "GONI": {"T": roi(angles, "GoniTheta")},
        "EV_ROIS": [{**roi(energies, "ENERGY"), "DWELL": 2.0, "POL_ROIS": pol_rois}],
    }


def metadata(kind, regions, place, *, new=False, single=True, dwell=2.0, detectors=("counter0",)):
    """The start document's ``metadata``: JSON in JSON."""
    first = next(iter(regions.values()))
    energies = first["EV_ROIS"][0]["SETPOINTS"]
    wdg_com = {"CMND": 0, "SPATIAL_ROIS": dict(sorted(regions.items()))}
    if single:
        wdg_com["SINGLE_LST"] = {
            "SP_ROIS": list(regions.values()),
            "EV_ROIS": energies,
            "POL_ROIS": first["EV_ROIS"][0]["POL_ROIS"],
            "DWELL": [dwell + i for i in range(len(energies))],
        }
    found = {
        "scan_type": kind,
        "entry_name": "entry0",
        "sp_id_lst": [int(key) for key in reversed(list(regions))],
        "rois": regions,
        "dwell": dwell,
        "primary_det": list(detectors) if new else detectors[0],
        "zp_def": {"fl": -3955.3, "zpD": 250.0, "zpCStop": 100.0, "zpOZone": 25.0, "zpA1": -5.067, "zp_idx": 7},
        "rev_lu_dct": NAMES,
        "wdg_com": json.dumps(wdg_com),
    }
    if place is not None:
        found["img_idx_map"] = json.dumps(
            {"e_idx": 0, "pol_idx": 0, "sp_idx": 0, "sp_id": 0, "entry": "entry0"} | place
        )
    if new:
        found |= {"default_det": detectors[0], "sequence_map": json.dumps({}), "rotation_angle": None}
    return json.dumps(found)


def key(device, dtype="number", shape=(), units="um", **more):
    return {
        "source": f"PV:{device}",
        "dtype": dtype,
        "shape": list(shape),
        "object_name": device,
        "units": units,
        **more,
    }


def run(start, keys, events, *, baseline=True, status="success", time=1_700_000_000.0):
    """The documents of a run: its events are dictionaries of data."""
    bundle = event_model.compose_run(metadata=start, time=time, validate=False)
    docs = [("start", bundle.start_doc)]
    if baseline:
        names = {f"{NAMES[name]}": value for name, value in BASELINE.items()}
        base = bundle.compose_descriptor(name="baseline", data_keys={n: key(n) for n in names}, validate=False)
        docs.append(("descriptor", base.descriptor_doc))
        reading = base.compose_event(data=names, timestamps=dict.fromkeys(names, time), validate=False)
        docs.append(("event", reading))
    if keys is not None:
        stream = bundle.compose_descriptor(name="primary", data_keys=keys, validate=False)
        docs.append(("descriptor", stream.descriptor_doc))
        docs += [
            ("event", stream.compose_event(data=data, timestamps=dict.fromkeys(data, time), validate=False))
            for data in events
        ]
    docs.append(("stop", bundle.compose_stop(exit_status=status, time=time + 60, validate=False)))
    return docs


def feed(writer, *runs):
    """Give a callback the documents of some runs."""
    for name, doc in itertools.chain(*runs):
        writer(name, doc)


@dataclass
class Case:
    """A scan as documents, and what must be in its file."""

    name: str
    number: int
    runs: list
    label: str
    axes: list
    data: dict = field(default_factory=dict)
    fields: dict = field(default_factory=dict)
    readbacks: dict = field(default_factory=dict)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).poisson(1000, shape).astype(float) + np.random.default_rng(seed).random(shape)


def points(data, keys, *axes):
    """Events point by point: the set points and readbacks of the axes, the slowest first, the counter and the ring."""
    grids = np.meshgrid(*[a for _, a in axes], indexing="ij")
    events, reads = [], {device: [] for device, _ in axes}
    for i, value in enumerate(np.ravel(data)):
        event = {"counter0_value": float(value), "PCT:mA:fbk_val": 200.0 + i / 7}
        for (device, _), grid in zip(axes, grids, strict=True):
            source = NAMES[device]
            event |= {f"{source}_user_setpoint": float(grid.flat[i]), source: float(grid.flat[i]) + 0.01}
            reads[device].append(event[source])
        events.append(event)
    keys |= {"counter0_value": key("counter0", units="counts"), "PCT:mA:fbk_val": key("PCT:mA:fbk", units="mA")}
    for device, _ in axes:
        source = NAMES[device]
        keys |= {source: key(source), f"{source}_user_setpoint": key(source)}
    return events, reads


def _image_by_points(name, number, label, what, new):
    x, y = np.linspace(-1, 1, 4), np.linspace(0, 2, 3)
    devices = {"detector": ("Detector.X", "Detector.Y"), "osa": ("OSA.X", "OSA.Y")}[what]
    data, keys = numbers(3, 4, seed=number), {}
    events, reads = points(data, keys, (devices[1], y), (devices[0], x))
    asked = {"3": region(x, y, [700.5], x_device=devices[0], y_device=devices[1])}
    start = {"metadata": metadata(number, asked, {"sp_id": 3}, new=new)}
    return Case(
        name,
        number,
        [run(start, keys, events)],
        label,
        [f"{what}_y", f"{what}_x"],
        {"entry0": data},
        {f"{what}_x": x, f"{what}_y": y, "sample_x": [11.5], "sample_y": [-3.25], "energy": [700.5]},
        {f"{what}_x": reads[devices[0]], f"{what}_y": reads[devices[1]]},
    )


def _image_by_lines(name, number, new):
    x, y = np.linspace(-1, 1, 5), np.linspace(10, 12, 3)
    data = numbers(3, 5, seed=number)
    keys = {"counter0_wave": key("counter0", "array", [9], "")}  # the declared shape isn't that of the data
    asked = {"0": region(x, y, [705.0])}
    start = {"metadata": metadata(number, asked, {"sp_id": 0}, new=new)}
    events = [{"counter0_wave": list(line)} for line in data]
    energy = 700.5 if number in (9, 10) else 705.0
    return Case(
        name,
        number,
        [run(start, keys, events)],
        "sample image",
        ["sample_y", "sample_x"],
        {"entry0": data},
        {"sample_x": x, "sample_y": y, "energy": [energy]},
    )


def _osa_focus(new):
    x, y, z = np.linspace(5, 30, 5), np.linspace(1.5, 10, 5), np.linspace(-3820, -3815, 4)
    data = numbers(4, 5, seed=2)
    keys = {}
    events, reads = points(data, keys, ("_ZonePlateZ_base", z), ("OSA.X", x))
    for i, event in enumerate(events):
        event |= {"IOC:m105": y[i % 5] - 0.01, "IOC:m105_user_setpoint": y[i % 5]}
    keys |= {"IOC:m105": key("IOC:m105"), "IOC:m105_user_setpoint": key("IOC:m105")}
    asked = {"3": region(x, y, [700.5], x_device="OSA.X", y_device="OSA.Y", z=z)}
    # No SINGLE_LST: a scan of one image may have none.
    start = {"metadata": metadata(2, asked, {"sp_id": 3}, new=new, single=False)}
    way = np.hypot(x - x[0], y - y[0])
    return Case(
        "osa focus",
        2,
        [run(start, keys, events)],
        "osa focus",
        ["zoneplate_z", "line_position"],
        {"entry0": data},
        {"zoneplate_z": z, "line_position": way, "osa_x": x, "osa_y": y, "sample_x": [11.5], "energy": [700.5]},
        {"zoneplate_z": reads["_ZonePlateZ_base"], "osa_x": reads["OSA.X"]},
    )


def _sample_focus(new):
    x, y, z = np.linspace(5, 30, 6), np.full(6, 2.5), np.linspace(-3820, -3815, 4)
    data = numbers(4, 6, seed=3)
    asked = {"0": region(x, y, [700.5], z=z)}
    start = {"metadata": metadata(3, asked, {"sp_id": 0}, new=new)}
    keys = {"counter0_wave": key("counter0", "array", [6], "counts"), "IOC:m111": key("IOC:m111")}
    events = [{"counter0_wave": line, "IOC:m111": float(a) + 0.5} for line, a in zip(data, z, strict=True)]
    return Case(
        "sample focus",
        3,
        [run(start, keys, events)],
        "sample focus",
        ["zoneplate_z", "line_position"],
        {"entry0": data},
        {"zoneplate_z": z, "line_position": x - x[0], "sample_x": x, "sample_y": y},
        {"zoneplate_z": np.repeat(z + 0.5, 6)},
    )


def _point_spectra(new):
    energies = np.linspace(700, 710, 6)
    spots = {"0": (-1.5, 10.0), "1": (7.25, 12.0), "2": (4.0, 1.0)}
    # As they were measured, which neither their numbers nor sp_id_lst tell.
    order = ["1", "2", "0"]
    asked = {k: region([spots[k][0]], [spots[k][1]], energies) for k in order}
    data = numbers(6, 3, seed=4)
    start = {"metadata": metadata(4, asked, {"sp_id": 0}, new=new)}
    keys = {"counter0_value": key("counter0", units="counts")}
    case = Case(
        "point spectra",
        4,
        [run(start, keys, [{"counter0_value": float(v)} for v in data.ravel()])],
        "sample point spectrum",
        ["energy"],
    )
    case.data = {f"entry{i}": data[:, i] for i in range(3)}
    case.fields = {"energy": energies, "count_time": (2.0 + np.arange(6)) / 1000, "sample_x": [spots["1"][0]]}
    return case


def _line_spectra(new):
    x, y, energies = np.linspace(0, 3, 7), np.full(7, 1.25), np.linspace(700, 702, 3)
    data = numbers(3, 7, seed=5)
    start = {"metadata": metadata(5, {"0": region(x, y, energies)}, {"sp_id": 0}, new=new)}
    keys = {"counter0_wave": key("counter0", "array", [7], "counts")}
    return Case(
        "line spectra",
        5,
        [run(start, keys, [{"counter0_wave": line} for line in data])],
        "sample line spectrum",
        ["energy", "line_position"],
        {"entry0": data},
        {"energy": energies, "sample_x": x, "sample_y": y, "line_position": x},
    )


def _stack(new, number=7, name="stack", angles=(None,), baseline=0):
    energies = np.linspace(700, 702, 3)
    spots = {"0": (np.linspace(0, 1, 4), np.linspace(5, 6, 2)), "1": (np.linspace(2, 3, 3), np.linspace(7, 9, 3))}
    if number != 7:
        spots = {"0": spots["0"]}
    turned = [a for a in angles if a is not None] or None
    asked = {k: region(x, y, energies, angles=turned) for k, (x, y) in spots.items()}
    keys = {"counter0_wave": key("counter0", "array", [9], "counts")}
    case = Case(name, number, [], "sample image stack", ["energy", "sample_y", "sample_x"])
    entry = 0
    for angle in angles:
        for k, (x, y) in spots.items():
            data = numbers(3, len(y), len(x), seed=100 + entry)
            case.data[f"entry{entry}"] = data
            for e in range(3):
                place = {"e_idx": e, "sp_id": int(k), "sp_idx": int(k), "entry": f"entry{entry}"}
                if angle is not None:
                    place["rotation_angle"] = angle
                start = {"metadata": metadata(number, asked, place, new=new)}
                events = [{"counter0_wave": line} for line in data[e]]
                case.runs.append(
                    run(start, keys, events, baseline=e == baseline, time=1_700_000_000.0 + 100 * len(case.runs))
                )
            entry += 1
    x, y = spots["0"]
    case.fields = {"energy": energies, "sample_x": x, "sample_y": y, "count_time": (2.0 + np.arange(3)) / 1000}
    return case


def _generic(new):
    x = np.linspace(0, 50, 8)
    data, keys = numbers(8, seed=8), {}
    events, reads = points(data, keys, ("GoniX", x))
    asked = {"6": region(x, np.linspace(0, 1, 8), [700.5])}
    start = {"metadata": metadata(8, asked, {"sp_id": 6}, new=new), "motors": ["IOC:m107"], "num_points": 8}
    return Case(
        "generic",
        8,
        [run(start, keys, events)],
        "generic scan",
        ["GoniX"],
        {"entry0": data},
        {"GoniX": x, "sample_x": [11.5], "energy": [700.5]},
        {"GoniX": reads["GoniX"]},
    )


def _ptychography(new):
    x, y, energies = np.linspace(0, 1, 3), np.linspace(0, 1, 2), [700.0, 701.0]
    frames = np.random.default_rng(13).integers(0, 60000, (2, 6, 4, 5), dtype=np.uint16)
    asked = {"0": region(x, y, energies)}
    keys = {"counter0_image": key("counter0", "array", [4, 5], "counts")}
    case = Case("ptychography", 13, [], "sample image stack", ["energy", "sample_y", "sample_x"])
    for e in range(2):
        start = {"metadata": metadata(13, asked, {"e_idx": e, "sp_id": 0}, new=new)}
        case.runs.append(run(start, keys, [{"counter0_image": frame} for frame in frames[e]], baseline=e == 0))
    case.data = {"entry0": frames.sum(axis=(2, 3), dtype=float).reshape(2, 2, 3)}
    case.fields = {"energy": energies, "sample_x": x, "sample_y": y}
    case.frames = frames.reshape(12, 4, 5)
    return case


MAKERS: dict[str, Callable[[bool], Case]] = {
    "detector image": lambda new: _image_by_points("detector image", 0, "detector image", "detector", new),
    "osa image": lambda new: _image_by_points("osa image", 1, "osa image", "osa", new),
    "osa focus": _osa_focus,
    "sample focus": _sample_focus,
    "point spectra": _point_spectra,
    "line spectra": _line_spectra,
    "sample image": lambda new: _image_by_lines("sample image", 6, new),
    "stack": _stack,
    "generic": _generic,
    "coarse image": lambda new: _image_by_lines("coarse image", 9, new),
    "coarse goni": lambda new: _image_by_lines("coarse goni", 10, new),
    "tomography": lambda new: _stack(new, 11, "tomography", angles=(-30.0, 15.5)),
    "pattern gen": lambda new: _image_by_lines("pattern gen", 12, new),
    "ptychography": _ptychography,
}


@pytest.fixture(
    scope="module",
    params=[(name, bool(number % 2)) for number, name in enumerate(MAKERS)],
    ids=lambda p: f"{p[0]}-{'new' if p[1] else 'old'}",
)
def case(request):
    """Each scan type, in one schema and the other in turn: they differ in what is said of detectors."""
    name, new = request.param
    return MAKERS[name](new)


@pytest.fixture
def stxm():
    """How to make documents: see the functions of this module."""
    return SimpleNamespace(
        make=lambda name, new=False: MAKERS[name](new),
        run=run,
        region=region,
        metadata=metadata,
        key=key,
        numbers=numbers,
        points=points,
        feed=feed,
        names=NAMES,
    )


@pytest.fixture
def read():
    """Everything in a file: datasets by their paths, attributes by path@name."""

    def everything(path: Path | str) -> dict:
        found = {}
        with h5py.File(path, "r") as file:
            found |= {f"@{name}": value for name, value in file.attrs.items()}

            def visit(name, item):
                found.update({f"{name}@{key}": value for key, value in item.attrs.items()})
                if isinstance(item, h5py.Dataset):
                    found[name] = item[()]

            # visititems goes to each object once; the fields of a second detector are links to those of the first.
            for name in file:
                _walk(name, file[name], visit)
        return found

    return everything


def _walk(name, item, visit):
    visit(name, item)
    if isinstance(item, h5py.Group):
        for inner in item:
            _walk(f"{name}/{inner}", item[inner], visit)


@pytest.fixture
def validated(tmp_path):
    """Complaints of the validator about a file, of all its entries and of all else."""
    from nexusformat.nexus.validate import logger, validate_application, validate_file

    def of(path, entries=1):
        logger.setLevel(logging.CRITICAL)
        copied = shutil.copy(path, tmp_path / "copy.nxs")
        said = [validate_application(str(copied), path=f"/entry{i}", application="NXstxm")[:2] for i in range(entries)]
        return [*said, tuple(validate_file(str(copied)))[:2]]

    return of


@pytest.fixture(autouse=True)
def _documents_are_not_changed(request, monkeypatch):
    """Fail a test whose documents were changed on their way into the file."""
    from suitcase_nxstxm import scan

    given = []
    original = scan.Scan.start

    def start(self, doc, asked):
        given.append((doc, copy.deepcopy(doc)))
        return original(self, doc, asked)

    monkeypatch.setattr(scan.Scan, "start", start)
    yield
    assert all(doc == before for doc, before in given)


@pytest.fixture
def measured(shared_run_engine):
    """The documents of a plan."""

    def of(plan, **md):
        documents = []
        shared_run_engine(plan, lambda name, doc: documents.append((name, doc)), **md)
        return documents

    return of
