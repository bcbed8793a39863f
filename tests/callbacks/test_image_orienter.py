"""Images turned as the sample sees them."""

from __future__ import annotations

import event_model
import numpy as np
import pytest
from cases import KEY, Collector, feed, run_through

from bluesky_ext import ImageOrienter, PeakTracker


def run_of(image: np.ndarray) -> list:
    bundle = event_model.compose_run()
    stream = bundle.compose_descriptor(
        name="primary",
        data_keys={
            KEY: {"source": "test", "dtype": "array", "shape": list(image.shape), "dtype_numpy": image.dtype.str}
        },
    )
    event = stream.compose_event(data={KEY: image}, timestamps={KEY: 0.0}, seq_num=1)
    documents = [("start", bundle.start_doc), ("descriptor", stream.descriptor_doc), ("event", event)]
    return [*documents, ("stop", bundle.compose_stop())]


#: What becomes of [[1, 2, 3], [4, 5, 6]], worked out on paper.
TURNED = {
    "rot90": [[3, 6], [2, 5], [1, 4]],
    "rot180": [[6, 5, 4], [3, 2, 1]],
    "rot270": [[4, 1], [5, 2], [6, 3]],
    "flipud": [[4, 5, 6], [1, 2, 3]],
    "fliplr": [[3, 2, 1], [6, 5, 4]],
    "transpose": [[1, 4], [2, 5], [3, 6]],
    ("rot90", "flipud"): [[1, 4], [2, 5], [3, 6]],
    ("flipud", "rot90"): [[6, 3], [5, 2], [4, 1]],
}


@pytest.mark.parametrize("steps", TURNED, ids=str)
@pytest.mark.parametrize("n_frames", [None, 2])
def test_frames_are_turned_and_the_descriptor_has_their_shape(steps, n_frames) -> None:
    frame = np.array([[1, 2, 3], [4, 5, 6]], np.uint16)
    given = frame if n_frames is None else np.stack([frame, 10 * frame])
    expected = np.array(TURNED[steps], np.uint16)
    documents = run_through(ImageOrienter(KEY, steps), run_of(given))
    (event,) = documents.named("event")
    (descriptor,) = documents.named("descriptor")
    np.testing.assert_array_equal(
        event["data"][KEY], expected if n_frames is None else np.stack([expected, 10 * expected])
    )
    assert event["data"][KEY].dtype == np.uint16
    assert descriptor["data_keys"][KEY]["shape"] == list(event["data"][KEY].shape)


def test_peaks_behind_it_are_where_the_turned_image_has_them() -> None:
    y, x = np.mgrid[:40, :60]
    image = (1000 * np.exp(-((y - 10) ** 2 + (x - 45) ** 2) / 8)).astype(np.uint16)
    orienter, peaks = ImageOrienter(KEY, "rot90"), PeakTracker(KEY, diameter=9)
    orienter.subscribe(peaks)
    documents = Collector()
    peaks.subscribe(documents)
    feed(orienter, run_of(image))
    (page,) = documents.named("event_page")
    # Column 45 of 60 is 14 rows from the top once the image is turned counterclockwise, and row 10 is column 10.
    assert [page["data"]["y"], page["data"]["x"]] == [pytest.approx([14], abs=0.05), pytest.approx([10], abs=0.05)]


@pytest.mark.parametrize(("steps", "words"), [("rot45", "'rot45' is no step"), ([], "no step is given")])
def test_what_is_no_step_is_refused(steps, words) -> None:
    with pytest.raises(ValueError, match=f"{words}: give one or more of rot90, "):
        ImageOrienter(KEY, steps)
