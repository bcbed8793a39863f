import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import LogNorm, Normalize, to_rgb
from matplotlib.figure import Figure

from bluesky_ext.plots import plot_real_aspect

# A colour each, of viridis: exact where nothing is interpolated.
FIRST, LAST, MISSING = "#440154", "#fde725", "0.8"


def image_of(values, y=None, x=None, unit_y="mm", unit_x="mm", **attrs):
    coords = {}
    for name, positions, unit in (("sample_y", y, unit_y), ("sample_x", x, unit_x)):
        if positions is not None:
            coords[name] = (name, positions, {"units": unit} if unit else {})
    return xr.DataArray(np.asarray(values), coords, ("sample_y", "sample_x"), attrs.pop("name", None), attrs)


def extent_of(pixels, colour):
    """Rows and columns of the rectangle in a colour: their number, and the first of each."""
    there = (np.abs(pixels - np.array(to_rgb(colour)) * 255) < 1.5).all(axis=2)
    rows, columns = np.flatnonzero(there.sum(axis=1) > 20), np.flatnonzero(there.sum(axis=0) > 20)
    return np.ptp(rows) + 1, np.ptp(columns) + 1, rows[0], columns[0]


@pytest.mark.parametrize(
    ("y", "x", "unit_y", "unit_x", "ratio"),
    [
        ([0.0, 1.0], [0.0, 1.0], "mm", "mm", 1.0),
        ([0.0, 0.2], [0.0, 0.3], "mm", "mm", 0.2 / 0.3),
        ([0.3, 0.1], [5.0, 4.9], "mm", "mm", 2.0),
        ([0.0, 0.1], [0.0, 0.3], None, "mm", 1 / 3),
        ([0.0, 0.1], [0.0, 200.0], "mm", "um", 0.5),
        ([0.0, 100.0], [0.0, 0.2], "µm", "mm", 0.5),
        ([0.0, 1e-4], [0.0, 0.02], "m", "cm", 0.5),
        (None, None, None, None, 1.0),
    ],
)
def test_a_millimetre_is_as_long_along_y_as_along_x(render, y, x, unit_y, unit_x, ratio):
    figure = plot_real_aspect(image_of([[0.0, 1.0], [1.0, 1.0]], y, x, unit_y, unit_x), colorbar=False)
    figure.set_dpi(150)
    height, width, _, _ = extent_of(render(figure), FIRST)  # one of the four
    assert min(height, width) > 100
    assert height / width == pytest.approx(ratio, rel=0.02)


def test_the_aspect_stays_when_the_window_is_resized(render):
    figure = plot_real_aspect(image_of([[0.0, 1.0], [1.0, 1.0]], [0.0, 1.0], [0.0, 2.0]))
    figure.set_size_inches(4, 9)
    height, width, _, _ = extent_of(render(figure), FIRST)
    assert height / width == pytest.approx(0.5, rel=0.03)


def test_what_is_no_length_has_no_real_aspect():
    figure = plot_real_aspect(image_of(np.eye(2), [0.0, 1.0], [0.0, 90.0], "mm", "deg"))
    assert figure.axes[0].get_aspect() == "auto"


def test_every_value_covers_the_pixel_around_its_coordinates():
    values = np.arange(12.0).reshape(3, 4)
    figure = plot_real_aspect(image_of(values, [1.0, 1.5, 2.0], [10.0, 9.0, 8.0, 7.0]))
    (drawn,) = figure.axes[0].images
    np.testing.assert_array_equal(drawn.get_array(), values)
    np.testing.assert_allclose(drawn.get_extent(), [10.5, 6.5, 0.75, 2.25])
    # 9 is where the data have it
    assert drawn.get_cursor_data(at(figure.axes[0], 9.0, 1.5)) == values[1, 1]
    assert drawn.get_cursor_data(at(figure.axes[0], 7.0, 2.0)) == values[2, 3]


def at(ax, x, y):
    from matplotlib.backend_bases import MouseEvent
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    return MouseEvent("motion_notify_event", FigureCanvasAgg(ax.figure), *ax.transData.transform((x, y)))


@pytest.mark.parametrize(
    ("y", "yincrease", "is_first_on_top"),
    [
        ([0.0, 1.0], None, False),
        ([1.0, 0.0], None, True),
        ([0.0, 1.0], False, True),
        (None, None, True),
        (None, True, False),
    ],
)
def test_which_way_up(render, y, yincrease, is_first_on_top):
    values = [[0.0, 0.5], [1.0, 0.5]]
    pixels = render(plot_real_aspect(image_of(values, y, [0.0, 1.0]), yincrease=yincrease, colorbar=False))
    assert (extent_of(pixels, FIRST)[2] < extent_of(pixels, LAST)[2]) == is_first_on_top


