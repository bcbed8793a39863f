import numpy as np
import pandas as pd
import pytest
import xarray as xr
from bluesky.plan_patterns import outer_product
from bluesky.plans import grid_scan
from bluesky_tiled_plugins import TiledWriter
from ophyd.sim import SynAxis

from bluesky_ext import as_sink, save
from bluesky_ext.plots import plot_real_aspect, reshape
from bluesky_ext.sim import beamline


@pytest.mark.parametrize(
    ("shape", "snaking", "expected"),
    [
        ((3,), (True,), [1, 2, 3]),
        ((2, 3), (False, True), [[1, 2, 3], [6, 5, 4]]),
        ((2, 3), (True, True), [[1, 2, 3], [6, 5, 4]]),
        # With three rows a slab ends where it has not begun: the row after the turn is the fourth of all.
        ((2, 3, 2), (False, True, True), [[[1, 2], [4, 3], [5, 6]], [[12, 11], [9, 10], [8, 7]]]),
        ((2, 3, 2), (False, False, True), [[[1, 2], [4, 3], [5, 6]], [[8, 7], [9, 10], [12, 11]]]),
    ],
)
def test_events_go_where_the_scan_was(shape, snaking, expected):
    events = {"current": np.arange(1, np.prod(shape) + 1)}
    grid = reshape(events, "current", shape=shape, snaking=snaking)
    np.testing.assert_array_equal(grid, expected)
    assert grid.dtype == events["current"].dtype  # nothing is missing


@pytest.mark.parametrize("snake", [(), (1,), (2,), (3,), (1, 2), (1, 3), (2, 3), (1, 2, 3)])
def test_the_positions_that_bluesky_goes_to_are_those_of_the_grid(snake):
    axes = [("w", 0.0, 1.0, 2), ("z", -1.0, 1.0, 3), ("y", 5.0, 2.0, 4), ("x", 0.0, 1.0, 3)]
    axes = [(SynAxis(name=name), *numbers) for name, *numbers in axes]
    args = []
    for number, axis in enumerate(axes):
        args += [*axis] if number == 0 else [*axis, number in snake]
    points = pd.DataFrame(list(outer_product(args))).rename(columns=lambda motor: motor.name)

    description = {
        "shape": [axis[3] for axis in axes],
        "extents": [axis[1:3] for axis in axes],
        "snaking": [number in snake for number in range(4)],
    }
    for name in "wzyx":
        for given in (description | {"motors": "wzyx"}, {"motors": "wzyx"}):  # what was planned, and readings alone
            grid = reshape(points, name, **given)
            np.testing.assert_allclose(grid, grid.coords[name].broadcast_like(grid).transpose(*"wzyx"))
        planned = reshape({"reading": points[name]}, "reading", **description, metadata={"motors": [*"wzyx"]})
        xr.testing.assert_allclose(planned.sortby([*"wzyx"]), grid.rename("reading"))


def test_a_real_scan_and_its_start_document(run_engine):
    documents = {"start": [], "event": []}
    y, x = SynAxis(name="sample_y"), SynAxis(name="sample_x")
    run_engine.subscribe(lambda name, doc: documents.get(name, []).append(doc))
    run_engine(grid_scan([], y, 1, 3, 3, x, -2, 2, 5, snake_axes=True))
    table = pd.DataFrame([event["data"] | {"seq_num": event["seq_num"]} for event in documents["event"]])

    grid = reshape(table.drop(index=[4, 7]), "sample_x", metadata=documents["start"][0])
    assert grid.dims == ("sample_y", "sample_x")
    np.testing.assert_array_equal(grid.sample_y, [1, 2, 3])
    np.testing.assert_array_equal(
        grid,
        # the second row is run through backwards: its third event, number 8, is at 0
        [[-2, -1, 0, 1, np.nan], [-2, -1, np.nan, 1, 2], [-2, -1, 0, 1, 2]],
    )
    same = reshape(table, "sample_y", metadata={"start": documents["start"][0], "stop": None})
    np.testing.assert_array_equal(same, [[1] * 5, [2] * 5, [3] * 5])


