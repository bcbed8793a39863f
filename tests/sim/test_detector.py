from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import event_model
import h5py
import numpy as np
import psutil
import pytest
from area_detector_handlers.handlers import AreaDetectorHDF5Handler, AreaDetectorTiffHandler
from bluesky import Msg, RunEngine
from bluesky.utils import FailedStatus, RunEngineInterrupted
from event_model import DocumentNames, schema_validators
from ophyd import SoftPositioner
from ophyd.sim import SynAxis
from ophyd.utils import LimitError, ReadOnlyError

from bluesky_ext.sim import Crystal, CrystalDetector, beamline

Documents = list[tuple[str, dict[str, Any]]]
HANDLERS = {"AD_TIFF": AreaDetectorTiffHandler, "AD_HDF5": AreaDetectorHDF5Handler}
SPECS = pytest.mark.parametrize("spec", ["AD_TIFF", "AD_HDF5"])


def small(**parameters: Any) -> Any:  # ophyd's types do not fit bluesky's protocols
    return beamline(**{"seed": 7, "shape": (48, 64), "n_grains": 2, "spots_per_grain": 2, **parameters})


def grid(b: Any):
    return bp.grid_scan([b.detector], b.y, -0.5, 0.5, 2, b.x, -1, 1, 3)


def collect(documents: Documents) -> Any:
    return lambda name, document: documents.append((name, document))


def run(run_engine: RunEngine, plan: Any) -> Documents:
    documents: Documents = []
    run_engine(plan, collect(documents))
    return documents


def named(documents: Documents, name: str) -> list[dict[str, Any]]:
    return [document for each, document in documents if each == name]


def images(documents: Documents) -> list[np.ndarray]:
    """The images of the events, in order, filled by event-model with the handlers of areaDetector."""
    filled = []
    with event_model.Filler(HANDLERS, inplace=False, coerce="force_numpy") as filler:
        for name, document in documents:
            _, document = filler(name, document)
            if name == "event":
                filled.append(np.asarray(document["data"]["dexela_image"]))
    return filled


# --- documents ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [None, "AD_TIFF", "AD_HDF5"])
def test_documents_are_valid_and_describe_the_data(run_engine: RunEngine, tmp_path: Path, spec: str | None):
    b = small(frames_per_point=3, **({} if spec is None else {"directory": tmp_path, "spec": spec}))
    documents = run(run_engine, grid(b))
    for name, document in documents:
        schema_validators[DocumentNames[name]].validate(document)
    (descriptor,) = named(documents, "descriptor")
    key = descriptor["data_keys"]["dexela_image"]
    assert (key["dtype"], key["shape"], key["dtype_numpy"]) == ("array", [3, 48, 64], "<u2")
    assert key.get("external") == (None if spec is None else "FILESTORE:")
    assert descriptor["hints"]["dexela"] == {"fields": ["dexela_stats_total"]}
    assert descriptor["object_keys"]["dexela"] == ["dexela_image", "dexela_stats_total"]
    taken = images(documents)
    assert len(taken) == 6
    for image, event in zip(taken, named(documents, "event"), strict=True):
        assert (list(image.shape), image.dtype.str) == (key["shape"], key["dtype_numpy"])
        assert event["data"]["dexela_stats_total"] == image.sum(dtype=int)


def test_inline_images_are_arrays_of_their_own(run_engine: RunEngine):
    documents = run(run_engine, grid(small()))
    taken = [event["data"]["dexela_image"] for event in named(documents, "event")]
    assert all(type(image) is np.ndarray for image in taken)
    assert not any(np.shares_memory(one, other) for one, other in itertools.pairwise(taken))
    assert {name for name, _ in documents} == {"start", "descriptor", "event", "stop"}


def test_frames_are_those_of_the_crystal_where_the_motors_are(run_engine: RunEngine):
    b = small(frames_per_point=2, acquire_time=0.2)
    documents = run(run_engine, grid(b))
    for number, event in enumerate(named(documents, "event")):
        y, x = event["data"]["sample_y"], event["data"]["sample_x"]
        for index, frame in enumerate(event["data"]["dexela_image"]):
            np.testing.assert_array_equal(frame, b.crystal.frame(y, x, 2 * number + index, acquire_time=0.2))


