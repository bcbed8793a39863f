"""Masked pixels are filled, in the stream and in every stage that takes masks; what cannot be found costs its run."""

from __future__ import annotations

import logging
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import event_model
import numpy as np
import pytest
from cases import KEY, MASK, SHAPE, Collector, feed, frames, raw_run, run_through

from bluesky_ext import ImageProcessor, PeakTracker, compose
from bluesky_ext.callbacks import MaskApplier
from bluesky_ext.masks import mask_sha256

pytest.importorskip("tiled.server.app")

from bluesky_ext.masks import MaskClient

SHAPES = {"det": SHAPE}


@pytest.fixture
def masks(container):
    return MaskClient(container, detector_shapes=SHAPES)


def images_of(documents, stream="primary"):
    names = {doc["uid"]: doc["name"] for doc in documents.named("descriptor")}
    return [doc["data"][KEY] for doc in documents.named("event") if names[doc["descriptor"]] == stream]


def descriptor_of(documents, stream="primary"):
    return next(doc for doc in documents.named("descriptor") if doc["name"] == stream)


def other_mask():
    mask = np.ones(SHAPE, bool)
    mask[:, :3] = mask[40, 40] = False
    return mask


def test_masked_pixels_are_zero_in_all_frames_and_the_others_as_they_were():
    docs = run_through(MaskApplier(KEY, MASK), raw_run())
    for number, image in enumerate(images_of(docs), start=1):
        assert image.dtype == np.uint16
        np.testing.assert_array_equal(image, np.where(MASK, frames(number), 0))
    assert descriptor_of(docs)["data_keys"][KEY]["dtype_numpy"] == "<u2"


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("u1", "<f4"),
        ("u2", "<f4"),
        ("i2", "<f4"),
        ("u4", "<f8"),
        ("i4", "<f8"),
        ("f2", "<f2"),
        ("f4", "<f4"),
        ("f8", "<f8"),
    ],
)
def test_nan_makes_floats_that_hold_the_integers(given, made):
    def image(number):
        highest = 60_000 if np.dtype(given).kind == "f" else np.iinfo(given).max
        return np.full((2, *SHAPE), highest, given)

    docs = run_through(MaskApplier(KEY, MASK, fill=float("nan")), raw_run(n=1, image=image, dark=False))
    (masked,) = images_of(docs)
    assert masked.dtype == made
    assert descriptor_of(docs)["data_keys"][KEY]["dtype_numpy"] == made
    assert np.isnan(masked[:, ~MASK]).all()
    np.testing.assert_array_equal(masked[:, MASK].astype(np.float64), image(1)[:, MASK].astype(np.float64))


def test_what_a_masked_pixel_held_does_not_matter():
    def image(number):
        values = np.ones(SHAPE)
        values[28:31] = [[np.nan], [np.inf], [-np.inf]]
        return values

    docs = run_through(MaskApplier(KEY, MASK), raw_run(n=1, image=image, dark=False))
    np.testing.assert_array_equal(images_of(docs)[0], MASK.astype(float))


def test_masks_by_name_uid_and_array_are_combined_and_recorded(masks):
    uid = masks.register_mask("det", "gap", MASK)
    masks.register_mask("det", "edge", np.ones(SHAPE, bool))
    latest = masks.register_mask("det", "edge", other_mask(), 1)
    docs = run_through(MaskApplier(KEY, [uid, ("det", "edge"), MASK], registry=masks), raw_run())
    both = MASK & other_mask()
    for number, image in enumerate(images_of(docs), start=1):
        np.testing.assert_array_equal(image, np.where(both, frames(number), 0))
    said = descriptor_of(docs)["configuration"]["det"]
    assert said["data"]["MaskApplier_mask_uids"] == [uid, latest, ""]
    hashes = [mask_sha256(mask) for mask in (MASK, other_mask(), MASK)]
    assert said["data"]["MaskApplier_mask_sha256"] == hashes
    assert masks.get_metadata(uid)["sha256"] == hashes[0]
    assert said["data"]["exposure"] == 0.5
    assert said["data_keys"].keys() == said["data"].keys() == said["timestamps"].keys()
    parameters = docs.named("start")[0]["analysis"]["parameters"]
    assert parameters["masks"][:2] == [uid, ["det", "edge"]]
    for name, doc in docs:
        event_model.schema_validators[event_model.DocumentNames[name]].validate(doc)


