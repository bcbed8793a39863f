import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.collections import EllipseCollection, PatchCollection
from matplotlib.colors import LogNorm, to_rgb
from matplotlib.figure import Figure

from bluesky_ext.peaks import locate
from bluesky_ext.plots import annotate
from bluesky_ext.sim import Crystal

VERMILION, BLUE = "#D55E00", "#0072B2"


def image_of(ny=40, nx=60):
    return np.random.default_rng(0).poisson(20, (ny, nx))


def collection(figure, kind):
    (found,) = [found for found in figure.axes[0].collections if isinstance(found, kind)]
    return found


def numbers_of(figure):
    return {text.get_text(): text.xy for text in figure.axes[0].texts}


def test_every_peak_has_a_circle_at_its_place():
    crystal = Crystal(seed=2, shape=(256, 256), n_grains=1)
    image = crystal.frame(*crystal.grains[0].centre) - crystal.dark_mean
    peaks = locate(np.clip(image, 0, None), 11, minmass=700)
    circles = collection(annotate(image, peaks, diameter=11), EllipseCollection)
    np.testing.assert_array_equal(circles.get_offsets(), peaks[["x", "y"]])
    np.testing.assert_array_equal(circles.get_widths(), 11)
    # The spots that are in the crystal are what is circled.
    spots = crystal.grains[0].spots[:, ::-1]
    distance = np.hypot(*(circles.get_offsets()[:, None] - spots).transpose(2, 0, 1)).min(axis=1)
    assert distance.max() < 0.5
    assert len(peaks) == len(spots)


@pytest.mark.parametrize("diameter", [None, 9])
def test_circles_are_drawn_around_the_pixel(render, diameter):
    image = np.zeros((40, 60))
    image[10, 45] = 100
    figure = annotate(image, pd.DataFrame({"y": [10.0], "x": [45.0]}), diameter=diameter, numbered=0, colorbar=False)
    pixels = render(figure)
    rows, columns = np.nonzero((np.abs(pixels - np.array(to_rgb(VERMILION)) * 255) < 30).all(axis=2))
    (dark_row,), (dark_column,) = ([round(found.mean())] for found in np.nonzero(dark_inside(figure, pixels)))
    assert np.abs([rows.min() + rows.max() - 2 * dark_row, columns.min() + columns.max() - 2 * dark_column]).max() <= 3
    if diameter:
        to_display = figure.axes[0].transData.transform
        width = to_display((diameter, 0))[0] - to_display((0, 0))[0]
        assert np.ptp(columns) == pytest.approx(width, abs=4)


def dark_inside(figure, pixels):
    """The pixels of a picture that are black, in the middle of the axes."""
    x0, y0, x1, y1 = figure.axes[0].get_window_extent().extents
    rows, columns = np.indices(pixels.shape[:2])
    rows = len(pixels) - rows
    inside = (columns > x0 + 5) & (columns < x1 - 5) & (rows > y0 + 5) & (rows < y1 - 5)
    return (pixels < 30).all(axis=2) & inside


def test_the_image_is_drawn_as_an_image():
    image = image_of()
    panel = annotate(image, pd.DataFrame({"y": [], "x": []})).axes[0]
    np.testing.assert_array_equal(panel.images[0].get_array(), image)
    assert panel.get_ylim() == (39.5, -0.5)
    assert panel.get_xlim() == (-0.5, 59.5)
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("x (px)", "y (px)")


@pytest.mark.parametrize("column", ["mass", "total", "signal", "amplitude"])
def test_the_brightest_have_their_number(column):
    peaks = pd.DataFrame({"y": [1.0, 2.0, 3.0], "x": [4.0, 5.0, 6.0], column: [7.0, 9.0, 8.0]}, index=[10, 11, 12])
    assert numbers_of(annotate(image_of(), peaks, numbered=2)) == {"11": (5, 2), "12": (6, 3)}
    assert len(numbers_of(annotate(image_of(), peaks))) == 3
    assert not numbers_of(annotate(image_of(), peaks, numbered=0))