@SPECS
def test_files_hold_what_would_be_inline(run_engine: RunEngine, tmp_path: Path, spec: str):
    inline = run(run_engine, grid(small(frames_per_point=2)))
    filed = run(run_engine, grid(small(frames_per_point=2, directory=tmp_path, spec=spec)))
    assert [resource["spec"] for resource in named(filed, "resource")] == [spec]
    assert len(named(filed, "datum")) == 6
    assert all(event["filled"] == {"dexela_image": False} for event in named(filed, "event"))
    for one, other in zip(images(inline), images(filed), strict=True):
        np.testing.assert_array_equal(one, other)


def test_hdf5_images_can_be_read_by_a_new_reader_while_the_detector_is_staged(tmp_path: Path):
    b = small(directory=tmp_path, spec="AD_HDF5")
    b.detector.stage()
    b.detector.trigger().wait(10)
    (path,) = tmp_path.iterdir()
    with h5py.File(path, "r", locking=False) as file:
        assert np.asarray(file["entry/data/data"]).shape == (1, 48, 64)
    b.detector.unstage()


@SPECS
def test_each_stage_has_a_resource_of_its_own(run_engine: RunEngine, tmp_path: Path, spec: str):
    b = small(directory=tmp_path, spec=spec)
    first, second = run(run_engine, bp.count([b.detector], 2)), run(run_engine, bp.count([b.detector], 2))
    (one,), (other,) = named(first, "resource"), named(second, "resource")
    assert one["uid"] != other["uid"]
    assert one["resource_path"] != other["resource_path"]
    assert [datum["datum_kwargs"] for datum in named(second, "datum")] == [{"point_number": 0}, {"point_number": 1}]
    assert len(images(first) + images(second)) == 4


def test_stage_without_a_trigger_makes_no_file(tmp_path: Path):
    b = small(directory=tmp_path / "new" / "directory")
    b.detector.stage()
    b.detector.unstage()
    assert list((tmp_path / "new" / "directory").iterdir()) == []


@SPECS
def test_unstage_leaves_nothing_open(run_engine: RunEngine, tmp_path: Path, spec: str):
    def failing(b: Any):
        @bpp.stage_decorator([b.detector])
        @bpp.run_decorator()
        def inner():
            yield from bps.trigger_and_read([b.detector])
            raise OSError("the plan fails")

        return (yield from inner())

    b = small(directory=tmp_path, spec=spec)
    run(run_engine, grid(b))
    with pytest.raises(OSError, match="the plan fails"):
        run(run_engine, failing(b))
    assert not [file for file in psutil.Process().open_files() if file.path.startswith(str(tmp_path))]
    assert list(b.detector.collect_asset_docs()) == []
    b.detector.unstage()


def test_documents_that_nobody_read_do_not_reach_the_next_run(tmp_path: Path):
    detector = small(directory=tmp_path).detector
    detector.stage()
    detector.trigger().wait(10)
    detector.unstage()
    assert list(detector.collect_asset_docs()) == []


# --- one seed, one data set ---------------------------------------------------------------------------------------


def test_new_beamlines_give_the_same_images_and_used_ones_do_not(run_engine: RunEngine):
    one, other = small(), small()
    first, second = images(run(run_engine, grid(one))), images(run(run_engine, grid(other)))
    np.testing.assert_array_equal(first, second)
    assert (np.array(images(run(run_engine, grid(one)))) != first).mean() > 0.5


# --- the beam -----------------------------------------------------------------------------------------------------


def test_the_shutter_closes_the_beam(run_engine: RunEngine):
    b = small(frames_per_point=4)
    b.y.move(b.crystal.grains[0].centre[0])
    b.x.move(b.crystal.grains[0].centre[1])

    def plan():
        for state in ("open", "closed", "open"):
            yield from bps.mv(b.shutter, state)
            yield from bp.count([b.detector])

    light, dark, again = (image - b.crystal.dark_mean for image in images(run(run_engine, plan())))
    spots = b.crystal.spots_at(*b.crystal.grains[0].centre, min_intensity=0.9)
    rows, columns = np.rint(spots["y"]).astype(int), np.rint(spots["x"]).astype(int)
    assert (light[:, rows, columns] > 100).all()
    assert (again[:, rows, columns] > 100).all()
    # Nothing but the read noise of 3 counts.
    assert np.abs(dark).max() < 3 * 6
    assert dark.std() == pytest.approx(np.sqrt(9 + 1 / 12), rel=0.05)


