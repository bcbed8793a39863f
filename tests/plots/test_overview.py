import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from bluesky_ext.plots.overview import Overview


def dataset_of(dims, shape, **motors):
    """Three maps, of which the last point was not measured."""
    values = np.ones((3, *shape)) * np.array([1.0, 3.0, 2.0]).reshape(3, *[1] * len(shape))
    values.reshape(3, -1)[1, 0] = 0
    values.reshape(3, -1)[:, -1] = np.nan
    return xr.Dataset({"maps": (("reflection", *dims), values)}, {"reflection": range(3), **motors})


LINE, PLANE = np.arange(6.0), np.arange(6.0) ** 2


@pytest.mark.parametrize(
    "dataset",
    [
        dataset_of(("y",), (6,), y=LINE),
        dataset_of(("y", "x"), (2, 3), y=[0.0, 1.0]),
        dataset_of(("z", "y", "x"), (2, 2, 3), z=[0.0, 1.0]),
        dataset_of(("point",), (6,), seq_num=("point", range(1, 7))),
        dataset_of(("point",), (6,), y=("point", LINE)),
        dataset_of(("point",), (6,), y=("point", LINE), x=("point", PLANE)),
        dataset_of(("point",), (6,), z=("point", LINE[::-1]), y=("point", LINE), x=("point", PLANE)),
    ],
    ids=lambda dataset: " ".join([*dataset["maps"].dims[1:], *dataset.coords]),
)
def test_the_maps_of_any_scan_are_beside_the_image(dataset, render):
    overview = Overview(Figure())
    overview.show("scan 1", dataset, np.eye(8), {"y": [1.0, 2.0], "x": [3.0, 4.0]})
    titles = [panel.get_title().split("\n") for panel in overview.figure.axes]
    assert titles == [
        ["2 peaks"],
        ["reflections seen", "3 at most, 3 maps"],
        *([f"reflection {number}"] for number in (1, 2, 0)),
    ]
    assert render(overview.figure).std() > 0


def test_the_next_image_leaves_what_the_user_looks_at():
    overview = Overview(Figure())
    overview.show("scan 1", xr.Dataset(), np.eye(8), {"y": [1.0], "x": [3.0]})
    panel = overview.figure.axes[0]
    panel.set(xlim=(2, 4), ylim=(5, 1))
    overview.show("scan 1", dataset_of(("y",), (6,)), 2 * np.eye(8), {"y": [6.0, 2.0], "x": [3.0, 4.0]})
    assert overview.figure.axes[0] is panel
    assert (panel.get_xlim(), panel.get_ylim()) == ((2, 4), (5, 1))
    np.testing.assert_array_equal(panel.images[0].get_array(), 2 * np.eye(8))
    np.testing.assert_array_equal(panel.collections[0].get_offsets(), [[3, 6], [4, 2]])
    overview.show("scan 2", xr.Dataset(), np.eye(9), {"y": [], "x": []})
    assert [panel.get_xlim() for panel in overview.figure.axes] == [(-0.5, 8.5)]


def test_a_large_image_is_drawn_from_the_brightest_of_its_blocks():
    image = np.zeros((2500, 2100))
    image[2000, 1000] = 7
    overview = Overview(Figure())
    overview.show("scan 1", xr.Dataset(), image, {"y": [], "x": []})
    (drawn,) = overview.figure.axes[0].images
    row, column = np.argwhere(drawn.get_array() == 7)[0]
    left, right, bottom, top = drawn.get_extent()
    height, width = drawn.get_array().shape
    assert top + (row + 0.5) * (bottom - top) / height == pytest.approx(2000, abs=2)
    assert left + (column + 0.5) * (right - left) / width == pytest.approx(1000, abs=2)