def test_x_rises_to_the_right_also_when_it_was_scanned_downwards(render):
    pixels = render(plot_real_aspect(image_of([[0.0, 0.5, 1.0]], [0.0], [2.0, 1.0, 0.0]), colorbar=False))
    assert extent_of(pixels, FIRST)[3] > extent_of(pixels, LAST)[3]


def test_uneven_steps_are_drawn_as_they_are(render):
    figure = plot_real_aspect(image_of([[0.0, 0.5, 1.0]] * 2, [0.0, 1.0], [0.0, 1.0, 4.0]), colorbar=False)
    assert not figure.axes[0].images
    pixels = render(figure)
    # borders at -0.5, 0.5, 2.5 and 5.5
    first, last = extent_of(pixels, FIRST), extent_of(pixels, LAST)
    assert last[1] / first[1] == pytest.approx(3, rel=0.05)
    assert first[0] / first[1] == pytest.approx(2, rel=0.05)


def test_readings_of_a_motor_that_are_a_little_off_are_even():
    assert plot_real_aspect(image_of(np.eye(3), [0.0, 1.01, 2.0], [0.0, 0.99, 2.0])).axes[0].images


def test_a_single_row_has_square_pixels(render):
    height, width, _, _ = extent_of(
        render(plot_real_aspect(image_of([[0.0, 1.0, 1.0]], [7.0], [0.0, 0.1, 0.2]), colorbar=False)), FIRST
    )
    assert height / width == pytest.approx(1, rel=0.05)


def test_missing_values_are_grey(render):
    figure = plot_real_aspect(image_of([[0.0, 1.0], [np.nan, 1.0]], [0.0, 1.0], [0.0, 1.0]), colorbar=False)
    pixels = render(figure)
    missing, first = extent_of(pixels, MISSING), extent_of(pixels, FIRST)
    assert missing[:2] == pytest.approx(first[:2], abs=2)
    assert missing[2] < first[2]


def test_labels_have_names_and_units():
    image = image_of(np.eye(2), [0.0, 1.0], [0.0, 1.0], name="current", units="nA", long_name="ion chamber")
    image.sample_x.attrs["long_name"] = "stage x"
    panel, bar = plot_real_aspect(image).axes[0], plot_real_aspect(image).axes[0].child_axes[0]
    assert (panel.get_ylabel(), panel.get_xlabel(), bar.get_ylabel()) == (
        "sample_y (mm)",
        "stage x (mm)",
        "ion chamber (nA)",
    )
    assert plot_real_aspect(image_of(np.eye(2))).axes[0].get_xlabel() == "sample_x"


def test_robust_limits_are_percentiles():
    values = np.arange(101.0)[None, :].repeat(3, axis=0)
    values[0, 0] = np.nan
    image = image_of(values)

    def limits(**kwargs):
        return plot_real_aspect(image, **kwargs).axes[0].images[0].get_clim()

    assert limits() == (0, 100)
    finite = values[np.isfinite(values)]
    np.testing.assert_allclose(limits(robust=True), np.percentile(finite, [2, 98]))
    np.testing.assert_allclose(limits(robust=(10, 50)), np.percentile(finite, [10, 50]))
    assert limits(robust=True, vmin=-3)[0] == -3
    assert limits(norm=Normalize(2, 3)) == (2, 3)
    assert limits(norm="log") == (50.5, 100)  # the middle of 1, 1, 1, 2, 2, 2, ... 100


@pytest.mark.parametrize("values", [np.full((2, 2), np.nan), np.zeros((2, 2)), np.full((2, 2), -7), np.eye(2) > 0])
def test_any_values_can_be_drawn(render, values):
    figure = plot_real_aspect(image_of(values))
    low, high = figure.axes[0].images[0].get_clim()
    assert low < high
    assert render(figure).size


def test_a_leading_dimension_makes_several_pictures():
    values = np.arange(5 * 2 * 3.0).reshape(5, 2, 3)
    array = xr.DataArray(
        values, {"phi": [0.0, 0.5, 1.0, 1.5, 2.0], "x": ("x", [0, 1, 2], {"units": "mm"})}, ["phi", "y", "x"]
    )
    figure = plot_real_aspect(array, ncols=3)
    *panels, bar = figure.axes
    assert len(panels) == 5
    for panel, image, phi in zip(panels, values, ("0", "0.5", "1", "1.5", "2"), strict=True):
        np.testing.assert_array_equal(panel.images[0].get_array(), image)
        assert panel.get_title() == f"phi = {phi}"
        assert panel.images[0].get_clim() == (0, 29)
    assert len({round(panel.get_position().y0, 6) for panel in panels}) == 2
    assert figure.get_supxlabel() == "x (mm)"
    assert bar.get_position().x0 > max(panel.get_position().x1 for panel in panels)


