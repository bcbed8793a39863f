"""Axes, coordinates and detectors where documents say them in unusual ways."""

import json

import bluesky.plans as bp
import bluesky.preprocessors as bpp
import numpy as np
import pytest
from ophyd.sim import SynAxis, SynSignal

from suitcase_nxstxm import export_scan
from suitcase_nxstxm.errors import MetadataError, UnknownDetectorError
from suitcase_nxstxm.nexus import legal

Y, X, E, Z = [5.0, 6.0, 7.0], [-1.0, 0.0, 1.0, 2.0], [700.0, 701.0, 705.0], [-10.0, -8.0, -6.0]


class Bench:
    """Positioners of these names, which tell their set points or don't, and a counter whose number tells where."""

    def __init__(self, *names, told=True):
        self.axes = [SynAxis(name=name) for name in names]
        for axis in self.axes:
            if not told:
                axis.setpoint.kind = "omitted"
        self.counter = SynSignal(
            name="counter", func=lambda: float(sum(10.0 ** (4 * i) * a.position for i, a in enumerate(self.axes)))
        )

    def expected(self, *points):
        """The counter's numbers on the grid of the points."""
        grids = np.meshgrid(*points, indexing="ij")
        return np.array(sum(10.0 ** (4 * i) * grid for i, grid in enumerate(grids)))


def grid(bench, *points, **options):
    """A plan for a grid of listed points, the slowest first."""
    args = [arg for axis, listed in zip(bench.axes, points, strict=True) for arg in (axis, listed)]
    return bp.list_grid_scan([bench.counter], *args, **options)


def generic(stxm, device, points, new=False, motors=True, detector="counter0"):
    """A generic scan of one positioner, in the metadata of an STXM."""
    data, keys = np.arange(float(len(points))) + 0.5, {}
    events, _ = stxm.points(data, keys, (device, np.asarray(points)))
    asked = {"6": stxm.region(points, [0.0], [700.5], x_device=device)}
    start = {"metadata": stxm.metadata(8, asked, {"sp_id": 6}, new=new, detectors=(detector,))}
    if motors:
        start |= {"motors": [stxm.names[device]], "num_points": len(points)}
    return data, stxm.run(start, keys, events)


@pytest.mark.parametrize("name", ["OSA.X", "a b", "1st", "x:y-z", "_hidden", "Größe", ".", ""])
def test_names_are_legal_to_the_validator(name):
    from nexusformat.nexus.utils import is_valid_name

    assert is_valid_name(legal(name))
    assert legal(legal(name)) == legal(name)


@pytest.mark.parametrize(("new", "motors"), [(False, True), (True, False)])
def test_a_generic_scan_of_a_dotted_device_is_valid(stxm, read, tmp_path, validated, new, motors):
    data, documents = generic(stxm, "OSA.X", [0.0, 1.0, 2.5], new, motors)
    path = export_scan([documents], tmp_path, "scan")
    assert validated(path) == [(0, 0), (0, 0)]
    found = read(path)
    assert [a.decode() for a in found["entry0/counter0@axes"]] == ["OSA_X"]
    np.testing.assert_array_equal(found["entry0/counter0/OSA_X"], [0, 1, 2.5])
    assert found["entry0/counter0/OSA_X@name"] == "OSA.X"
    assert found["entry0/instrument/OSA_X/local_name"] == b"OSA.X"
    np.testing.assert_array_equal(found["entry0/counter0/data"], data)


@pytest.mark.parametrize("motors", [False, True])
def test_a_generic_scan_of_the_energy_has_it_as_energy(stxm, read, tmp_path, validated, motors):
    points = [700.0, 701.0, 704.5]
    _, documents = generic(stxm, "ENERGY", points, motors=motors)
    path = export_scan([documents], tmp_path, "scan")
    found = read(path)
    assert [a.decode() for a in found["entry0/counter0@axes"]] == ["energy"]
    np.testing.assert_array_equal(found["entry0/counter0/energy"], points)
    assert found["entry0/counter0/energy@units"] == "eV"
    np.testing.assert_array_equal(
        found["entry0/instrument/monochromator/energy"],
        [event["data"]["BL:ENERGY"] for name, event in documents if name == "event"][1:],
    )
    assert validated(path) == [(0, 0), (0, 0)]