def test_a_mask_is_looked_up_once_a_run_and_anew_for_the_next(masks):
    masks.register_mask("det", "gap", MASK)
    stage = MaskApplier(KEY, ("det", "gap"), registry=masks)
    first = raw_run()
    sink = Collector()
    stage.subscribe(sink)
    feed(stage, first[:-2])
    later = masks.register_mask("det", "gap", other_mask(), 1)
    feed(stage, first[-2:])
    assert all((image[:, ~MASK] == 0).all() for image in images_of(sink))
    second = run_through(stage, raw_run())
    assert descriptor_of(second)["configuration"]["det"]["data"]["MaskApplier_mask_uids"] == [later]
    np.testing.assert_array_equal(images_of(second)[0], np.where(other_mask(), frames(1), 0))


def test_a_registry_is_opened_from_where_it_is(tmp_path):
    with MaskClient.embedded(tmp_path / "catalog", detector_shapes=SHAPES) as masks:
        masks.register_mask("det", "gap", MASK)
    docs = run_through(MaskApplier(KEY, ("det", "gap", 0), registry=tmp_path / "catalog"), raw_run(n=1))
    np.testing.assert_array_equal(images_of(docs)[0], np.where(MASK, frames(1), 0))


def test_a_mask_that_was_looked_up_reaches_processes(masks):
    masks.register_mask("det", "gap", MASK)
    # A process that is forked beside the threads of a catalogue may wait for their locks for ever.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        docs = run_through(MaskApplier(KEY, ("det", "gap"), registry=masks, executor=pool), raw_run())
    for number, image in enumerate(images_of(docs), start=1):
        np.testing.assert_array_equal(image, np.where(MASK, frames(number), 0))


class Deleted:
    """A registry whose mask is deleted between its being looked up and being read."""

    def __init__(self, masks):
        self.masks = masks

    def entry(self, detector, name):
        entry = self.masks.entry(detector, name)
        self.masks.delete_mask(detector, name, 0)
        return entry


def missing(masks):
    return MaskApplier(KEY, ("det", "none"), registry=masks), "there is no mask 'none' of detector 'det'"


def deleted(masks):
    masks.register_mask("det", "gap", MASK)
    return MaskApplier(KEY, ("det", "gap"), registry=Deleted(masks)), "was deleted after it had been looked up"


def not_writable(masks):
    return MaskApplier(KEY, "uid", registry="/dev/null/catalog"), "/dev/null"


def other_shape(masks):
    return MaskApplier(KEY, np.ones((4, 5), bool)), r"the mask has shape (4, 5), the image (2, 64, 64)"


def shapes_differ(masks):
    masks.register_mask("det", "gap", MASK)
    return MaskApplier(KEY, [("det", "gap"), np.ones((4, 5), bool)], registry=masks), "cannot be combined"


@pytest.mark.parametrize("make", [missing, deleted, not_writable, other_shape, shapes_differ])
def test_a_mask_that_cannot_be_used_costs_its_run_and_is_said_once(masks, make, caplog):
    stage, words = make(masks)
    with caplog.at_level(logging.WARNING):
        docs = run_through(stage, raw_run(dark=False))
    complaints = [record for record in caplog.records if "failed on run" in record.message]
    (complaint,) = [record.getMessage() for record in complaints if record.levelno == logging.WARNING]
    assert words in complaint
    assert "\n" not in complaint
    assert all(record.exc_info is None for record in complaints)
    assert images_of(docs) == []
    assert docs.stop["failed"] == {"primary": [1, 2, 3, 4, 5, 6]}


def test_the_next_run_goes_on_when_the_mask_is_there(masks):
    stage = MaskApplier(KEY, ("det", "gap"), registry=masks)
    assert run_through(stage, raw_run()).named("event") == []
    masks.register_mask("det", "gap", MASK)
    assert len(images_of(run_through(stage, raw_run()))) == 6


def test_the_scan_stops_if_that_is_wanted(masks):
    stage = MaskApplier(KEY, ("det", "none"), registry=masks, on_error="raise")
    with pytest.raises(KeyError, match="there is no mask 'none'"):
        feed(stage, raw_run())


