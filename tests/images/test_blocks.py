"""Events of more frames than are read at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import event_model
import h5py
import numpy as np
import pytest
import tifffile
from runs import Docs, described, feed, images

from bluesky_ext import ImageProcessor, PeakTracker, compose
from bluesky_ext.callbacks import ImageOrienter, MaskApplier, Sparsifier
from bluesky_ext.images import densify, mean_frame, reduce_blocks, reduce_measured, sparsify, sparsify_blocks

SHAPE = (11, 20, 30)
MASK = np.random.default_rng(1).random(SHAPE[1:]) < 0.8


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i2", "f4", "f8", "f2", "?"])
@pytest.mark.parametrize("gaps", ["auto", True, False])
def test_blocks_are_reduced_as_all_frames_together(dtype, gaps) -> None:
    frames = images(dtype, 3, SHAPE)
    if dtype in ("u2", "u4"):
        frames[:, 4] = frames[:, :, 7] = np.iinfo(dtype).max
        frames[:5, 5] = np.iinfo(dtype).max
    background = images("f8", 4, SHAPE[1:]) * 10
    expected, n_gaps = reduce_measured(frames, background, gaps)
    image, number = reduce_blocks(iter([frames[:4], frames[4:8], frames[8:]]), background, gaps)
    np.testing.assert_array_equal(image, expected)
    assert number == n_gaps


def test_blocks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the background has shape \(2, 2\), the frames \(20, 30\)"):
        reduce_blocks([images("u2", 1, SHAPE)] * 2, np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"\(11, 20, 30\), float32 among those of \(20, 30\), uint16"):
        reduce_blocks([images("u2", 1, SHAPE), images("f4", 1, SHAPE)])


def test_blocks_are_made_sparse_as_all_frames_together(monkeypatch) -> None:
    frames = images("u2", 3, SHAPE) * (images("u1", 4, SHAPE) > 200)
    index, value = sparsify(frames, MASK)
    for largest, dtype in ((2**32, np.uint32), (1000, np.uint64)):
        monkeypatch.setattr("bluesky_ext.images.blocks.LARGEST", largest)
        places, values, shape = sparsify_blocks([frames[:5], frames[5:]], MASK)
        assert (shape, places.dtype) == (SHAPE, dtype)
        np.testing.assert_array_equal(places, index)
        np.testing.assert_array_equal(values, value)
        np.testing.assert_array_equal(densify(places, values, shape), np.where(MASK, frames, 0))


def series(path: Path, dataset: np.ndarray, parameters: dict[str, Any]) -> Docs:
    """Two events of eleven frames each, in a file."""
    with h5py.File(path, "w") as file:
        file["frames"] = dataset
    run = event_model.compose_run(validate=False)
    keys = {"image": described(np.zeros(SHAPE, "u2")) | {"external": "STREAM:"}}
    stream = run.compose_descriptor(name="primary", data_keys=keys, validate=False)
    resource = run.compose_stream_resource(
        data_key="image", mimetype="application/x-hdf5", uri=f"file://localhost{path}", parameters=parameters
    )
    datum = resource.compose_stream_datum(
        indices={"start": 0, "stop": 2}, seq_nums={"start": 1, "stop": 3}, descriptor=stream.descriptor_doc
    )
    return [
        ("start", run.start_doc),
        ("descriptor", stream.descriptor_doc),
        ("stream_resource", resource.stream_resource_doc),
        ("stream_datum", datum),
        ("stop", run.compose_stop(validate=False)),
    ]


@pytest.mark.parametrize("form", ["joined", "stacked", "sliced"])
def test_a_series_in_a_file_is_worked_on_some_frames_at_a_time(form, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("bluesky_ext.engine.frames.stream_files.BLOCK", 3 * 20 * 30 * 2)
    stack = images("u2", 5, (2, *SHAPE)) // 8
    parameters: dict[str, Any] = {"dataset": "frames"}
    dataset = stack
    if form == "joined":
        dataset = stack.reshape(-1, *SHAPE[1:])
    elif form == "sliced":
        dataset = np.repeat(stack[:, np.newaxis], 2, axis=1)
        dataset[:, 1] = 0
        parameters["slice"] = "(:, 0, :, :, :)"
    docs = series(tmp_path / "series.h5", dataset, parameters)
    stages = ImageProcessor("image", mask=MASK), Sparsifier("image", MASK), PeakTracker("image", 5)
    given: list[Docs] = [[], [], []]
    for stage, out in zip(stages, given, strict=True):
        stage.subscribe(lambda name, document, out=out: out.append((name, document)))
        feed(stage, docs)
    events = ([doc for name, doc in out if name.startswith("event")] for out in given)
    processed, sparse, peaks = (
        [doc for doc in of_stage if {"image", "image_nnz", "y"} & doc["data"].keys()] for of_stage in events
    )
    for n in range(2):
        expected, _ = reduce_measured(stack[n])
        np.testing.assert_array_equal(processed[n]["data"]["image"], np.where(MASK, expected, 0))
        data = sparse[n]["data"]
        assert data["image_shape"].tolist() == [*SHAPE]
        found = densify(data["image_index"], data["image_value"], data["image_shape"])
        np.testing.assert_array_equal(found, np.where(MASK, stack[n], 0))
    inline: Docs = []
    tracker = PeakTracker("image", 5)
    tracker.subscribe(lambda name, document: inline.append((name, document)))
    bundle = event_model.compose_run(validate=False)
    stream = bundle.compose_descriptor(name="primary", data_keys={"image": described(stack[0, 0])}, validate=False)
    feed(tracker, [("start", bundle.start_doc), ("descriptor", stream.descriptor_doc)])
    for n in range(2):
        data = {"image": mean_frame(stack[n], gaps="auto")}
        feed(tracker, [("event", stream.compose_event(data=data, timestamps={"image": 1.0}, validate=False))])
    rows = [doc["data"] for name, doc in inline if name == "event_page"]
    for ours, theirs in zip([doc["data"] for doc in peaks], rows, strict=True):
        np.testing.assert_array_equal(ours["y"], theirs["y"])


def of_datum(path: Path, stack: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Docs:
    """The same events with their frames behind a resource and datums, for a handler that gives dask arrays."""
    monkeypatch.setattr("bluesky_ext.engine.frames.datums.BLOCK", 3 * 20 * 30 * 2)
    with h5py.File(path, "w") as file:
        file["entry/data/data"] = stack.reshape(-1, *SHAPE[1:])
    run = event_model.compose_run(validate=False)
    keys = {"image": described(np.zeros(SHAPE, "u2")) | {"external": "FILESTORE:"}}
    stream = run.compose_descriptor(name="primary", data_keys=keys, validate=False)
    resource = run.compose_resource(
        spec="AD_HDF5", root="/", resource_path=str(path)[1:], resource_kwargs={"frame_per_point": SHAPE[0]}
    )
    docs: Docs = [("start", run.start_doc), ("descriptor", stream.descriptor_doc), ("resource", resource.resource_doc)]
    for number in range(2):
        datum = resource.compose_datum(datum_kwargs={"point_number": number})
        data = {"image": datum["datum_id"]}
        event = stream.compose_event(data=data, timestamps={"image": 1.0}, filled={"image": False}, validate=False)
        docs += [("datum", datum), ("event", event)]
    return [*docs, ("stop", run.compose_stop(validate=False))]


def of_files(path: Path, stack: np.ndarray) -> Docs:
    """The same events with each frame in a TIFF file of its own."""
    for number, frame in enumerate(stack.reshape(-1, *SHAPE[1:])):
        tifffile.imwrite(path.parent / f"img_{number}.tif", frame)
    docs = series(path, stack, {"template": "img_{:d}.tif", "chunk_shape": (1, *SHAPE[1:]), "join_method": "concat"})
    resource = {**docs[2][1], "mimetype": "multipart/related;type=image/tiff", "uri": f"file://localhost{path.parent}/"}
    return [*docs[:2], ("stream_resource", resource), *docs[3:]]


@pytest.mark.parametrize("form", ["joined", "datum", "files"])
def test_composed_maps_work_on_some_frames_at_a_time(form, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("bluesky_ext.engine.frames.stream_files.BLOCK", 3 * 20 * 30 * 2)
    stack = images("u2", 5, (2, *SHAPE)) * (images("u1", 4, (2, *SHAPE)) > 200)
    path = tmp_path / "series.h5"
    if form == "joined":
        docs = series(path, stack.reshape(-1, *SHAPE[1:]), {"dataset": "frames"})
    else:
        docs = of_datum(path, stack, monkeypatch) if form == "datum" else of_files(path, stack)
    given: list[tuple[int, ...]] = []

    def sparsify_noted(image: np.ndarray, mask: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        given.append(image.shape)
        return sparsify(image, mask)

    monkeypatch.setattr("bluesky_ext.images.blocks.sparsify", sparsify_noted)
    sparse: Docs = []
    masked: Docs = []
    orienter, applier = ImageOrienter("image", "flipud"), MaskApplier("image", MASK)
    for stage, out in ((compose(orienter, applier, Sparsifier("image")), sparse), (compose(orienter, applier), masked)):
        stage.subscribe(lambda name, document, out=out: out.append((name, document)))
        feed(stage, docs)
    assert given == [(3, 20, 30), (3, 20, 30), (3, 20, 30), (2, 20, 30)] * 2
    expected = np.where(MASK, stack[:, :, ::-1], 0)
    events = ([doc["data"] for name, doc in out if name == "event"] for out in (sparse, masked))
    of_sparse, of_masked = ([data for data in one if {"image", "image_nnz"} & data.keys()] for one in events)
    for n in range(2):
        index, value, shape = (of_sparse[n][f"image_{part}"] for part in ("index", "value", "shape"))
        np.testing.assert_array_equal(densify(index, value, shape), expected[n])
        np.testing.assert_array_equal(of_masked[n]["image"], expected[n], strict=True)


def test_an_event_of_a_thousand_frames_stays_below_a_gigabyte(tmp_path) -> None:
    path, shape = tmp_path / "thousand.h5", (800, 800)
    frame = (images("u2", 1, shape) > 60_000).astype("u2")
    with h5py.File(path, "w") as file:  # 1.3 GB, of which most are not written and read as zeros
        frames = file.create_dataset("frames", (1000, *shape), "u2", chunks=(1, *shape))
        frames[7] = frames[999] = frame
    code = f"""
from pathlib import Path
import numpy as np
from bluesky_ext import ImageProcessor, compose
from bluesky_ext.callbacks import ImageOrienter, MaskApplier
from bluesky_ext.engine.executors.kernel import perform
from bluesky_ext.engine.frames.stream_files import StreamReference
about = {{"uid": "r", "uri": "file://localhost{path}", "mimetype": "application/x-hdf5"}}
data = {{"image": StreamReference(
    data_key="image", resource={{**about, "parameters": {{"dataset": "frames"}}}}, index=0,
    description={{"shape": [1000, *{shape}], "dtype_numpy": "<u2"}},
)}}
maps = ImageOrienter("image", "rot180"), MaskApplier("image", np.ones({shape}, bool)), ImageProcessor("image")
print(perform(compose(*maps).kernel, data, 1)["image"].sum())
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])  # ru_maxrss begins with what the parent has
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    total, most = map(float, said.split())
    np.testing.assert_allclose(total, 2 * frame.sum() / 1000)
    assert most < 10**6  # kB