def test_a_generic_scan_of_an_angle_is_in_degrees(stxm, read, tmp_path):
    _, documents = generic(stxm, "GoniTheta", [-30.0, 0.0, 30.0])
    found = read(export_scan([documents], tmp_path, "scan"))
    assert found["entry0/counter0/GoniTheta@units"] == "deg"
    assert found["entry0/instrument/GoniTheta/data@units"] == "deg"


def test_a_plain_scan_of_energy_and_another_has_energy_in_ev(measured, read, tmp_path, validated):
    bench = Bench("mono_energy", "temperature", told=False)
    path = export_scan([measured(grid(bench, E, X))], tmp_path, "scan")
    found = read(path)
    assert [a.decode() for a in found["entry0/counter@axes"]] == ["energy", "temperature"]
    np.testing.assert_array_equal(found["entry0/counter/energy"], E)
    assert found["entry0/counter/energy@units"] == "eV"
    np.testing.assert_array_equal(found["entry0/instrument/monochromator/energy"], np.repeat(E, 4))
    np.testing.assert_array_equal(found["entry0/counter/data"], bench.expected(E, X))
    assert validated(path) == [(0, 0), (0, 0)]


@pytest.mark.parametrize(
    ("names", "points", "known"), [(("energy", "sample_x"), (E, X), True), (("zoneplate_z", "sample_x"), (Z, X), False)]
)
def test_the_other_coordinate_of_a_line_is_that_of_the_baseline(measured, read, tmp_path, names, points, known):
    bench, other = Bench(*names), SynAxis(name="sample_y")
    other.set(4.5).wait()
    plan = grid(bench, *points)
    if known:
        plan = bpp.baseline_wrapper(plan, [other])
    found = read(export_scan([measured(plan)], tmp_path, "scan"))
    np.testing.assert_array_equal(found["entry0/counter/sample_y"], np.full(4, 4.5 if known else np.nan))
    np.testing.assert_array_equal(found["entry0/counter/sample_x"], X)
    np.testing.assert_array_equal(found["entry0/counter/data"], bench.expected(*points))


def image(stxm, **changes):
    """An image by lines, with a named detector and what the metadata say of it changed."""
    data = np.arange(12.0).reshape(3, 4)
    keys = {"counter0_wave": stxm.key("counter0", "array", [4], "counts")}
    metadata = json.loads(stxm.metadata(6, {"0": stxm.region(X, Y, [705.0])}, {"sp_id": 0}))
    documents = stxm.run({"metadata": json.dumps(metadata | changes)}, keys, [{"counter0_wave": line} for line in data])
    return data, documents


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"default_det": "foo", "primary_det": ["counter0"]}, "foo"),
        ({"default_det": "counter0", "primary_det": ["counter0", "pmt"]}, "pmt"),
        ({"primary_det": ["counter"]}, "counter"),
        ({"primary_det": "count"}, "count"),
        ({"primary_det": "wave"}, "wave"),
        ({"default_det": "foo"}, "foo"),
    ],
)
def test_a_detector_that_is_not_there_is_named(stxm, tmp_path, changes, missing):
    _, documents = image(stxm, **changes)
    with pytest.raises(UnknownDetectorError, match=f"'{missing}'") as raised:
        export_scan([documents], tmp_path, "scan")
    assert "counter0" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("detectors", [("counter0",), ("counter0", "pmt"), ("pmt", "counter0")])
