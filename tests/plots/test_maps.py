import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from bluesky_ext.plots import plot_crystal_maps


def maps_of(count, ny=3, nx=4, **coords):
    """Maps whose values are ten times their number and more, the faintest first."""
    values = np.arange(count)[:, None, None] * 10.0 + np.arange(ny * nx).reshape(ny, nx)
    return xr.Dataset(
        {"maps": (("reflection", "y_motor", "x_motor"), values)}, {"reflection": np.arange(count), **coords}
    )


def points_of(values=None, **motors):
    """Maps of two reflections at scattered points, the second the fainter."""
    (count,) = {len(positions) for positions in motors.values()}
    values = np.arange(1.0, count + 1) if values is None else np.asarray(values)
    along = {name: ("point", positions, {"units": "mm"}) for name, positions in motors.items()}
    return xr.Dataset({"maps": (("reflection", "point"), [values, values / 2])}, along)


def test_the_brightest_come_first():
    dataset = maps_of(6)
    figure = plot_crystal_maps(dataset, n=4, ncols=3)
    *panels, _ = figure.axes
    assert [panel.get_title() for panel in panels] == ["reflection 5", "reflection 4", "reflection 3", "reflection 2"]
    for panel, grain in zip(panels, (5, 4, 3, 2), strict=True):
        np.testing.assert_array_equal(panel.images[0].get_array(), dataset.maps[grain])
    assert sorted({round(panel.get_position().x0, 6) for panel in panels}) == sorted(
        {round(panel.get_position().x0, 6) for panel in panels[:3]}
    )

    # What is said to be the total comes before the sum.
    dataset["total"] = "reflection", [9.0, 1.0, 8.0, 2.0, 3.0, 4.0]
    assert [panel.get_title() for panel in plot_crystal_maps(dataset, n=2).axes[:2]] == ["reflection 0", "reflection 2"]


def test_a_figure_says_that_there_are_more_maps():
    def notes(n):
        return [text.get_text() for text in plot_crystal_maps(maps_of(6), n=n).texts]

    assert [note for note in notes(4) if "of 6" in note] == ["4 of 6 maps"]
    assert not [note for note in notes(6) + notes(None) if "of 6" in note]


def test_titles_say_where_the_peak_is():
    dataset = maps_of(2).assign(y=("reflection", [10.4, 20.6]), x=("reflection", [300.0, 7.0]))
    titles = [panel.get_title() for panel in plot_crystal_maps(dataset).axes[:2]]
    assert titles == ["reflection 1\ny 21, x 7 px", "reflection 0\ny 10, x 300 px"]


def test_each_has_its_own_scale_or_all_have_the_same():
    dataset = maps_of(3)
    own = plot_crystal_maps(dataset).axes
    assert [panel.images[0].get_clim() for panel in own[:3]] == [(0, 31), (0, 21), (0, 11)]
    assert [tick.get_text() for tick in own[3].get_yticklabels()] == ["0", "max"]
    shared = plot_crystal_maps(dataset, shared=True).axes
    assert [panel.images[0].get_clim() for panel in shared[:3]] == [(0, 31)] * 3
    assert shared[3].get_ylim() == (0, 31)
    fixed = plot_crystal_maps(dataset, vmin=5, vmax=7).axes
    assert [panel.images[0].get_clim() for panel in fixed[:3]] == [(5, 7)] * 3
    assert fixed[3].get_ylim() == (5, 7)
    half = plot_crystal_maps(dataset, vmin=5).axes
    assert [panel.images[0].get_clim() for panel in half[:3]] == [(5, 31), (5, 21), (5, 11)]
    assert [tick.get_text() for tick in half[3].get_yticklabels()] == ["5", "max"]


