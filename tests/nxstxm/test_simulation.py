"""Every plan of the STXM on a real RunEngine with the writer subscribed: the file, the documents and the truth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from bluesky import RunEngine

import bluesky_ext.stxm as plans
from bluesky_ext.stxm import Endstation
from bluesky_ext.stxm.sim import STXM, stxm
from suitcase_nxstxm import NXstxmWriter

IMAGE = (-1.0, 1.0, 3, -2.0, 2.0, 4)
WIDE = (-100.0, 100.0, 3, -200.0, 200.0, 4)
ENERGIES = [280.0, 285.2, 290.0]
POSITIONS = [(0.5, 1.5), (-1.0, 2.0)]

Plan = Callable[[STXM, Endstation], Any]


def both(s: STXM) -> list[Any]:
    return [s.counter, s.diode]


# What is scanned; the type that the file says; its axes; the shape of the data; the number of entries.
SCANS: dict[str, tuple[Plan, str, list[str], tuple[int, ...], int]] = {
    "detector image": (
        lambda s, e: plans.detector_image(both(s), e, *WIDE),
        *("detector image", ["detector_y", "detector_x"], (3, 4), 1),
    ),
    "OSA image": (lambda s, e: plans.osa_image(both(s), e, *WIDE), "osa image", ["osa_y", "osa_x"], (3, 4), 1),
    "OSA focus": (
        lambda s, e: plans.osa_focus(both(s), e, -1700, -1690, 3, -50, 50, -20, 20, 4),
        *("osa focus", ["zoneplate_z", "line_position"], (3, 4), 1),
    ),
    "sample focus": (
        lambda s, e: plans.sample_focus(both(s), e, -1450, -1430, 3, -1, 1, 0, 2, 4),
        *("sample focus", ["zoneplate_z", "line_position"], (3, 4), 1),
    ),
    "point spectra": (
        lambda s, e: plans.sample_point_spectra(both(s), e, POSITIONS, ENERGIES),
        *("sample point spectrum", ["energy"], (3,), 2),
    ),
    "line spectra": (
        lambda s, e: plans.sample_line_spectra(both(s), e, 0, 1, 0, 2, 4, ENERGIES),
        *("sample line spectrum", ["energy", "line_position"], (3, 4), 1),
    ),
    "sample image": (
        lambda s, e: plans.sample_image(both(s), e, *IMAGE),
        *("sample image", ["sample_y", "sample_x"], (3, 4), 1),
    ),
    "sample image, snaked": (
        lambda s, e: plans.sample_image(both(s), e, *IMAGE, snake=True),
        *("sample image", ["sample_y", "sample_x"], (3, 4), 1),
    ),
    "stack": (
        lambda s, e: plans.sample_image_stack(both(s), e, [IMAGE], ENERGIES, polarizations=[2, 3]),
        *("sample image stack", ["energy", "sample_y", "sample_x"], (3, 3, 4), 2),
    ),
    "stack by lines": (
        lambda s, e: plans.sample_image_stack([s.line], e, [IMAGE], ENERGIES),
        *("sample image stack", ["energy", "sample_y", "sample_x"], (3, 3, 4), 1),
    ),
    # As many images as a line has points, and then as many entries: what is a line is not a frame of a point.
    "stack by lines in one run": (
        lambda s, e: plans.sample_image_stack([s.line], e, [IMAGE], [*ENERGIES, 295.0], single_run=True),
        *("sample image stack", ["energy", "sample_y", "sample_x"], (4, 3, 4), 1),
    ),
    "stack by lines in one run of four entries": (
        lambda s, e: plans.sample_image_stack([s.line], e, [IMAGE], ENERGIES, polarizations=range(4), single_run=True),
        *("sample image stack", ["energy", "sample_y", "sample_x"], (3, 3, 4), 4),
    ),
    "generic scan": (
        lambda s, e: plans.generic_scan(both(s), e, s.osa_y, 0, 1, 3, s.zoneplate_z, -1450, -1440, 4),
        *("generic scan", ["OSA_Y", "ZonePlate_Z"], (3, 4), 1),
    ),
    "generic scan of three": (
        lambda s, e: plans.generic_scan(both(s), e, s.osa_y, 0, 1, 2, s.goni_x, 0, 1, 3, s.detector_x, -9, 9, 4),
        *("generic scan", ["OSA_Y", "GoniX", "Detector_X"], (2, 3, 4), 1),
    ),
    "coarse image": (
        lambda s, e: plans.coarse_image_scan(both(s), e, *WIDE),
        *("sample image", ["sample_y", "sample_x"], (3, 4), 1),
    ),
    "coarse goni": (
        lambda s, e: plans.coarse_goni_scan(both(s), e, *WIDE),
        *("sample image", ["sample_y", "sample_x"], (3, 4), 1),
    ),
    "tomography": (
        lambda s, e: plans.tomography_scan(both(s), e, IMAGE, ENERGIES[:2], [-30.0, 0.0, 30.0]),
        *("sample image stack", ["energy", "sample_y", "sample_x"], (2, 3, 4), 3),
    ),
    "pattern": (
        lambda s, e: plans.pattern_gen_scan(both(s), e, -1, 1, -2, 2, [[1, 2, 3, 4], [5, 6, 7, 8], [9, 1, 2, 3]]),
        *("sample image", ["sample_y", "sample_x"], (3, 4), 1),
    ),
    "ptychography": (
        lambda s, e: plans.ptychography_scan([s.ccd, s.counter], e, (-0.1, 0.1, 3, -0.1, 0.1, 4), ENERGIES[:2]),
        *("sample image stack", ["energy", "sample_y", "sample_x"], (2, 3, 4), 1),
    ),
    "ptychography in one run": (
        lambda s, e: plans.ptychography_scan(
            *([s.ccd, s.counter], e, (-0.1, 0.1, 3, -0.1, 0.1, 4), ENERGIES[:2]), single_run=True
        ),
        *("sample image stack", ["energy", "sample_y", "sample_x"], (2, 3, 4), 1),
    ),
}


class Scanned:
    """What a plan left: its file and its documents."""

    def __init__(self, path: Path, documents: list[tuple[str, dict[str, Any]]], s: STXM) -> None:
        self.path, self.documents, self.s = path, documents, s

    def of(self, name: str) -> list[dict[str, Any]]:
        return [doc for kind, doc in self.documents if kind == name]

    def events(self) -> list[dict[str, Any]]:
        """Events of the primary streams, in order of time."""
        primary = {doc["uid"] for doc in self.of("descriptor") if doc["name"] == "primary"}
        return [doc["data"] for doc in self.of("event") if doc["descriptor"] in primary]

    def numbers(self, key: str) -> np.ndarray:
        return np.array([data[key] for data in self.events()])


@pytest.fixture
def scan(shared_run_engine: RunEngine, tmp_path: Path) -> Callable[[Plan], Scanned]:
    """Run a plan on a new microscope with the writer subscribed."""

    def scan(plan: Plan) -> Scanned:
        s = stxm(seed=3)
        station = Endstation(s.devices, s.shutter, zp_def=s.zp_def)
        documents: list[tuple[str, dict[str, Any]]] = []
        with NXstxmWriter(tmp_path, "{uid}", source_name="Simulated Light Source") as writer:
            token = shared_run_engine.subscribe(writer)
            try:
                shared_run_engine(plan(s, station), lambda name, doc: documents.append((name, doc)))
            finally:
                shared_run_engine.unsubscribe(token)
            # It is finished by itself when the last run has stopped: there is nothing under construction.
            assert not list(tmp_path.glob("*.tmp"))
        (path,) = tmp_path.glob("*.hdf5")
        return Scanned(path, documents, s)

    return scan


def detectors(scanned: Scanned) -> list[str]:
    """The keys of the numbers that detectors gave for each point."""
    keys = ("counter0_single_value_rbv", "pmt_single_value_rbv", "line0_waveform_rbv", "ccd_stats_total")
    return [key for key in keys if key in scanned.events()[0]]


def arrays(entry: h5py.Group, number: int) -> dict[str, np.ndarray]:
    """The data of the NXdata of an entry that have so many numbers, by their names."""
    found = {name: group for name, group in entry.items() if group.attrs.get("NX_class") == "NXdata"}
    return {name: group["data"][()] for name, group in found.items() if group["data"].size == number}


@pytest.mark.parametrize("name", SCANS)
def test_the_file_has_the_numbers_of_the_documents(
    scan: Callable[[Plan], Scanned], name: str, validated: Callable[..., list[tuple[int, int]]]
):
    plan, scan_type, axes, shape, entries = SCANS[name]
    scanned = scan(plan)
    assert validated(scanned.path, entries) == [(0, 0)] * (entries + 1)
    with h5py.File(scanned.path) as file:
        names = sorted(name for name, group in file.items() if group.attrs.get("NX_class") == "NXentry")
        assert names == [f"entry{number}" for number in range(entries)]
        # Plane after plane as they were measured, or point after point at each energy.
        per_entry = int(np.prod(shape))
        for key in detectors(scanned):
            measured = scanned.numbers(key).astype(float).ravel()
            assert measured.size == entries * per_entry
            for number in range(entries):
                mine = measured[number::entries] if name == "point spectra" else measured.reshape(entries, -1)[number]
                expected = mine.reshape(shape)
                if name.endswith("snaked"):
                    expected[1::2] = expected[1::2, ::-1].copy()
                found = arrays(file[f"entry{number}"], per_entry)
                assert any(np.array_equal(array, expected) for array in found.values()), f"{key} of entry{number}"
        for entry in (file[name] for name in names):
            default = entry[entry.attrs["default"]]
            assert default["stxm_scan_type"][0] == scan_type.encode()
            assert [axis.decode() if isinstance(axis, bytes) else axis for axis in default.attrs["axes"]] == axes
            assert default["data"].shape == shape
            for axis, size in zip(axes, shape, strict=True):
                assert default[axis].shape == (size,)
        if name.startswith("ptychography"):
            np.testing.assert_array_equal(file["entry0/instrument/ccd_image/data"], scanned.numbers("ccd_image"))


def test_axes_are_the_setpoints_and_the_instrument_has_the_readbacks(scan: Callable[[Plan], Scanned]):
    def plan(s: STXM, station: Endstation) -> Any:
        s.goni_theta.set(12.0).wait()
        return plans.sample_image(both(s), station, *IMAGE)

    scanned = scan(plan)
    with h5py.File(scanned.path) as file:
        data = file["entry0"][file["entry0"].attrs["default"]]
        np.testing.assert_array_equal(data["sample_y"], np.linspace(-1, 1, 3))
        np.testing.assert_array_equal(data["sample_x"], np.linspace(-2, 2, 4))
        instrument = file["entry0/instrument"]
        np.testing.assert_array_equal(instrument["sample_x/data"], scanned.numbers("sample_x"))
        np.testing.assert_array_equal(instrument["sample_y/data"], scanned.numbers("sample_y"))
        assert np.abs(scanned.numbers("sample_x") - np.tile(np.linspace(-2, 2, 4), 3)).max() > 0
        np.testing.assert_array_equal(np.ravel(file["entry0/control/data"]), scanned.numbers("ring_current_val"))
        # Without tomography, the angle is that of the goniometer.
        assert np.ravel(file["entry0/sample/rotation_angle"])[0] == scanned.s.goni_theta.where


def test_a_spectrum_in_the_file_is_the_truth(scan: Callable[[Plan], Scanned]):
    """From the documents of a scan of the edge to the optical density of a material."""
    energies = np.linspace(282, 288, 13).tolist()

    def plan(s: STXM, station: Endstation) -> Any:
        sample = s.microscope.sample
        places = [(sample.particles[0].y, sample.particles[0].x), (sample.hole.y, sample.hole.x)]
        return plans.sample_point_spectra([s.counter], station, places, energies, dwell=1000.0)

    scanned = scan(plan)
    with h5py.File(scanned.path) as file:
        through, around = (file[f"entry{n}"][file[f"entry{n}"].attrs["default"]]["data"][()] for n in (0, 1))
        np.testing.assert_array_equal(file["entry0"][file["entry0"].attrs["default"]]["energy"], energies)
    sample = scanned.s.microscope.sample
    particle = sample.particles[0]
    truth = [float(sample.optical_density(particle.y, particle.x, energy, 0.0)) for energy in energies]
    # Two million photons: a few times the counting noise, and the jitter of the monochromator on the flank.
    np.testing.assert_allclose(-np.log(through / around), truth, atol=0.02)