def test_a_scalar_beside_lines_is_put_aside(stxm, read, tmp_path, validated, detectors):
    data = np.arange(12.0).reshape(3, 4)
    keys = {"counter0_wave": stxm.key("counter0", "array", [4], "counts"), "pmt": stxm.key("pmt", units="nA")}
    asked = {"0": stxm.region(X, Y, [705.0])}
    start = {"metadata": stxm.metadata(6, asked, {"sp_id": 0}, new=True, detectors=detectors)}
    documents = stxm.run(start, keys, [{"counter0_wave": line, "pmt": 2.5 + i} for i, line in enumerate(data)])
    path = export_scan([documents], tmp_path, "scan")
    found = read(path)
    np.testing.assert_array_equal(found["entry0/counter0/data"], data)
    np.testing.assert_array_equal(found["entry0/collection/primary/pmt/value"], [2.5, 3.5, 4.5])
    assert found["entry0/collection/primary/pmt/value@units"] == "nA"
    assert found["entry0@default"] == "counter0"
    assert "entry0/pmt/data" not in found
    assert validated(path) == [(0, 0), (0, 0)]


@pytest.mark.parametrize(
    ("place", "told", "snake"),
    [(0, True, True), (0, False, False), (1, True, False), (1, False, True), (2, True, True), (2, False, True)],
)
def test_a_stack_may_have_its_energies_at_any_level(measured, read, tmp_path, place, told, snake):
    names, points = ["sample_y", "sample_x"], [Y, X]
    names.insert(place, "energy")
    points.insert(place, E)
    bench = Bench(*names, told=told)
    documents = measured(grid(bench, *points, snake_axes=snake))
    # In the usual order the motors themselves tell that it is a stack.
    found = read(export_scan([documents], tmp_path, "scan", scan_type=7 if place else None))
    assert found["entry0/counter/stxm_scan_type"][0] == b"sample image stack"
    assert [a.decode() for a in found["entry0/counter@axes"]] == ["energy", "sample_y", "sample_x"]
    expected = np.moveaxis(bench.expected(*points), place, 0)
    np.testing.assert_array_equal(found["entry0/counter/data"], expected)
    for name, listed in (("energy", E), ("sample_y", Y), ("sample_x", X)):
        np.testing.assert_array_equal(found[f"entry0/counter/{name}"], listed)
    np.testing.assert_array_equal(np.sort(found["entry0/instrument/monochromator/energy"]), np.repeat(E, 12))


def test_a_stack_of_an_stxm_with_its_energies_innermost(stxm, read, tmp_path):
    data, keys = np.arange(36.0).reshape(3, 4, 3), {}
    events, reads = stxm.points(data, keys, ("GoniY", np.array(Y)), ("GoniX", np.array(X)), ("ENERGY", np.array(E)))
    start = {"metadata": stxm.metadata(7, {"0": stxm.region(X, Y, E)}, {"sp_id": 0}), "num_points": 36}
    found = read(export_scan([stxm.run(start, keys, events)], tmp_path, "scan"))
    np.testing.assert_array_equal(found["entry0/counter0/data"], np.moveaxis(data, 2, 0))
    np.testing.assert_array_equal(found["entry0/instrument/monochromator/energy"], reads["ENERGY"])
    np.testing.assert_array_equal(found["entry0/instrument/counter0/data"], np.arange(36.0))


@pytest.mark.parametrize(
    ("names", "points", "number", "first", "snake"),
    [
        (("sample_x", "energy"), (X, E), 5, "energy", True),
        (("sample_x", "zoneplate_z"), (X, Z), 3, "zoneplate_z", False),
        (("osa_y", "zoneplate_z"), (X, Z), 2, "zoneplate_z", True),
    ],
)
def test_a_line_may_be_the_outer_loop(measured, read, tmp_path, names, points, number, first, snake):
    bench = Bench(*names, told=False)
    documents = measured(grid(bench, *points, snake_axes=snake))
    found = read(export_scan([documents], tmp_path, "scan", scan_type=number))
    np.testing.assert_array_equal(found["entry0/counter/data"], bench.expected(*points).T)
    np.testing.assert_array_equal(found[f"entry0/counter/{first}"], points[1])
    np.testing.assert_array_equal(found[f"entry0/counter/{names[0]}"], X)