def test_scattered_points_are_discs_as_wide_as_they_are_apart():
    turns = 2.4 * np.arange(200)
    y, x = np.sqrt(turns / turns[-1]) * [np.sin(turns), np.cos(turns)]
    values = np.arange(200.0)
    values[150:] = np.nan
    figure = plot_crystal_maps(points_of(values, sample_y=y, sample_x=x))
    (discs,) = figure.axes[0].collections
    np.testing.assert_array_equal(discs.get_offsets(), np.column_stack([x, y]))
    np.testing.assert_array_equal(discs.get_array(), values)
    nearest = np.sort(np.hypot(y - y[:, None], x - x[:, None]), axis=1)[:, 1]
    assert np.median(nearest) < discs.get_widths()[0] < 1.5 * np.median(nearest)
    figure.draw_without_rendering()
    assert discs.get_facecolors()[150:, :3] == pytest.approx(0.8)  # not measured yet
    assert figure.axes[0].get_aspect() == 1
    assert (figure.get_supylabel(), figure.get_supxlabel()) == ("sample_y (mm)", "sample_x (mm)")


@pytest.mark.parametrize(
    ("dataset", "label", "x"),
    [
        (points_of([1, 2, 4, 3], y=[0, 1e-3, 0, 1e-3], x=[0.0, 2.0, 9.0, 3.0]), "x (mm)", [0, 2, 3, 9]),
        (points_of([1, 2, 4, 3], y=[0.0, 2.0, 9.0, 3.0], x=[5.0] * 4, z=[7.0] * 4), "y (mm)", [0, 2, 3, 9]),
        (points_of([1, 2, 4, 3], seq_num=[1, 2, 9, 5]), "seq_num (mm)", [1, 2, 5, 9]),
        (points_of([1, 2, 3, 4], point=[0, 2, 3, 9]), "point (mm)", [0, 2, 3, 9]),
        (points_of([1, 2, 3, 4], y=[0, 1, 2, 3]).drop_vars("y"), "point", [0, 1, 2, 3]),
    ],
    ids=["on a line", "one motor moves", "no motors", "a motor", "nothing"],
)
def test_scans_along_a_line_are_lines(dataset, label, x):
    figure = plot_crystal_maps(dataset)
    assert [panel.get_title() for panel in figure.axes] == ["reflection 0", "reflection 1"]
    (line,) = figure.axes[0].lines
    np.testing.assert_array_equal(line.get_xydata(), np.column_stack([x, [1, 2, 3, 4]]))
    assert figure.get_supxlabel() == label
    assert figure.get_supylabel() == "intensity, scaled map by map"
    assert [panel.get_ylim() for panel in figure.axes] == [(-0.2, 4.2), (-0.1, 2.1)]
    shared = plot_crystal_maps(dataset, shared=True)
    assert [panel.get_ylim() for panel in shared.axes] == [(-0.2, 4.2)] * 2
    assert shared.get_supylabel() == "intensity"


def test_percentiles_are_those_of_the_values_that_are_not_zero():
    values = np.zeros((1, 100, 10))
    values[0, 0] = np.arange(1, 11)
    dataset = xr.Dataset({"maps": (("reflection", "y", "x"), values)})
    assert plot_crystal_maps(dataset, robust=(0, 50)).axes[0].images[0].get_clim() == (0, 5.5)
    values[0, 1] = -values[0, 0]
    low, high = plot_crystal_maps(dataset, robust=(10, 90)).axes[0].images[0].get_clim()
    both = [*range(-10, 0), *range(1, 11)]
    assert (low, high) == pytest.approx(tuple(np.percentile(both, [10, 90])))


def test_proportions_are_real_and_panels_fit_them():
    figure = plot_crystal_maps(
        maps_of(12, y_motor=("y_motor", [0.0, 0.1, 0.2], {"units": "mm"}), x_motor=("x_motor", [0.0, 0.3, 0.6, 0.9]))
    )
    *panels, _ = figure.axes
    assert len(panels) == 12
    np.testing.assert_allclose(panels[0].images[0].get_extent(), [-0.15, 1.05, -0.05, 0.25])
    width, height = figure.get_size_inches()
    for panel in panels:
        box = panel.get_position()
        assert box.height * height / (box.width * width) == pytest.approx(0.3 / 1.2)
        # nothing was made smaller to be so
        panel.apply_aspect()
        np.testing.assert_allclose(panel.get_position().bounds, box.bounds)
    assert figure.get_supylabel() == "y_motor (mm)"
    assert figure.get_supxlabel() == "x_motor"