@pytest.mark.parametrize("kept", ["documents", "saved", "by tiled"])
def test_a_stored_run_and_a_key(run_engine, embedded, tmp_path, kept):
    docs, b = [], beamline(seed=1, shape=(64, 64), n_grains=2)
    with save(embedded, backup=tmp_path) as sink:
        sinks = {"documents": as_sink(docs), "saved": sink, "by tiled": TiledWriter(embedded, max_array_size=0)}
        run_engine.subscribe(sinks[kept])
        (uid,) = run_engine(grid_scan([b.detector], b.y, -1, 1, 2, b.x, 0, 1, 3, snake_axes=True))
    run = docs or embedded[uid]

    grid = reshape(run, "sample_x_user_setpoint")
    np.testing.assert_allclose(grid, [[0, 0.5, 1]] * 2)
    assert [grid[name].attrs["units"] for name in grid.dims] == ["mm", "mm"]
    assert reshape(run, "dexela_image")[1, 0].shape == (1, 64, 64)
    (ax,) = plot_real_aspect(run, "dexela_stats_total").axes
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_aspect()) == ("sample_x (mm)", "sample_y (mm)", 1.0)
    assert ax.child_axes[0].get_ylabel() == "dexela_stats_total (counts)"
    with pytest.raises(ValueError, match="the data has no 'nothing', only"):
        reshape(run, "nothing")
    with pytest.raises(LookupError, match="has no stream 'dark'"):
        reshape(run, "sample_x", stream="dark")


def test_an_aborted_scan_has_no_values_at_its_end():
    grid = reshape({"counts": [10, 20, 30, 40]}, "counts", shape=(3, 2), snaking=(False, True))
    np.testing.assert_array_equal(grid, [[10, 20], [40, 30], [np.nan, np.nan]])


def test_a_scan_that_never_began_has_none_at_all():
    grid = reshape({"counts": np.empty(0)}, "counts", shape=(2, 2))
    assert grid.shape == (2, 2)
    assert grid.isnull().all()


def test_gaps_stay_gaps_and_the_last_of_repeated_events_counts():
    events = pd.DataFrame({"seq_num": [1, 2, 2, 5, 6], "counts": [1, 20, 21, 50, 60]})
    grid = reshape(events, "counts", shape=(2, 3), snaking=(False, True))
    np.testing.assert_array_equal(grid, [[1, 21, np.nan], [60, 50, np.nan]])


def test_numbers_may_have_another_name_or_come_alone():
    events = pd.DataFrame({"seq_num": [1, 2], "frame": [2, 1], "counts": [5, 6]})
    np.testing.assert_array_equal(reshape(events, "counts", shape=[2], seq_num="frame"), [6, 5])
    np.testing.assert_array_equal(reshape(events, "counts", shape=[2], seq_num=[2, 1]), [6, 5])
    np.testing.assert_array_equal(reshape(events, "counts", shape=[2]), [5, 6])


def test_images_stay_as_they_are():
    images = np.arange(6 * 4 * 5, dtype=np.uint16).reshape(6, 4, 5)
    dataset = xr.Dataset(
        {"image": (("time", "row", "column"), images, {"units": "counts"})},
        {"time": np.arange(6.0), "column": [0.0, 0.1, 0.2, 0.3, 0.4]},
        {"shape": (2, 3), "snaking": (False, True), "extents": ([0, 1], [0, 2]), "motors": ("y", "x")},
    )
    grid = reshape(dataset, "image")
    assert grid.dims == ("y", "x", "row", "column")
    assert grid.dtype == np.uint16
    assert grid.attrs == {"units": "counts"}
    np.testing.assert_array_equal(grid[0, 1], images[1])
    np.testing.assert_array_equal(grid[1, 0], images[5])
    np.testing.assert_array_equal(grid.column, dataset.column)
    assert "time" not in grid.coords

    aborted = reshape(dataset.isel(time=slice(4)), "image")
    np.testing.assert_array_equal(aborted[1, 2], images[3])
    assert aborted[1, :2].isnull().all()
    np.testing.assert_array_equal(dataset.image, images)  # not changed

    cells = pd.DataFrame({"image": list(images)})
    from_table = reshape(cells, "image", shape=(2, 3), snaking=(False, True))
    assert from_table.dims == ("dim_0", "dim_1", "image_dim_1", "image_dim_2")
    np.testing.assert_array_equal(from_table, grid)


def test_lazy_images_stay_lazy():
    array = pytest.importorskip("dask.array")

    def fail(block):
        raise AssertionError("computed")

    images = array.zeros((4, 8, 8), chunks=(1, 8, 8)).map_blocks(fail, dtype=float, meta=np.empty((0, 0, 0)))
    grid = reshape(xr.Dataset({"image": (("time", "y", "x"), images)}), "image", shape=(2, 2))
    assert grid.shape == (2, 2, 8, 8)
    with pytest.raises(AssertionError, match="computed"):
        grid.compute()


def test_motors_that_have_the_name_of_an_axis_or_a_coordinate():
    images = xr.Dataset({"image": (("time", "y"), [[1, 2], [3, 4]])}, {"y": [7, 8], "x": 5.0, "z": 6.0})
    grid = reshape(images, "image", metadata={"shape": [1, 2], "motors": ["y", "x"], "extents": [(0, 0), (3, 4)]})
    assert grid.dims == ("motor_y", "x", "y")
    assert {name: grid[name].values.tolist() for name in ("x", "y", "z")} == {"x": [3, 4], "y": [7, 8], "z": 6}