@pytest.mark.parametrize(
    ("names", "number", "role"),
    [
        (("sample_y", "sample_x"), 5, "energy"),
        (("sample_y", "sample_x"), 3, "zoneplate_z"),
        (("temperature", "sample_x"), 2, "zoneplate_z"),
    ],
)
def test_a_motor_without_the_role_is_not_taken_for_it(measured, tmp_path, names, number, role):
    documents = measured(grid(Bench(*names), Y, X))
    with pytest.raises(MetadataError, match=role):
        export_scan([documents], tmp_path, "scan", scan_type=number)
    with pytest.raises(MetadataError, match="energy"):
        export_scan([measured(grid(Bench("temperature"), Y))], tmp_path, "scan", scan_type=4)


@pytest.mark.parametrize(("told", "relative"), [(True, True), (False, False), (False, True)])
def test_a_grid_that_names_the_axes_to_snake(measured, read, tmp_path, told, relative):
    bench = Bench("sample_y", "sample_x", told=told)
    for axis in bench.axes:
        axis.set(0).wait()
    args = [bench.axes[0], Y, bench.axes[1], X]
    plan = bp.rel_list_grid_scan if relative else bp.list_grid_scan
    found = read(export_scan([measured(plan([bench.counter], *args, snake_axes=[bench.axes[1]]))], tmp_path, "scan"))
    np.testing.assert_array_equal(found["entry0/counter/data"], bench.expected(Y, X))
    np.testing.assert_array_equal(found["entry0/counter/sample_x"], X)


def test_a_pattern_has_its_dwell_as_count_time(stxm, read, tmp_path):
    data, keys = np.arange(12.0).reshape(3, 4), {}
    events, _ = stxm.points(data, keys, ("GoniY", np.array(Y)), ("GoniX", np.array(X)))
    keys |= {"counter0_dwell": stxm.key("counter0_dwell", units="ms"), "pmt_dwell": stxm.key("pmt_dwell", units="ms")}
    metadata = json.loads(stxm.metadata(12, {"0": stxm.region(X, Y, [705.0])}, {"sp_id": 0}, new=True, single=False))
    metadata["dwell"] = None
    metadata["rois"]["0"]["EV_ROIS"][0]["DWELL"] = None
    for varying in (False, True):
        dwells = 2.0 + np.arange(12) * varying
        made = [e | {"counter0_dwell": d, "pmt_dwell": d} for e, d in zip(events, dwells, strict=True)]
        wdg_com = json.dumps({"CMND": 0, "SPATIAL_ROIS": metadata["rois"]})
        documents = stxm.run({"metadata": json.dumps(metadata | {"wdg_com": wdg_com})}, keys, made)
        found = read(export_scan([documents], tmp_path, f"scan{varying}"))
        assert "entry0/counter0_dwell/data" not in found
        assert "entry0/pmt_dwell/data" not in found
        np.testing.assert_array_equal(found["entry0/counter0/data"], data)
        np.testing.assert_array_equal(found["entry0/counter0/count_time"], [np.nan if varying else 0.002])
        np.testing.assert_array_equal(found["entry0/collection/primary/pmt_dwell/value"], dwells)


def test_a_dwell_that_is_asked_for_is_a_detector(measured, read, tmp_path):
    bench = Bench("sample_y", "sample_x")
    dwell = SynSignal(name="counter_dwell", func=lambda: 3.0)
    bench.counter = dwell
    found = read(export_scan([measured(grid(bench, Y, X))], tmp_path, "scan"))
    np.testing.assert_array_equal(found["entry0/counter_dwell/data"], np.full((3, 4), 3.0))