def test_without_a_shutter_the_beam_passes():
    crystal = Crystal(seed=7, shape=(48, 64), n_grains=1, spots_per_grain=2)
    y, x = SynAxis(name="y"), SoftPositioner(name="x", init_pos=0.2)
    y.set(0.1).wait(10)
    detector: Any = CrystalDetector(name="det", crystal=crystal, y=y, x=x)
    detector.stage()
    detector.trigger().wait(10)
    np.testing.assert_array_equal(detector.read()["det_image"]["value"], [crystal.frame(0.1, 0.2, 0)])
    detector.unstage()


# --- configuration --------------------------------------------------------------------------------------------------


def test_a_plan_configures_the_detector(run_engine: RunEngine):
    b = small()

    def plan():
        yield from bps.mv(b.detector.cam.acquire_time, 0.5, b.detector.images_per_set, 4)
        assert (yield from bps.rd(b.detector.cam.acquire_time)) == 0.5
        yield from bp.count([b.detector])

    documents = run(run_engine, plan())
    (descriptor,) = named(documents, "descriptor")
    assert descriptor["configuration"]["dexela"]["data"] == {
        "dexela_cam_acquire_time": 0.5,
        "dexela_cam_acquire_period": 0.1,
        "dexela_images_per_set": 4,
    }
    (image,) = images(documents)
    np.testing.assert_array_equal(image[3], b.crystal.frame(0, 0, 3, acquire_time=0.5))


@pytest.mark.parametrize("value", [0, -1, 2.0, 2.5, True, "many"])
def test_wrong_numbers_of_frames(value: object):
    b = small()
    with pytest.raises(LimitError, match=r"dexela_images_per_set: .* give a whole number from 1 to"):
        b.detector.images_per_set.put(value)
    with pytest.raises(LimitError, match="dexela_images_per_set"):
        small(frames_per_point=value)


@pytest.mark.parametrize("value", [0, -0.1, float("nan"), None])
def test_wrong_exposure_times(run_engine: RunEngine, value: object):
    b = small()
    with pytest.raises(LimitError, match="dexela_cam_acquire_time"):
        small(acquire_time=value)
    with pytest.raises(FailedStatus) as caught:
        run_engine(bps.mv(b.detector.cam.acquire_time, value))
    assert isinstance(caught.value.__cause__, LimitError)


def test_a_wrong_spec():
    with pytest.raises(ValueError, match="dexela: spec is 'AD_SPE', give one of AD_TIFF, AD_HDF5"):
        small(directory="anywhere", spec="AD_SPE")