@pytest.mark.parametrize(("count", "ny", "nx"), [(49, 10, 10), (16, 5, 40), (20, 1, 50), (7, 50, 1), (1, 3, 4)])
def test_nothing_overlaps_and_all_is_inside(count, ny, nx):
    """Titles, numbers of the axes and panels, as they are drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    dataset = maps_of(count, ny, nx, y_motor=np.linspace(-1.5, 0, ny), x_motor=np.linspace(-120, 0, nx) * ny / nx)
    dataset = dataset.assign(y=("reflection", np.full(count, 2048.0)), x=("reflection", np.full(count, 3072.0)))
    figure = plot_crystal_maps(dataset, n=None)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    panels = figure.axes[:count]
    assert len(panels) == count
    boxes = np.array([panel.title.get_window_extent().extents for panel in panels])
    for number, panel in enumerate(panels):
        others = np.delete(boxes, number, axis=0)
        x0, y0, x1, y1 = boxes[number]
        assert not ((others[:, 0] < x1) & (others[:, 2] > x0) & (others[:, 1] < y1) & (others[:, 3] > y0)).any()
        x0, y0, x1, y1 = panel.get_window_extent().extents
        assert not ((boxes[:, 0] < x1) & (boxes[:, 2] > x0) & (boxes[:, 1] < y1 - 1) & (boxes[:, 3] > y0)).any()
        for axis in (panel.xaxis, panel.yaxis):
            labels = [label.get_window_extent() for label in axis.get_ticklabels() if label.get_visible()]
            shown = [box for box in labels if box.width > 0]
            assert not any(a.overlaps(b) for i, a in enumerate(shown) for b in shown[:i])
    tight, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert tight.x0 >= 0
    assert tight.y0 >= 0
    assert tight.x1 <= width
    assert tight.y1 <= height
    # Six points and more can be read.
    assert panels[0].title.get_fontsize() > 6


def test_an_incomplete_last_row_leaves_no_empty_axes():
    figure = plot_crystal_maps(maps_of(5), ncols=3)
    assert len(figure.axes) == 5 + 1
    below = [panel.xaxis.get_tick_params()["labelbottom"] for panel in figure.axes[:5]]
    assert below == [False, False, True, True, True]


def test_given_axes_and_figures():
    figure = Figure()
    grid = figure.subplots(1, 2)
    assert plot_crystal_maps(maps_of(2), axes=grid) is figure
    assert [len(ax.images) for ax in grid] == [1, 1]
    assert plot_crystal_maps(maps_of(3), figure=figure) is figure
    assert len(figure.axes) == 3 + 1
    with pytest.raises(ValueError, match="2 axes are not enough for 3"):
        plot_crystal_maps(maps_of(3), axes=Figure().subplots(1, 2))


@pytest.mark.parametrize(
    ("dataset", "arguments", "message"),
    [
        (maps_of(2), {"maps": "intensity"}, "no 'intensity', only"),
        (maps_of(2), {"n": 0}, "n=0"),
        (maps_of(2), {"ncols": 0}, "ncols=0"),
        (maps_of(0), {}, "no maps in it"),
        (maps_of(2).expand_dims(z=2, axis=1), {}, "leave the first and one or two axes of the scan"),
        (points_of(z=[0, 1, 5], y=[0, 1, 2], x=[0, 3, 4]), {}, "choose two of them, with drop_vars"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_line(dataset, arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        plot_crystal_maps(dataset, **arguments)
    assert "\n" not in str(error.value)