def test_facets_share_a_norm_without_limits():
    array = xr.DataArray([[[1.0, 2.0]], [[10.0, 1000.0]]])
    figure = plot_real_aspect(array, norm=LogNorm())
    assert [panel.images[0].get_clim() for panel in figure.axes[:2]] == [(1, 1000), (1, 1000)]


def test_given_axes_are_drawn_on():
    figure = Figure()
    grid = figure.subplots(2, 2)
    array = xr.DataArray(np.zeros((3, 2, 2)))
    assert plot_real_aspect(array, ax=grid, colorbar=False) is figure
    assert [len(ax.images) for ax in grid.flat] == [1, 1, 1, 0]
    nested = figure.subfigures(1, 2)[0].add_subplot()
    assert plot_real_aspect(array[0], ax=nested) is figure


def test_a_given_figure_is_drawn_in_again_and_again():
    figure = Figure(layout="constrained")
    for _ in range(2):
        assert plot_real_aspect(xr.DataArray(np.zeros((3, 2, 4))), figure=figure) is figure
        assert len(figure.axes) == 3 + 1
    width, height = figure.get_size_inches()
    assert width > height


@pytest.mark.parametrize(
    ("array", "arguments", "message"),
    [
        (xr.DataArray(np.zeros((1, 1, 1, 1))), {}, "has the axes"),
        (xr.DataArray(np.zeros((0, 1, 1))), {}, "nothing along 'dim_0'"),
        (xr.DataArray(np.zeros((0, 1))), {}, "no pixels along 'dim_0'"),
        (image_of(np.eye(3), [0.0, 2.0, 1.0]), {}, "'sample_y' does not rise or fall"),
        (image_of(np.eye(2), [0.0, np.nan]), {}, "'sample_y' does not rise or fall"),
        (image_of(np.eye(2), ["a", "b"]), {}, "'sample_y' has <U1"),
        (image_of(np.eye(2)), {"robust": (98, 2)}, r"robust=\(98, 2\)"),
        (image_of(np.eye(2)), {"ncols": 0}, "ncols=0"),
        (image_of(np.eye(2)), {"ax": [], "ncols": 1}, "0 axes are not enough for 1"),
        (image_of(np.eye(2)), {"ax": Figure().add_subplot(), "figure": Figure()}, "both given"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_line(array, arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        plot_real_aspect(array, **arguments)
    assert "\n" not in str(error.value)


def test_what_are_no_axes_is_said():
    with pytest.raises(TypeError, match="matplotlib Axes are needed"):
        plot_real_aspect(image_of(np.eye(2)), ax=Figure())


def test_matplotlib_is_imported_for_pictures_alone_and_pyplot_never():
    program = """
import io, sys, xarray
from bluesky_ext.plots import plot_real_aspect, reshape
reshape({"a": [1]}, "a", shape=[1])
assert "matplotlib" not in sys.modules
sys.modules["matplotlib"] = None  # as if it were not installed
try:
    plot_real_aspect(xarray.DataArray([[1.0]]))
except ImportError as error:
    print(error)
del sys.modules["matplotlib"]
plot_real_aspect(xarray.DataArray([[1.0, 2.0]])).savefig(io.BytesIO())
assert "matplotlib.pyplot" not in sys.modules
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.endswith("install the extra: pip install 'bluesky-ext[plot]'\n")


def test_scattered_points_are_discs_and_a_scan_along_one_motor_is_a_line():
    motors = {"y": ("point", [0.0, 0.4, -0.1, -0.5], {"units": "mm"}), "x": ("point", [0.0, 0.1, 0.5, -0.2])}
    spiral = xr.DataArray([1.0, 2.0, 3.0, 4.0], motors, ("point",), "total", {"units": "counts"})
    (ax,) = plot_real_aspect(spiral).axes
    (discs,) = ax.collections
    np.testing.assert_array_equal(discs.get_offsets()[:, 1], motors["y"][1])
    assert (ax.get_ylabel(), ax.get_aspect(), ax.child_axes[0].get_ylabel()) == ("y (mm)", 1.0, "total (counts)")

    (ax,) = plot_real_aspect(spiral.drop_vars("x")).axes
    assert ax.lines[0].get_xdata().tolist() == [-0.5, -0.1, 0.0, 0.4]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.child_axes) == ("y (mm)", "total (counts)", [])