def test_crystal_maps_and_arrays_are_tables_too():
    maps = xr.Dataset({"y": ("reflection", [1.0, 2.0]), "x": ("reflection", [3.0, 4.0])}, {"reflection": [8, 9]})
    assert numbers_of(annotate(image_of(), maps)) == {"8": (3, 1), "9": (4, 2)}
    crystal = Crystal(seed=0, shape=(64, 64), n_grains=1, spots_per_grain=3)
    spots = crystal.spots_at(*crystal.grains[0].centre)
    figure = annotate(image_of(64, 64), spots, numbered=1)
    brightest = int(spots["amplitude"].argmax())
    assert numbers_of(figure) == {str(brightest): (spots["x"][brightest], spots["y"][brightest])}


def test_windows_cover_their_pixels(render):
    peaks = pd.DataFrame({"y": [10.2], "x": [20.7]})
    windows = pd.DataFrame({"y": [10, 30], "x": [20, 2], "dy": [3, 1], "dx": [5, 4]})
    figure = annotate(image_of(), peaks, windows=windows)
    corners = [path.get_extents().extents for path in collection(figure, PatchCollection).get_paths()]
    # rows 7 to 13 and columns 15 to 25, from border to border
    np.testing.assert_allclose(corners, [[14.5, 6.5, 25.5, 13.5], [-2.5, 28.5, 6.5, 31.5]])
    blue = np.abs(render(figure) - np.array(to_rgb(BLUE)) * 255) < 30
    assert blue.all(axis=2).sum() > 200


def test_scales():
    image = np.arange(-10, 1001, dtype=float).reshape(1, -1).repeat(2, axis=0)
    none = pd.DataFrame({"y": [], "x": []})

    def norm(**kwargs):
        return annotate(image, none, **kwargs).axes[0].images[0].norm

    log = norm()
    assert isinstance(log, LogNorm)
    assert (log.vmin, log.vmax) == (500.5, 1000)  # the median of the positive ones
    assert log([[-5.0, 0.0, 500.5, 1000.0]]).tolist() == [[0, 0, 0, 1]]
    assert (norm(scale="linear").vmin, norm(scale="linear").vmax) == (-10, 1000)
    robust = norm(scale="robust")
    np.testing.assert_allclose((robust.vmin, robust.vmax), np.percentile(image, [1, 99.9]))
    assert norm(scale="robust", vmax=70).vmax == 70


@pytest.mark.parametrize("image", [np.zeros((5, 5)), np.full((5, 5), np.nan), np.full((5, 5), 3), np.eye(5)])
@pytest.mark.parametrize("scale", ["log", "robust", "linear"])
def test_any_image_can_be_drawn(render, image, scale):
    assert render(annotate(image, pd.DataFrame({"y": [1.0, np.nan], "x": [1.0, 2.0]}), scale=scale)).size


def test_given_axes_and_figures():
    figure, peaks = Figure(), pd.DataFrame({"y": [1.0], "x": [1.0]})
    ax = figure.add_subplot()
    assert annotate(image_of(), peaks, ax) is figure
    assert len(ax.images) == 1
    assert annotate(image_of(), peaks, figure=figure) is figure
    assert len(figure.axes) == 1
    with pytest.raises(ValueError, match="both given"):
        annotate(image_of(), peaks, ax, figure=figure)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": np.zeros((2, 3, 4))}, r"shape \(2, 3, 4\)"),
        ({"image": np.zeros((0, 3))}, r"shape \(0, 3\)"),
        ({"peaks": pd.DataFrame({"y": [1.0]})}, "peaks has no column 'x', only"),
        ({"peaks": np.zeros(3)}, "peaks has no column 'y', only"),
        ({"windows": pd.DataFrame({"y": [1], "x": [1], "dy": [1]})}, "windows has no column 'dx', only"),
        ({"numbered": -1}, "numbered=-1"),
        ({"diameter": 0}, "diameter=0"),
        ({"scale": "sqrt"}, "scale='sqrt'"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_line(arguments, message):
    given = {"image": image_of(), "peaks": pd.DataFrame({"y": [1.0], "x": [1.0]})} | arguments
    with pytest.raises(ValueError, match=message) as error:
        annotate(**given)
    assert "\n" not in str(error.value)
