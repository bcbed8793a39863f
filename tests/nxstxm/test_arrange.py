"""Where numbers go, without a file and without a document."""

import numpy as np
import pytest

from suitcase_nxstxm.arrange import Columns, arrange
from suitcase_nxstxm.errors import MisfitError
from suitcase_nxstxm.request import Axis, Region, Request, images
from suitcase_nxstxm.scan_types import scan_types

Y, X, E = np.arange(3.0), np.arange(10.0, 14.0), np.array([700.0, 701.0])


def request(kind=scan_types.SAMPLE_IMAGE, **options):
    region = Region("0", Axis("X", X, "GoniX"), Axis("Y", Y, "GoniY"))
    return Request("run", kind, regions=(region,), energies=E, **options)


def points(asked, columns):
    """The flat indices of all points of the only part, event by event."""
    (part,) = arrange(asked, images(asked), columns).parts
    return part.points(slice(0, len(part.first)), part.unit, False)


def test_lines_and_points_are_in_the_order_of_their_numbers():
    lines = Columns(np.array([2, 1, 3]), {"det": np.array([4, 4, 4])})
    np.testing.assert_array_equal(points(request(), lines), np.arange(12).reshape(3, 4)[[1, 0, 2]])
    single = Columns(np.arange(1, 13), {"det": np.ones(12, int)})
    np.testing.assert_array_equal(points(request(snaking=(False, True)), single)[4:8, 0], [7, 6, 5, 4])


def test_set_points_go_before_the_order_of_events():
    order = np.random.default_rng(1).permutation(12)
    told = {"sample_y": Y[order // 4], "sample_x": X[order % 4]}
    columns = Columns(np.arange(1, 13), {"det": np.ones(12, int)}, set_points=told)
    np.testing.assert_array_equal(points(request(), columns)[:, 0], order)
    told["sample_x"][5] += 0.5  # of no point of the scan
    found = points(request(), columns)[:, 0]
    assert found[5] == 5
    np.testing.assert_array_equal(np.delete(found, 5), np.delete(order, 5))


def test_a_run_is_for_its_plane():
    asked = request(scan_types.SAMPLE_IMAGE_STACK, plane=1, planned=2)
    columns = Columns(np.array([1]), {"det": np.array([12])})
    np.testing.assert_array_equal(points(asked, columns), 12 + np.arange(12)[np.newaxis])


def test_frames_and_what_is_read_once_are_told_apart():
    number = np.arange(1, 4)
    columns = Columns(number, {"line": np.full(3, 4), "diode": np.ones(3, int)})
    places = arrange(request(), images(request()), columns)
    assert (places.frames, places.aside) == (frozenset(), {"diode"})
    columns = Columns(np.arange(1, 13), {"ccd": np.full(12, 35)}, {"ccd": 2}, read=frozenset({"sample_x"}))
    assert arrange(request(), images(request()), columns).frames == {"ccd"}


def test_numbers_for_which_there_is_no_point():
    columns = Columns(np.array([1, 2]), {"det": np.array([4, 4]), "other": np.array([7, 7])})
    with pytest.raises(MisfitError, match=r"'other' of run run has 7 numbers an event"):
        arrange(request(), images(request()), columns)
    optional = Columns(columns.seq_num, columns.sizes, optional=frozenset({"other"}))
    (part,) = arrange(request(), images(request()), optional).parts
    assert part.keys == ("det",)
    with pytest.raises(MisfitError, match="event 4 of run run is for points 12 to 15 of a run with 12"):
        arrange(request(), images(request()), Columns(np.array([4]), {"det": np.array([4])}))