def test_a_file_in_place_of_the_directory(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        small(directory=tmp_path / "file")


@pytest.mark.parametrize("inline", [True, False])
def test_the_number_of_frames_stays_while_staged(tmp_path: Path, inline: bool):
    detector = small(directory=None if inline else tmp_path).detector
    detector.stage()
    detector.images_per_set.put(3)
    with pytest.raises(RuntimeError, match="dexela: images_per_set went from 1 to 3 while"):
        detector.trigger()
    detector.unstage()
    detector.stage()
    detector.trigger().wait(10)
    assert detector.describe()["dexela_image"]["shape"] == [3, 48, 64]
    detector.unstage()


def test_stage_then_trigger_then_read():
    detector = small().detector
    with pytest.raises(RuntimeError, match="dexela: the detector is not staged"):
        detector.trigger()
    detector.stage()
    with pytest.raises(RuntimeError, match="dexela_image: there is no image"):
        detector.read()
    detector.trigger().wait(10)
    before = detector.read()["dexela_image"]["value"]
    detector.unstage()
    assert detector.read()["dexela_image"]["value"] is before
    detector.stage()
    with pytest.raises(RuntimeError, match="dexela_image: there is no image"):
        detector.read()
    detector.unstage()


def test_readings_cannot_be_put():
    detector = small().detector
    with pytest.raises(ReadOnlyError):
        detector.image.put(np.zeros((1, 48, 64), np.uint16))


def test_in_real_time_a_trigger_lasts_as_long_as_its_exposures():
    detector = small(real_time=True, frames_per_point=2, acquire_time=0.05).detector
    detector.cam.acquire_period.put(0.1)
    detector.stage()
    status = detector.trigger()
    assert not status.done
    status.wait(10)
    # By the clock of the status itself: two frames of the longer one of time and period.
    assert status.settle_time == pytest.approx(0.2)
    detector.unstage()


# --- interruptions ----------------------------------------------------------------------------------------------------


def resumed(run_engine: RunEngine, plan: Any) -> Documents:
    """Run a plan that pauses once, and resume it."""
    documents: Documents = []
    with pytest.raises(RunEngineInterrupted):
        run_engine(plan, collect(documents))
    run_engine.resume()
    return documents


def paused_after(count: int, plan: Any):
    """A plan with a pause after an event: the RunEngine goes back to the checkpoint before it."""
    saved = itertools.count(1)

    def pause(message: Msg):
        return None, bps.pause() if message.command == "save" and next(saved) == count else None

    return bpp.plan_mutator(plan, pause)


@pytest.mark.parametrize("spec", [None, "AD_TIFF", "AD_HDF5"])
def test_pause_and_resume(run_engine: RunEngine, tmp_path: Path, spec: str | None):
    def interrupted() -> tuple[Documents, Any]:
        b = small(**({} if spec is None else {"directory": tmp_path, "spec": spec}))
        return resumed(run_engine, paused_after(3, grid(b))), b

    documents, b = interrupted()
    for name, document in documents:
        schema_validators[DocumentNames[name]].validate(document)
    events = named(documents, "event")
    assert [event["seq_num"] for event in events] == [1, 2, 3, 3, 4, 5, 6]
    assert events[2]["data"]["sample_x"] == events[3]["data"]["sample_x"]
    taken = images(documents)
    assert len(taken) == 7
    # The same place, another draw of the noise.
    assert (taken[2] != taken[3]).mean() > 0.5
    for index, (event, image) in enumerate(zip(events, taken, strict=True)):
        expected = b.crystal.frame(event["data"]["sample_y"], event["data"]["sample_x"], index)
        np.testing.assert_array_equal(image[0], expected)
    # The same calls on a new beamline: the same images.
    np.testing.assert_array_equal(images(interrupted()[0]), taken)


@SPECS
def test_a_pause_in_the_middle_of_an_event_loses_no_resource(run_engine: RunEngine, tmp_path: Path, spec: str):
    b = small(directory=tmp_path, spec=spec)

    @bpp.stage_decorator([b.detector])
    @bpp.run_decorator()
    def plan():
        for number in range(2):
            yield from bps.checkpoint()
            yield from bps.trigger(b.detector, wait=True)
            yield from bps.create("primary")
            yield from bps.read(b.detector)
            if number == 0:
                yield from bps.pause()
            yield from bps.save()

    documents = resumed(run_engine, plan())
    known = {resource["uid"] for resource in named(documents, "resource")}
    assert {datum["resource"] for datum in named(documents, "datum")} <= known
    assert len(images(documents)) == 2


def test_a_plan_that_fails_during_an_exposure_leaves_the_detector_ready(run_engine: RunEngine, tmp_path: Path):
    b = small(directory=tmp_path, real_time=True, acquire_time=0.5)
    statuses = []

    @bpp.stage_decorator([b.detector])
    @bpp.run_decorator()
    def plan():
        statuses.append((yield from bps.trigger(b.detector, group="exposure")))
        raise OSError("the plan fails")

    with pytest.raises(OSError, match="the plan fails"):
        run_engine(plan())
    assert len(images(run(run_engine, bp.count([b.detector])))) == 1
    # It began first and ends first.
    statuses[0].wait(10)
