"""Runs of Bluesky's own plans, which know nothing of an STXM."""

import itertools

import bluesky.plans as bp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ophyd.sim import SynAxis, SynSignal

from suitcase_nxstxm import export_scan, scan_types
from suitcase_nxstxm.errors import MetadataError, UnknownScanTypeError
from suitcase_nxstxm.places import Path


class Bench:
    """Two stages and a counter whose number tells where they are."""

    def __init__(self, slow="sample_y", fast="sample_x"):
        self.slow, self.fast = SynAxis(name=slow), SynAxis(name=fast)
        self.counter = SynSignal(name="counter", func=lambda: 100 * self.slow.position + self.fast.position)

    def expected(self, slow, fast):
        return 100 * np.asarray(slow)[:, np.newaxis] + np.asarray(fast)


@pytest.mark.parametrize(
    ("snake", "shape"), [(False, (3, 4)), (True, (4, 3)), (True, (2, 2)), (False, (1, 5)), (True, (5, 1))]
)
def test_a_grid_over_the_sample_is_an_image(measured, tmp_path, read, snake, shape):
    bench = Bench()
    ny, nx = shape
    plan = bp.grid_scan([bench.counter], bench.slow, 5, 7, ny, bench.fast, -1, 1, nx, snake_axes=snake)
    found = read(export_scan([measured(plan)], tmp_path, "scan"))
    y, x = np.linspace(5, 7, ny), np.linspace(-1, 1, nx)
    assert found["entry0/counter/stxm_scan_type"][0] == b"sample image"
    np.testing.assert_array_equal(found["entry0/counter/data"], bench.expected(y, x))
    np.testing.assert_array_equal(found["entry0/counter/sample_y"], y)
    np.testing.assert_array_equal(found["entry0/counter/sample_x"], x)
    taken = bench.expected(y, x)
    if snake:
        taken[1::2] = taken[1::2, ::-1].copy()
    np.testing.assert_array_equal(found["entry0/instrument/counter/data"], taken.ravel())
    positions = np.tile(x, (ny, 1))
    if snake:
        positions[1::2] = positions[1::2, ::-1].copy()
    np.testing.assert_array_equal(found["entry0/instrument/sample_x/data"], positions.ravel())


def test_columns_first_is_the_same_image(measured, tmp_path, read):
    bench = Bench(slow="sample_x", fast="sample_y")
    plan = bp.grid_scan([bench.counter], bench.slow, -1, 1, 3, bench.fast, 5, 7, 4, snake_axes=True)
    found = read(export_scan([measured(plan)], tmp_path, "scan"))
    assert [a.decode() for a in found["entry0/counter@axes"]] == ["sample_y", "sample_x"]
    expected = bench.expected(np.linspace(-1, 1, 3), np.linspace(5, 7, 4)).T
    np.testing.assert_array_equal(found["entry0/counter/data"], expected)


def test_what_nobody_said_is_nan(measured, tmp_path, read):
    bench = Bench()
    plan = bp.grid_scan([bench.counter], bench.slow, 5, 7, 3, bench.fast, -1, 1, 4)
    found = read(export_scan([measured(plan)], tmp_path, "scan"))
    assert np.isnan(found["entry0/counter/energy"]).tolist() == [True]
    assert np.isnan(found["entry0/counter/count_time"]).tolist() == [True]
    assert np.isnan(found["entry0/sample/rotation_angle"])
    assert found["entry0/instrument/source/name"].tolist() == [b"unknown"]
    assert "entry0/control/data" not in found
    assert "entry0/instrument/name" not in found


def test_names_that_were_given_are_there(measured, tmp_path, read):
    bench = Bench()
    plan = bp.count([bench.counter], 2)
    options = {"source_name": "A Ring", "instrument_name": "A Beamline", "title": "A title"}
    found = read(export_scan([measured(plan, user="me", sample_name="rust")], tmp_path, "scan", **options))
    assert found["entry0/instrument/source/name"][0] == b"A Ring"
    assert found["entry0/instrument/name"][0] == b"A Beamline"
    assert found["entry0/title"][0] == b"A title"
    assert found["entry0/user/name"][0] == b"me"
    assert found["entry0/sample/name"][0] == b"rust"


def test_a_scan_type_can_be_given(measured, tmp_path, read):
    bench = Bench("a", "b")
    plan = bp.grid_scan([bench.counter], bench.slow, 5, 7, 3, bench.fast, -1, 1, 4)
    documents = measured(plan)
    for value in (scan_types.OSA_IMAGE, 1, "osa image", "OSA_IMAGE"):
        found = read(export_scan([documents], tmp_path, f"scan {value!r}", scan_type=value))
        assert [a.decode() for a in found["entry0/counter@axes"]] == ["osa_y", "osa_x"]
        np.testing.assert_array_equal(found["entry0/counter/osa_x"], np.linspace(-1, 1, 4))


@pytest.mark.parametrize(
    ("names", "label"),
    [
        (("osa_y", "osa_x"), b"osa image"),
        (("detector_y", "detector_x"), b"detector image"),
        (("zoneplate_z", "osa_x"), b"osa focus"),
        (("zoneplate_z", "sample_y"), b"sample focus"),
        (("energy", "sample_x"), b"sample line spectrum"),
        (("stxm_sample_y", "stxm_sample_x"), b"sample image"),
        (("GoniY", "GoniX"), b"sample image"),
        (("sample_x", "sample_x2"), b"generic scan"),
        (("temperature", "field"), b"generic scan"),
    ],
)
def test_the_motors_speak_for_a_scan_type(measured, tmp_path, read, names, label):
    bench = Bench(*names)
    plan = bp.grid_scan([bench.counter], bench.slow, 5, 7, 3, bench.fast, -1, 1, 4)
    found = read(export_scan([measured(plan)], tmp_path, "scan"))
    assert found["entry0/counter/stxm_scan_type"][0] == label
    expected = bench.expected(np.linspace(5, 7, 3), np.linspace(-1, 1, 4))
    np.testing.assert_array_equal(found["entry0/counter/data"], expected)
    if label == b"generic scan":
        assert [a.decode() for a in found["entry0/counter@axes"]] == list(names)
        np.testing.assert_array_equal(found[f"entry0/counter/{names[0]}"], np.linspace(5, 7, 3))