def test_points_that_make_no_grid_are_along_one_axis():
    spiral = {"y": [0, 0.4, -0.1, -0.5], "x": [0, 0.1, 0.5, -0.2], "counts": [1, 2, 3, 4]}
    grid = reshape(spiral, "counts", metadata={"motors": ["y", "x"]})
    assert grid.dims == ("point",)
    assert grid.values.tolist() == [1, 2, 3, 4]
    assert grid.x.values.tolist() == spiral["x"]


def test_a_stage_that_did_not_move_is_said(caplog):
    stuck = {"y": [1, 1, 1, 1], "x": [0, 1, 0, 1], "counts": [1, 2, 3, 4]}
    start = {"shape": [2, 2], "extents": [(1, 2), (0, 1)], "motors": ["y", "x"], "scan_id": 9}
    assert reshape(stuck, "counts", metadata=start).dims == ("point",)
    assert "scan 9: the scan was not as its start document says: y stayed at 1 and not from 1 to 2" in caplog.text


def test_true_or_false_or_missing():
    np.testing.assert_array_equal(reshape({"open": np.array([True, False])}, "open", shape=[3]), [1.0, 0.0, np.nan])
    assert reshape({"open": np.array([True, False])}, "open", shape=[2]).dtype == bool


def test_the_unit_of_a_motor_is_that_of_its_readings():
    dataset = xr.Dataset({"y": ("time", [0.0, 1.0], {"units": "mm", "source": "PV"}), "counts": ("time", [1, 2])})
    grid = reshape(dataset, "counts", motors=["y"])
    assert grid.y.attrs == {"units": "mm"}


def test_a_description_that_has_been_through_a_netcdf_file(tmp_path):
    dataset = xr.Dataset(
        {"counts": ("time", [1, 2, 3, 4])},
        attrs={"shape": [2, 2], "snaking": [0, 1], "extents": [0.0, 1.0, 5.0, 7.0]},
    )
    dataset.to_netcdf(tmp_path / "run.nc", engine="scipy")
    with xr.open_dataset(tmp_path / "run.nc", engine="scipy") as read:
        grid = reshape(read, "counts").load()
    np.testing.assert_array_equal(grid, [[1, 2], [4, 3]])
    np.testing.assert_array_equal(grid.dim_1, [5, 7])


def test_names_of_the_axes():
    events = {"counts": [1, 2]}
    start = {"shape": (1, 2), "motors": ["stage_y", "stage_x"]}
    hinted = start | {"hints": {"dimensions": [(["y_readback"], "primary"), (["x_readback"], "primary")]}}
    theta = start | {"hints": {"dimensions": [(["y", "x"], "primary")]}}
    assert reshape(events, "counts", metadata=start).dims == ("stage_y", "stage_x")
    assert reshape(events, "counts", metadata=hinted).dims == ("y_readback", "x_readback")
    assert reshape(events, "counts", metadata=theta).dims == ("stage_y", "stage_x")
    assert reshape(events, "counts", shape=(1, 2)).dims == ("dim_0", "dim_1")


@pytest.mark.parametrize(
    ("key", "arguments", "message"),
    [
        ("count", {}, "no 'count', only"),
        ("counts", {"shape": None}, "give motors=, shape=, or the start document"),
        ("counts", {"shape": (2, 0)}, r"shape=\(2, 0\)"),
        ("counts", {"shape": (1, 2)}, r"event 3 is not one of the 2 of a scan of shape \(1, 2\)"),
        ("counts", {"extents": [(0, 1)]}, "extents="),
        ("counts", {"snaking": [True]}, "snaking="),
        ("counts", {"motors": ["y"]}, r"motors=\['y'\]: the data has no 'y', only"),
        ("counts", {"seq_num": "frame"}, "seq_num='frame' is not in the data"),
        ("counts", {"seq_num": [1, 2]}, "there are 3 events"),
        ("counts", {"seq_num": [1, 2, 7]}, "event 7 is not one of the 6"),
        ("counts", {"seq_num": [0, 1, 2]}, "seq_num 0 is no number of an event"),
        ("counts", {"seq_num": [1, 1.5, 2]}, "seq_num 1.5 is no number of an event"),
        ("ragged", {}, "arrays of different shapes"),
        ("single", {}, "single value"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(key, arguments, message):
    ragged = np.empty(3, object)
    ragged[:] = [np.zeros(2), np.zeros(3), np.zeros(2)]
    data = {"counts": [1, 2, 3], "image": np.zeros((3, 2)), "ragged": ragged, "single": 5}
    with pytest.raises(ValueError, match=message) as error:
        reshape(data, key, **{"shape": (2, 3)} | arguments)
    assert "\n" not in str(error.value)