# 1.0 is a step of the grid: some set points are those of others.
@pytest.mark.parametrize(("shift", "snake"), [(0.25, True), (1.0, True), (1.0, False), (100.0, False)])
def test_the_set_points_of_the_events_are_those_of_the_axes(measured, read, tmp_path, snake, shift):
    bench = Bench("sample_y", "sample_x")
    for axis in bench.axes:
        axis.set(shift).wait()
    plan = bp.grid_scan([bench.counter], bench.axes[0], 5, 7, 3, bench.axes[1], -1, 2, 4, snake_axes=snake)
    documents = measured(bpp.relative_set_wrapper(plan, bench.axes))
    found = read(export_scan([documents], tmp_path, "scan"))
    y, x = np.linspace(5, 7, 3) + shift, np.linspace(-1, 2, 4) + shift
    np.testing.assert_array_equal(found["entry0/counter/sample_y"], y)
    np.testing.assert_array_equal(found["entry0/counter/sample_x"], x)
    np.testing.assert_array_equal(found["entry0/counter/data"], bench.expected(y, x))


def test_a_line_that_events_know_has_its_way(measured, read, tmp_path):
    bench = Bench("energy", "sample_x")
    for axis in bench.axes:
        axis.set(100).wait()
    args = [bench.axes[0], E, bench.axes[1], X]
    found = read(export_scan([measured(bp.rel_list_grid_scan([bench.counter], *args))], tmp_path, "scan"))
    np.testing.assert_array_equal(found["entry0/counter/energy"], np.array(E) + 100)
    np.testing.assert_array_equal(found["entry0/counter/line_position"], [0, 1, 2, 3])


def test_numbers_of_more_digits_that_come_later_keep_them(stxm, read, tmp_path):
    data = np.random.default_rng(1).random((3, 4))
    _, documents = image(stxm)
    rows = [data[0].astype(np.float32), list(data[1]), data[2].astype(np.float32)]
    lines = iter(rows)
    mended = [
        (n, {**d, "data": {"counter0_wave": next(lines)}} if n == "event" and "counter0_wave" in d["data"] else d)
        for n, d in documents
    ]
    found = read(export_scan([mended], tmp_path, "scan"))
    assert found["entry0/counter0/data"].dtype == np.float64
    np.testing.assert_array_equal(found["entry0/counter0/data"], [np.asarray(row, float) for row in rows])
    np.testing.assert_array_equal(found["entry0/instrument/counter0/data"], found["entry0/counter0/data"].ravel())
    assert found["entry0/counter0/data@units"] == "counts"


@pytest.mark.parametrize("metadata", ["{}", "hello", None, 5])
def test_metadata_without_an_stxm_make_a_plain_run(measured, read, tmp_path, caplog, metadata):
    bench = Bench("sample_y", "sample_x")
    documents = measured(grid(bench, Y, X), metadata=metadata)
    found = read(export_scan([documents], tmp_path, "scan"))
    np.testing.assert_array_equal(found["entry0/counter/data"], bench.expected(Y, X))
    assert "without 'scan_type', 'rois' and 'wdg_com'" in caplog.text
    with pytest.raises(MetadataError, match=r"has 3: its 'metadata' are not those of an STXM|moves no energy"):
        export_scan([documents], tmp_path, "line", scan_type=5)


@pytest.mark.parametrize("columns", [True, False])
def test_an_image_goes_the_way_of_its_set_points(stxm, read, tmp_path, columns):
    data = stxm.numbers(3, 4)
    loops = [("OSA.Y", np.array(Y)), ("OSA.X", np.array(X))]
    loops = loops[::-1] if columns else loops
    keys = {}
    events, _ = stxm.points(data.T if columns else data, keys, *loops)
    asked = {"0": stxm.region(X, Y, [700.0], x_device="OSA.X", y_device="OSA.Y")}
    start = {"metadata": stxm.metadata(1, asked, {"sp_id": 0}), "num_points": 12}
    found = read(export_scan([stxm.run(start, keys, events)], tmp_path, "scan"))
    np.testing.assert_array_equal(found["entry0/counter0/data"], data)
    taken = data.T if columns else data
    np.testing.assert_array_equal(found["entry0/instrument/counter0/data"], taken.ravel())