def test_an_energy_scan_is_a_spectrum(measured, tmp_path, read):
    energy = SynAxis(name="energy")
    counter = SynSignal(name="counter", func=lambda: energy.position**2)
    found = read(export_scan([measured(bp.scan([counter], energy, 700, 710, 6))], tmp_path, "scan"))
    assert found["entry0/counter/stxm_scan_type"][0] == b"sample point spectrum"
    np.testing.assert_array_equal(found["entry0/counter/energy"], np.linspace(700, 710, 6))
    np.testing.assert_array_equal(found["entry0/counter/data"], np.linspace(700, 710, 6) ** 2)


def values_of(documents, key):
    return np.array([doc["data"][key] for name, doc in documents if name == "event"])


@pytest.mark.parametrize(("number", "told"), [(1, True), (5, True), (5, False)])
def test_a_count_has_its_points_as_axis(measured, tmp_path, read, number, told):
    numbers = itertools.count(10)
    counter = SynSignal(name="counter", func=lambda: float(next(numbers)))
    documents = measured(bp.count([counter], number))
    if not told:  # count(num=None) goes on until it is stopped
        documents[0] = ("start", {**documents[0][1], "num_points": None})
    found = read(export_scan([documents], tmp_path, "scan"))
    np.testing.assert_array_equal(found["entry0/counter/data"], values_of(documents, "counter"))
    assert found["entry0/counter/data"].shape == (number,)
    assert [a.decode() for a in found["entry0/counter@axes"]] == ["point"]
    np.testing.assert_array_equal(found["entry0/counter/point"], np.arange(1.0, number + 1))
    np.testing.assert_array_equal(found["entry0/instrument/counter/data"], found["entry0/counter/data"])
    assert found["entry0/instrument/monochromator/energy"].shape == (number,)


def test_motors_that_move_together(measured, tmp_path, read):
    bench = Bench("a", "b")
    plan = bp.scan([bench.counter], bench.slow, 0, 2, bench.fast, 5, 7, num=3)
    found = read(export_scan([measured(plan)], tmp_path, "scan"))
    assert [a.decode() for a in found["entry0/counter@axes"]] == ["a"]
    np.testing.assert_array_equal(found["entry0/counter/b"], [5, 6, 7])
    assert found["entry0/counter@b_indices"] == 0
    np.testing.assert_array_equal(found["entry0/counter/data"], [5, 106, 207])


def test_an_area_detector_in_a_grid_is_summed_and_its_frames_kept(measured, tmp_path, read):
    bench = Bench()
    rng = np.random.default_rng(1)
    camera = SynSignal(name="camera", func=lambda: rng.integers(0, 99, (3, 2), dtype=np.uint16))
    plan = bp.grid_scan([camera, bench.counter], bench.slow, 5, 7, 2, bench.fast, -1, 1, 3)
    documents = measured(plan)
    frames = values_of(documents, "camera")
    found = read(export_scan([documents], tmp_path, "scan", primary_det="camera"))
    assert found["entry0@default"] == "camera"
    np.testing.assert_array_equal(found["entry0/instrument/camera/data"], frames)
    assert found["entry0/instrument/camera/data"].dtype == np.uint16
    np.testing.assert_array_equal(found["entry0/camera/data"], frames.sum(axis=(1, 2)).reshape(2, 3))
    expected = bench.expected(np.linspace(5, 7, 2), np.linspace(-1, 1, 3))
    np.testing.assert_array_equal(found["entry0/counter/data"], expected)


def test_a_scan_type_that_does_not_fit_is_refused(measured, tmp_path):
    bench = Bench()
    documents = measured(bp.count([bench.counter], 2))
    with pytest.raises(MetadataError, match=r"run .* \(count\) has 1 dimensions, SAMPLE_IMAGE has 2"):
        export_scan([documents], tmp_path, "scan", scan_type="SAMPLE_IMAGE")
    with pytest.raises(UnknownScanTypeError, match="'HOLOGRAPHY'"):
        export_scan([documents], tmp_path, "scan", scan_type="HOLOGRAPHY")
    assert not list(tmp_path.iterdir())


@settings(deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_paths_go_where_the_cycler_of_bluesky_goes(shape, data):
    from bluesky.utils import snake_cyclers
    from cycler import cycler

    snaking = (False, *data.draw(st.lists(st.booleans(), min_size=len(shape) - 1, max_size=len(shape) - 1)))
    order = tuple(data.draw(st.permutations(range(len(shape)))))
    # The loops run along the dimensions in this order, outermost first.
    cyclers = [cycler(str(dimension), list(range(shape[dimension]))) for dimension in order]
    steps = list(snake_cyclers(cyclers, snaking))
    expected = [np.ravel_multi_index([step[str(d)] for d in range(len(shape))], shape) for step in steps]
    path = Path(tuple(shape), 0, order, snaking)
    assert path.flat(np.arange(len(expected))).tolist() == expected