def test_several_masks_may_be_in_a_tuple_and_versions_of_any_integer(masks):
    masks.register_mask("det", "gap", MASK)
    masks.register_mask("det", "gap", other_mask(), 1)
    for given, mask in [
        ((MASK, other_mask()), MASK & other_mask()),
        ((("det", "gap", 0), ("det", "gap", 1)), MASK & other_mask()),
        (("det", "gap", None), other_mask()),
        (("det", "gap", np.int64(0)), MASK),
        (masks.get_mask("det", "gap", 0), MASK),
    ]:
        docs = run_through(MaskApplier(KEY, given, np.float32("nan"), registry=masks), raw_run(n=1, dark=False))
        np.testing.assert_array_equal(images_of(docs)[0], np.where(mask, frames(1), np.nan))


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        ((), {}, TypeError, "masks"),
        (([],), {}, ValueError, "at least one mask"),
        ((np.ones(SHAPE),), {}, ValueError, "dtype float64"),
        ((np.ones(SHAPE, bool), 1), {}, ValueError, "fill=1"),
        ((np.ones(SHAPE, bool), "nan"), {}, ValueError, "fill='nan'"),
        (("some-uid",), {}, ValueError, "no registry"),
        ((("det", "gap"),), {}, ValueError, "no registry"),
        ((("det", "gap", "1"),), {"registry": "x"}, ValueError, "version '1'"),
        ((("det", "gap", True),), {"registry": "x"}, ValueError, "version True"),
        ((("det",),), {"registry": "x"}, TypeError, "is no mask"),
        ((((MASK, 5),),), {}, TypeError, "is no mask"),
        ((np.ones(SHAPE, bool), np.zeros(2)), {}, ValueError, "fill=array"),
        ((("det", "gap"),), {"registry": 5}, TypeError, "registry=5"),
        (([np.ones((2, 2), bool), np.ones((3, 3), bool)],), {}, ValueError, "cannot be combined"),
    ],
)
def test_what_makes_no_sense_is_refused_when_the_stage_is_made(arguments, options, error, words):
    with pytest.raises(error, match=words) as caught:
        MaskApplier(KEY, *arguments, **options)
    assert "\n" not in str(caught.value)


def test_the_image_processor_leaves_masked_pixels_black(masks):
    masks.register_mask("det", "gap", MASK)
    without = images_of(run_through(ImageProcessor(KEY, "dark"), raw_run()))
    for options in ({"mask": MASK}, {"mask": ("det", "gap"), "registry": masks}):
        docs = run_through(ImageProcessor(KEY, "dark", **options), raw_run())
        for image, unmasked in zip(images_of(docs), without, strict=True):
            np.testing.assert_array_equal(image, np.where(MASK, unmasked, 0))
        said = descriptor_of(docs)["configuration"]["det"]["data"]
        assert said["ImageProcessor_mask_sha256"] == [mask_sha256(MASK)]


def rows(documents):
    return {
        page["data"]["frame"][0]: np.array([page["data"][key] for key in ("y", "x", "mass", "signal")])
        for page in documents.named("event_page")
    }


def hot(number):
    """Two spots, (20, 20) and (40, 30 + number), and one that is much brighter at (50, 12)."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    spots = [(20, 20, 500), (40, 30 + number, 400), (50, 12, 5000)]
    return sum(height * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * 1.5**2)) for cy, cx, height in spots) + 100.0


def test_a_masked_hot_spot_is_no_peak_nor_are_the_edges_of_its_mask(masks):
    mask = np.ones(SHAPE, bool)
    mask[44:57, 6:19] = False
    masks.register_mask("det", "hot", mask)
    given = raw_run(image=hot, dark=False, n=3)
    options = {"diameter": 7, "minmass": 50}
    assert all(len(found[0]) == 3 for found in rows(run_through(PeakTracker(KEY, **options), given)).values())
    for named in ({"mask": mask}, {"mask": ("det", "hot"), "registry": masks}):
        docs = run_through(PeakTracker(KEY, **options, **named), given)
        for frame, found in rows(docs).items():
            assert np.rint(found[:2]).T.tolist() == [[20, 20], [40, 30 + frame]]
        said = descriptor_of(docs, "frames")["configuration"]["PeakTracker"]["data"]
        assert said["mask_sha256"] == [mask_sha256(mask)]


def test_maps_in_one_task_say_which_masks_they_used():
    mask = np.ones(SHAPE, bool)
    mask[:3] = False
    chained = ImageProcessor(KEY, mask=mask)
    chained.subscribe(tracker := PeakTracker(KEY, 5, mask=mask))
    composed = compose(ImageProcessor(KEY, mask=mask), PeakTracker(KEY, 5, mask=mask))
    told = []
    for first, last in ((chained, tracker), (composed, composed)):
        last.subscribe(sink := Collector())
        feed(first, raw_run(dark=False))
        (frames_stream,) = [doc for doc in sink.named("descriptor") if doc["name"] == "frames"]
        said = [data for one in frames_stream["configuration"].values() for data in one["data"].items()]
        told.append({key: value for key, value in said if "mask_sha256" in key})
    sha256 = [mask_sha256(mask)]
    assert told[0] == {"ImageProcessor_mask_sha256": sha256, "mask_sha256": sha256}
    assert told[1] == {"ImageProcessor_mask_sha256": sha256, "PeakTracker_mask_sha256": sha256}
