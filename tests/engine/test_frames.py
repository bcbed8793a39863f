from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import h5py
import numpy as np
import pytest
import tifffile
from ophyd.sim import NumpySeqHandler

from bluesky_ext import _deadline
from bluesky_ext.engine.frames import references
from bluesky_ext.engine.frames.datums import DatumReference, OpenHandlers
from bluesky_ext.engine.frames.references import RESOURCES_REMEMBERED, FrameNotAvailable, Silences, as_image
from bluesky_ext.engine.frames.stream_files import StreamReference

EVENT: dict[str, Any] = {"run": "0123456789abcdef", "stream": "primary", "seq_num": 7}
HDF5 = "application/x-hdf5"
TIFF = "multipart/related;type=image/tiff"
NPY = "multipart/related;type=application/x-npy"

# Frame i of the tests' files: each pixel tells which it is, so that no two frames are equal.
ROWS = np.arange(12 * 4 * 5, dtype="uint16").reshape(12, 4, 5)


def uri_of(path: Path) -> str:
    return "file://localhost" + quote(str(path))


def stream_frame(
    where: Path | str,
    index: int,
    shape: tuple[int | None, ...],
    mimetype: str = HDF5,
    resource: str = "resource",
    **parameters: Any,
) -> StreamReference:
    if mimetype == HDF5 and "path" not in parameters:
        parameters = {"dataset": "/entry/data", **parameters}
    return StreamReference(
        data_key="det",
        resource={
            "uid": resource,
            "uri": uri_of(where) if isinstance(where, Path) else where,
            "mimetype": mimetype,
            "parameters": parameters,
        },
        **EVENT,
        description={"source": "", "dtype": "array", "dtype_numpy": "<u2", "shape": list(shape)},
        index=index,
    )


def datum_frame(
    handler: Any = None, datum_kwargs: Any = None, patience: float = 1.0, **resource: Any
) -> DatumReference:
    return DatumReference(
        data_key="det",
        resource={"uid": "resource", "spec": "SPEC", "resource_path": "nowhere", "resource_kwargs": {}, **resource},
        datum_kwargs=datum_kwargs or {},
        handler=handler,
        patience=patience,
        **EVENT,
    )


@pytest.fixture
def hdf5(tmp_path: Path) -> Path:
    path = tmp_path / "frames.h5"
    with h5py.File(path, "w") as file:
        file["entry/data"] = ROWS
        file["entry/sum"] = ROWS.sum((1, 2))
        file["entry/channels"] = ROWS[:, None]
        file["entry/grouped"] = ROWS.reshape(4, 3, 4, 5)
    return path


# --- HDF5 -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "parameters", "expected"),
    [
        ((1, 4, 5), {}, ROWS[1:2]),
        ((3, 4, 5), {}, ROWS[3:6]),
        ((3, 4, 5), {"chunk_shape": (1, 4, 5), "swmr": False}, ROWS[3:6]),
        ((1, 4, 5), {"multiplier": 3}, ROWS[3:6]),
        ((4, 5), {"multiplier": 3}, ROWS[3:6]),
        ((4, 5), {}, ROWS[1]),
        ((4, 5), {"join_method": "stack"}, ROWS[1]),
        ((1, 4, 5), {"join_method": "stack"}, ROWS[1:2]),  # as replayed from Tiled
        ((3, 4, 5), {"dataset": "/entry/grouped"}, ROWS[3:6]),
        ((), {"dataset": "/entry/sum"}, ROWS[1].sum()),
        ((3,), {"dataset": "/entry/sum"}, ROWS[3:6].sum((1, 2))),
        ((1, 4, 5), {"path": "entry/data"}, ROWS[1:2]),
        ((1, 4, 5), {"slice": "(2:, ...)"}, ROWS[3:4]),
        ((1, 4, 5), {"slice": "::2"}, ROWS[2:3]),
        ((3, 4, 2), {"slice": "(:, :, 1:3)"}, ROWS[3:6, :, 1:3]),
        ((3, 4), {"slice": [":", "...", "-1"]}, ROWS[3:6, :, -1]),
        ((1, 4, 5), {"dataset": "/entry/channels", "squeeze": True}, ROWS[1:2]),
        ((3, 4, 5), {"dataset": "/entry/channels", "squeeze": True}, ROWS[3:6]),
        ((1, 4, 5), {"dataset": "/entry/channels", "slice": "(:, 0)"}, ROWS[1:2]),
    ],
)
def test_hdf5_index_counts_events(hdf5: Path, shape: tuple, parameters: dict, expected: np.ndarray) -> None:
    array = stream_frame(hdf5, 1, shape, **parameters).read()
    np.testing.assert_array_equal(array, expected, strict=True)


@pytest.mark.parametrize(
    ("shape", "parameters"),
    [((3, 4, 5), {}), ((4, 5), {}), ((), {"dataset": "/entry/sum"}), ((3, 4, 2), {"slice": "(:, :, 1:3)"})],
)
def test_small_events_are_read_with_those_before_them_if_documents_have_told_of_them(
    hdf5: Path, shape: tuple, parameters: dict
) -> None:
    frames = [stream_frame(hdf5, index, shape, **parameters) for index in range(4)]
    expected = [frame.read() for frame in frames]
    told = [replace(frame, run="ahead", n_told=3 - at) for at, frame in enumerate(frames[:3])]
    np.testing.assert_array_equal(told[0].read(), expected[0], strict=True)
    hdf5.unlink()
    for at in (2, 1):
        np.testing.assert_array_equal(told[at].read(), expected[at], strict=True)
    for untold in (replace(frames[3], run="ahead"), replace(told[1], run="another"), told[0]):
        with pytest.raises(FrameNotAvailable):
            untold.read(patience=0)


@pytest.mark.parametrize("shape", [(1, 4, 5), (3, 4, 5), (2, 4, 5)])
@pytest.mark.parametrize("multiplier", [None, 3])
def test_hdf5_agrees_with_the_consolidators_of_bluesky(hdf5: Path, shape: tuple, multiplier: int | None) -> None:
    pytest.importorskip("tiled")
    from bluesky.consolidators import consolidator_factory

    parameters: dict[str, Any] = {"chunk_shape": (1, 4, 5)}
    if multiplier:
        parameters["multiplier"] = multiplier
        shape = (1, *shape[1:])
    frame = stream_frame(hdf5, 2, shape, **parameters)
    resource: Any = {"data_key": "det", **frame.resource, "parameters": dict(frame.resource["parameters"])}
    descriptor: Any = {"data_keys": {"det": frame.description}}
    consolidator = consolidator_factory(resource, descriptor)
    span: Any = {"start": 0, "stop": 12 // consolidator.datum_shape[0]}
    consolidator.consume_stream_datum(dict.fromkeys(("indices", "seq_nums"), span))  # pyright: ignore
    rows = consolidator.datum_shape[0]
    expected = consolidator.get_adapter().read((slice(2 * rows, 3 * rows),))
    np.testing.assert_array_equal(frame.read(), np.asarray(expected), strict=True)


def test_hdf5_shape_that_does_not_fit_is_said_at_once(hdf5: Path) -> None:
    with pytest.raises(ValueError, match=r"det .*/entry/data.*\(12, 4, 5\).*\(2, 3, 4, 5, 6\).*describe") as caught:
        stream_frame(hdf5, 0, (2, 3, 4, 5, 6)).read()
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="describe"):
        stream_frame(hdf5, 0, (None, 4, 5)).read()
    with pytest.raises(ValueError, match="not a dataset"):
        stream_frame(hdf5, 0, (4, 5), dataset="/entry").read()
    with pytest.raises(ValueError, match="'dataset'"):
        stream_frame(hdf5, 0, (4, 5), dataset="").read()


@pytest.mark.parametrize(
    ("text", "says"), [("a:b", "'a:b'"), ("(0, :)", "first axis"), ("::-1", "backwards"), (":,:,:,:", "3 axes")]
)
def test_hdf5_slice_that_cannot_be_is_said(hdf5: Path, text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        stream_frame(hdf5, 0, (1, 4, 5), slice=text).read()


def test_hdf5_that_this_process_is_writing(tmp_path: Path) -> None:
    path = tmp_path / "growing.h5"
    frame = stream_frame(path, 1, (1, 4, 5))
    with pytest.raises(FrameNotAvailable, match=r"growing\.h5"):
        frame.read(patience=0)
    with h5py.File(path, "w", libver="latest") as file:
        with pytest.raises(FrameNotAvailable, match=r"/entry/data"):
            frame.read(patience=0)
        data = file.create_dataset("entry/data", (1, 4, 5), "uint16", maxshape=(None, 4, 5))
        file.swmr_mode = True
        data[0] = ROWS[0]
        with pytest.raises(FrameNotAvailable, match=r"has 1 rows, rows 1 to 1 are asked for"):
            frame.read(patience=0)
        data.resize(2, 0)
        data[1] = ROWS[1]
        data.flush()
        np.testing.assert_array_equal(frame.read(patience=0), ROWS[1:2])
    np.testing.assert_array_equal(frame.read(patience=0), ROWS[1:2])


WRITER = """
import sys, h5py, numpy as np
path, libver, swmr = sys.argv[1:]
file = h5py.File(path, "w", libver=libver, locking=True)
data = file.create_dataset("entry/data", (2, 4, 5), "uint16", maxshape=(None, 4, 5))
if swmr == "swmr":
    file.swmr_mode = True
data[:] = np.arange(40).reshape(2, 4, 5)
file.flush()
print("written", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(("libver", "mode"), [("earliest", "plain"), ("latest", "swmr")])
@pytest.mark.parametrize("swmr", [True, False])
def test_hdf5_that_another_process_is_writing(tmp_path: Path, libver: str, mode: str, swmr: bool) -> None:
    path = tmp_path / "growing.h5"
    command = [sys.executable, "-c", WRITER, str(path), libver, mode]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        array = stream_frame(path, 1, (1, 4, 5), swmr=swmr).read(patience=0)
        assert writer.poll() is None
        assert writer.stdin is not None
        writer.stdin.close()
    np.testing.assert_array_equal(array, ROWS[1:2])


def test_hdf5_half_a_file_is_late_and_not_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "half.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n123")
    with pytest.raises(FrameNotAvailable, match=r"half\.h5"):
        stream_frame(path, 0, (4, 5)).read(patience=0)


def test_hdf5_compressed_with_a_plugin(tmp_path: Path) -> None:
    pytest.importorskip("hdf5plugin")
    path = tmp_path / "compressed.h5"
    script = "import sys, h5py, hdf5plugin, numpy as np\n" + (
        "with h5py.File(sys.argv[1], 'w') as file:\n"
        "    frames = np.arange(240, dtype='uint16').reshape(12, 4, 5)\n"
        "    file.create_dataset('entry/data', data=frames, chunks=(1, 4, 5), compression=hdf5plugin.Bitshuffle())"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)
    read = "import pickle, sys\nprint(int(pickle.loads(sys.stdin.buffer.read()).read()[0, 3, 4]))"
    frame = pickle.dumps(stream_frame(path, 11, (1, 4, 5)))
    # Another process, because plugins stay known once they are imported.
    done = subprocess.run([sys.executable, "-c", read], input=frame, capture_output=True, check=True)
    assert done.stdout.strip() == b"239"


# --- sequences of files -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "filename", "names"),
    [
        ("img_{:05d}.tif", "", "img_%05d.tif"),
        ("%s%s_%06d.tif", "scan", "scan_%06d.tif"),
        ("%s%s_%6.6d.tiff", "scan", "scan_%06d.tiff"),
        ("%s_{:03d}.tif", "scan", "scan_%03d.tif"),
        ("img_%d.tif", "", "img_%d.tif"),
    ],
)
def test_tiff_templates_old_and_new(tmp_path: Path, template: str, filename: str, names: str) -> None:
    for number in range(3):
        tifffile.imwrite(tmp_path / (names % number), ROWS[number])
    frame = stream_frame(f"file://localhost{tmp_path}/", 2, (1, 4, 5), TIFF, template=template, filename=filename)
    np.testing.assert_array_equal(frame.read(), ROWS[2:3], strict=True)
    assert frame.file == str(tmp_path / (names % 2))


@pytest.mark.parametrize(
    ("pages", "shape", "parameters", "expected"),
    [
        (1, (3, 4, 5), {}, ROWS[3:6]),
        (1, (3, 4, 5), {"chunk_shape": (1, 4, 5)}, ROWS[3:6]),
        (1, (4, 5), {"multiplier": 3, "chunk_shape": (1,)}, ROWS[3:6]),
        (3, (3, 4, 5), {"chunk_shape": (3, 4, 5)}, ROWS[3:6]),
        (3, (6, 4, 5), {"chunk_shape": (3, 4, 5)}, ROWS[6:12]),
        (3, (3, 4, 5), {"join_method": "stack"}, ROWS[3:6]),
        (1, (4, 5), {}, ROWS[1]),
        (1, (4, 5), {"chunk_shape": (1, 4, 5)}, ROWS[1]),
        (2, (2, 4, 5), {"chunk_shape": (1, 2, 4, 5)}, ROWS[2:4]),
    ],
)
@pytest.mark.parametrize("contiguous", [True, False])
def test_tiff_several_pages_and_several_files_an_event(
    tmp_path: Path, pages: int, shape: tuple, parameters: dict, expected: np.ndarray, contiguous: bool
) -> None:
    for number, frames in enumerate(ROWS.reshape(-1, pages, 4, 5)):
        with tifffile.TiffWriter(tmp_path / f"img_{number}.tif") as file:
            for frame in frames:
                file.write(frame, contiguous=contiguous)
    uri = f"file://localhost{tmp_path}/"
    array = stream_frame(uri, 1, shape, TIFF, template="img_{:d}.tif", **parameters).read()
    np.testing.assert_array_equal(array, expected, strict=True)


def test_tiff_is_not_scrambled_by_a_shape_with_rows_and_columns_swapped(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "img_0.tif", ROWS[0])
    uri = f"file://localhost{tmp_path}/"
    array = stream_frame(uri, 0, (1, 5, 4), TIFF, template="img_{:d}.tif").read()
    np.testing.assert_array_equal(array, ROWS[:1], strict=True)


def test_tiff_missing_short_or_half_written(tmp_path: Path) -> None:
    path = tmp_path / "img_0.tif"
    frame = stream_frame(f"file://localhost{tmp_path}/", 0, (3, 4, 5), TIFF, template="img_{:d}.tif", chunk_shape=(3,))
    with pytest.raises(FrameNotAvailable, match=r"img_0\.tif"):
        frame.read(patience=0)
    tifffile.imwrite(path, ROWS[:2], photometric="minisblack")
    with pytest.raises(FrameNotAvailable, match=r"hold \(2, 4, 5\).*\(3, 4, 5\)"):
        frame.read(patience=0)
    tifffile.imwrite(path, ROWS[:3], photometric="minisblack")
    whole = path.read_bytes()
    late = 0
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        try:  # what is lacking at the end may be no pixels: then there is an image, but never a wrong one
            np.testing.assert_array_equal(frame.read(patience=0), ROWS[:3])
        except FrameNotAvailable:
            late += 1
    assert late > len(whole) / 2
    path.write_bytes(whole)
    np.testing.assert_array_equal(frame.read(patience=0), ROWS[:3])


def test_tiff_files_that_do_not_add_up(tmp_path: Path) -> None:
    frame = stream_frame(tmp_path, 0, (3, 4, 5), TIFF, template="/img_{:d}.tif", chunk_shape=(2, 4, 5))
    with pytest.raises(ValueError, match="chunk_shape"):
        frame.read()
    with pytest.raises(ValueError, match="'template'"):
        stream_frame(tmp_path, 0, (3, 4, 5), TIFF).read()


def test_npy_with_the_name_of_the_handler_or_its_own(tmp_path: Path) -> None:
    for number in range(3):
        np.save(tmp_path / f"scan_{number}.npy", ROWS[number])
    uri = f"file://localhost{tmp_path}/"
    for parameters in ({"filename": "scan"}, {"template": "scan_{:d}.npy"}):
        array = stream_frame(uri, 2, (4, 5), NPY, **parameters).read()
        np.testing.assert_array_equal(array, ROWS[2], strict=True)
    array = stream_frame(f"{uri}scan", 2, (4, 5), NPY).read()  # a URI may end in the middle of the name
    np.testing.assert_array_equal(array, ROWS[2], strict=True)
    whole = (tmp_path / "scan_2.npy").read_bytes()
    for size in (0, 10, len(whole) - 1):
        (tmp_path / "scan_2.npy").write_bytes(whole[:size])
        with pytest.raises(FrameNotAvailable, match=r"scan_2\.npy"):
            stream_frame(f"{uri}scan", 2, (4, 5), NPY).read(patience=0)


def test_jpeg(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for number in range(2):
        image.fromarray(np.full((8, 16), 50 * number, "uint8")).save(tmp_path / f"img_{number}.jpg")
    uri = f"file://localhost{tmp_path}/"
    array = stream_frame(uri, 1, (1, 8, 16), "multipart/related;type=image/jpeg", template="img_{:d}.jpg").read()
    np.testing.assert_array_equal(array, np.full((1, 8, 16), 50, "uint8"), strict=True)


# --- other formats, other places --------------------------------------------------------------------------


def test_an_event_of_many_frames_is_given_up_between_two_of_them(tmp_path: Path, monkeypatch) -> None:
    frames = np.arange(120, dtype="<u2").reshape(6, 4, 5)
    for number, image in enumerate(frames):
        tifffile.imwrite(tmp_path / f"img_{number:06d}.tif", image)
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        file["entry/data"] = frames
    monkeypatch.setattr("bluesky_ext.engine.frames.hdf5.BLOCK", 2 * frames[0].nbytes)
    tiff = stream_frame(tmp_path, 0, (6, 4, 5), TIFF, template="/img_{:06d}.tif")
    for frame in (tiff, stream_frame(tmp_path / "frames.h5", 0, (6, 4, 5))):
        np.testing.assert_array_equal(frame.read(), frames)
        looks = count()
        with (
            _deadline.limited(lambda looks=looks: float("inf") if next(looks) < 3 else 0.0),
            pytest.raises(FrameNotAvailable, match="not done, since the server is being stopped"),
        ):
            frame.read(patience=60.0)


def test_an_unknown_mimetype_is_named(tmp_path: Path) -> None:
    frame = stream_frame(tmp_path / "x.raw", 0, (4, 5), "application/x-raw")
    with pytest.raises(
        ValueError, match=r"det \(run 01234567, stream primary, seq_num 7\).*x-raw.*only HDF5"
    ) as caught:
        frame.read()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mimetype", [HDF5, TIFF])
def test_a_uri_that_is_no_file(mimetype: str) -> None:
    frame = stream_frame("https://tiled.example/x.h5", 0, (4, 5), mimetype, template="{:d}.tif")
    if mimetype == HDF5:
        frame = stream_frame("https://tiled.example/x.h5", 0, (4, 5), mimetype)
    with pytest.raises(ValueError, match=r"det.*'https://tiled\.example/x\.h5'.*file://") as caught:
        frame.read()
    assert "\n" not in str(caught.value)
    assert frame.file == "https://tiled.example/x.h5"


def test_uris_are_unquoted(tmp_path: Path) -> None:
    path = tmp_path / "sample #3 (50%)" / "ä.h5"
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        file["entry/data"] = ROWS
    assert "%20" in uri_of(path)
    frame = stream_frame(path, 3, (4, 5))
    assert frame.file == str(path)
    np.testing.assert_array_equal(frame.read(), ROWS[3])
    for uri in (f"file://{path}", f"file://some.host{path}"):  # not quoted, as ophyd-async makes them
        np.testing.assert_array_equal(stream_frame(uri, 3, (4, 5)).read(), ROWS[3])


# --- handlers ---------------------------------------------------------------------------------------------


def test_area_detector_files_are_read_by_their_handlers(tmp_path: Path) -> None:
    pytest.importorskip("area_detector_handlers")
    for spec in ("AD_HDF5", "AD_HDF5_SWMR"):
        with h5py.File(tmp_path / f"{spec}.h5", "w") as file:
            file["entry/data/data"] = ROWS
        kwargs: dict[str, Any] = {"resource_path": f"{tmp_path}/{spec}.h5", "resource_kwargs": {"frame_per_point": 3}}
        for number in range(4):
            array = datum_frame(spec=spec, datum_kwargs={"point_number": number}, **kwargs).read(patience=0)
            assert type(array) is np.ndarray  # and not the dask array of the handler
            np.testing.assert_array_equal(array, ROWS[3 * number : 3 * number + 3], strict=True)
        with pytest.raises(FrameNotAvailable, match=rf"{spec}\.h5"):
            datum_frame(spec=spec, datum_kwargs={"point_number": 4}, **kwargs).read(patience=0)
    for number in range(6):
        tifffile.imwrite(tmp_path / f"img_{number:06d}.tif", ROWS[number])
    frame = datum_frame(
        spec="AD_TIFF",
        uid="tiff",
        resource_path=str(tmp_path),
        resource_kwargs={"template": "%s%s_%6.6d.tif", "filename": "img", "frame_per_point": 3},
        datum_kwargs={"point_number": 1},
    )
    np.testing.assert_array_equal(frame.read(), ROWS[3:6], strict=True)


def test_an_unknown_spec_names_those_that_are_known_and_the_cure() -> None:
    with pytest.raises(
        ValueError, match=r"det .*'MY_SPEC'.*NPY_SEQ.*area-detector-handlers.*handlers=\{'MY_SPEC'"
    ) as caught:
        datum_frame(spec="MY_SPEC").read()
    assert "\n" not in str(caught.value)


class Growing:
    """Sees of its file what was there when it was opened, as many handlers do."""

    content: ClassVar[list[int]] = []
    opened: ClassVar[int] = 0

    def __init__(self, path: str) -> None:
        Growing.opened += 1
        self.seen = list(self.content)

    def __call__(self, index: int) -> np.ndarray:
        return np.full((2, 2), self.seen[index])


def test_a_handler_that_does_not_see_its_file_grow_is_opened_anew() -> None:
    Growing.content[:], Growing.opened = [10, 11], 0
    frames = [datum_frame(Growing, uid="grows", datum_kwargs={"index": index}) for index in range(3)]
    assert [frame.read(patience=0)[0, 0] for frame in frames[:2]] == [10, 11]
    assert Growing.opened == 1
    Growing.content.append(12)
    assert frames[2].read(patience=0)[0, 0] == 12
    assert Growing.opened == 2
    Growing.content.clear()
    assert frames[2].read(patience=0)[0, 0] == 12  # the open handler still has it


def test_an_error_of_the_handler_itself_is_not_taken_for_a_late_file() -> None:
    def handler(path: str) -> Callable[[], np.ndarray]:
        raise TypeError("no such argument")

    with pytest.raises(TypeError, match="no such argument"):
        datum_frame(handler, uid="wrong").read(patience=30)


class Recorder:
    """A handler that knows whether it is closed."""

    def __init__(self) -> None:
        self.closed = False
        self.entered, self.leave = threading.Event(), threading.Event()

    def __call__(self, wait: bool = False) -> np.ndarray:
        assert not self.closed
        self.entered.set()
        if wait:
            assert self.leave.wait(30)
        assert not self.closed
        return np.ones(1)

    def close(self) -> None:
        self.closed = True


def test_open_handlers_are_few_and_closed_when_they_leave() -> None:
    handlers = OpenHandlers(size=2)
    recorders = [Recorder() for _ in range(3)]
    for number in (0, 1, 0, 2):  # 1 is the one that was not used for longest
        handlers.read(number, lambda number=number: recorders[number], {})
    assert [recorder.closed for recorder in recorders] == [False, True, False]


def test_a_handler_that_is_in_use_is_closed_by_its_last_user() -> None:
    handlers = OpenHandlers(size=1)
    busy, other = Recorder(), Recorder()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(handlers.read, "busy", lambda: busy, {"wait": True})
        assert busy.entered.wait(30)
        handlers.read("other", lambda: other, {})  # pushes the busy one out
        assert not busy.closed
        busy.leave.set()
        first.result(30)
    assert busy.closed
    assert not other.closed


def test_a_handler_is_used_by_one_thread_at_a_time() -> None:
    handlers = OpenHandlers()
    meeting, met = threading.Barrier(2), []

    def handler() -> np.ndarray:
        try:
            meeting.wait(0.1)
        except threading.BrokenBarrierError:  # nobody else came
            return np.ones(1)
        met.append(True)
        return np.ones(1)

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(handlers.read, "it", lambda: handler, {}) for _ in range(2)]:
            assert future.result(30) == 1
    assert not met


def test_a_handler_that_fails_to_close_does_not_fail_the_read(caplog: pytest.LogCaptureFixture) -> None:
    class Stuck(Recorder):
        def close(self) -> None:
            raise RuntimeError("stuck")

    handlers = OpenHandlers(size=1)
    handlers.read(1, Stuck, {})
    assert handlers.read(2, Recorder, {}) == 1
    assert "failed to close" in caplog.text


def test_handlers_give_arrays_that_are_whole() -> None:
    class Lazy:
        """What a handler of dask arrays returns, as far as it matters."""

        def compute(self, scheduler: str) -> np.ndarray:
            assert scheduler == "synchronous"  # in the thread that reads
            return np.arange(3)

    handlers = OpenHandlers()
    with pytest.raises(OSError, match="no data"):
        handlers.read(1, lambda: lambda: np.empty((0, 4)), {})
    with pytest.raises(OSError, match=r"\(2, 4\).*3 frames"):
        handlers.read(2, lambda: lambda: np.empty((2, 4)), {}, frames=3)
    np.testing.assert_array_equal(handlers.read(3, lambda: lambda: [[1, 2]], {}), [[1, 2]])
    np.testing.assert_array_equal(handlers.read(4, lambda: Lazy, {}), [0, 1, 2])


# --- late files -------------------------------------------------------------------------------------------


def test_a_missing_file_is_named_with_its_event(tmp_path: Path) -> None:
    frames = [
        stream_frame(tmp_path / "missing", 0, (4, 5)),
        datum_frame(spec="NPY_SEQ", resource_path=str(tmp_path / "missing"), datum_kwargs={"index": 0}),
    ]
    for frame in frames:
        with pytest.raises(FrameNotAvailable) as caught:
            frame.read(patience=0)
        message = str(caught.value)
        assert message.startswith("det (run 01234567, stream primary, seq_num 7): ")
        assert str(tmp_path / "missing") in message
        assert "\n" not in message
        assert str(pickle.loads(pickle.dumps(caught.value))) == message


class Late:
    """A handler whose file comes when the test says so."""

    there: ClassVar[bool]
    calls: ClassVar[int]

    @classmethod
    def reset(cls) -> None:
        cls.there, cls.calls = False, 0

    def __init__(self, path: str) -> None:
        Late.calls += 1
        if not self.there:
            raise FileNotFoundError(2, "No such file", path)

    def __call__(self) -> np.ndarray:
        return ROWS[0]


class Clock:
    """A clock that goes on when somebody sleeps, and what happens meanwhile."""

    def __init__(self) -> None:
        self.now = 0.0
        self.meanwhile: Callable[[], Any] = lambda: None

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.meanwhile()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(references, "time", clock)
    return clock


def test_a_file_that_lags_for_each_frame_is_waited_for_each_time(tmp_path: Path, clock: Clock) -> None:
    saved = [0.0]

    def save_the_next() -> None:
        if clock.now - saved[-1] > 0.4:
            np.save(tmp_path / f"scan_{len(saved) - 1}.npy", ROWS[len(saved) - 1])
            saved.append(clock.now)

    clock.meanwhile = save_the_next
    for index in range(10):
        frame = stream_frame(f"file://localhost{tmp_path}/", index, (4, 5), NPY, resource="lags", filename="scan")
        np.testing.assert_array_equal(frame.read(), ROWS[index])
    assert clock.now > 4


def test_a_file_is_waited_for_as_long_as_it_grows(tmp_path: Path, hdf5: Path, clock: Clock) -> None:
    path, frame = tmp_path / "grows.h5", stream_frame(tmp_path / "grows.h5", 1, (4, 5), resource="grows on")

    def grow_for(seconds: float, then: Callable[[], Any] = lambda: None) -> None:
        end = clock.now + seconds
        clock.meanwhile = lambda: path.write_bytes(bytes(int(1000 * clock.now))) if clock.now < end else then()

    grow_for(5)
    with pytest.raises(FrameNotAvailable):
        frame.read()
    assert clock.now == pytest.approx(6, abs=0.1)
    with pytest.raises(FrameNotAvailable):
        frame.read()
    assert clock.now == pytest.approx(6, abs=0.1)
    path.unlink()  # a sign of life; and so is that it comes again
    grow_for(5, lambda: path.write_bytes(hdf5.read_bytes()))
    np.testing.assert_array_equal(frame.read(), ROWS[1])
    assert clock.now == pytest.approx(11, abs=0.2)


def test_the_patience_of_a_reference_is_its_own(clock: Clock) -> None:
    with pytest.raises(FrameNotAvailable):
        pickle.loads(pickle.dumps(datum_frame(NumpySeqHandler, {"index": 0}, patience=3, uid="its own"))).read()
    assert clock.now == pytest.approx(3)


def test_patience_is_counted_once_for_a_resource() -> None:
    Late.reset()
    first, second = (datum_frame(Late, uid="once", datum_kwargs={}) for _ in range(2))
    with pytest.raises(FrameNotAvailable):
        first.read(patience=0.05)
    assert Late.calls > 1
    for _ in range(3):
        Late.calls = 0
        with pytest.raises(FrameNotAvailable):
            second.read(patience=0.05)
        assert Late.calls == 1
    Late.calls = 0
    with pytest.raises(FrameNotAvailable):
        datum_frame(Late, uid="another").read(patience=0.05)
    assert Late.calls > 1
    Late.there = True
    np.testing.assert_array_equal(second.read(patience=0.05), ROWS[0])


def test_an_impatient_read_does_not_use_up_the_patience() -> None:
    Late.reset()
    frame = datum_frame(Late, uid="impatient")
    with pytest.raises(FrameNotAvailable):
        frame.read(patience=0)
    Late.calls = 0
    with pytest.raises(FrameNotAvailable):
        frame.read(patience=0.05)
    assert Late.calls > 1


def test_what_can_never_be_read_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, hdf5: Path) -> None:
    def wait(*_: object) -> bool:
        pytest.fail("waited")

    monkeypatch.setattr(Silences, "wait", wait)
    for frame in (
        datum_frame(spec="MY_SPEC"),
        stream_frame("s3://x", 0, (4, 5)),
        stream_frame(hdf5, 0, (9, 9, 9, 9, 9)),
    ):
        with pytest.raises(ValueError, match="det"):
            frame.read(patience=30)


def test_the_silences_of_only_so_many_resources_are_remembered() -> None:
    silences = Silences()

    def use_up(resource: str) -> None:
        while silences.wait(resource, "nowhere", 1e-6):
            pass

    use_up("first")
    assert not silences.wait("first", "nowhere", 1e-6)
    for number in range(RESOURCES_REMEMBERED - 1):
        use_up(str(number))
    assert not silences.wait("first", "nowhere", 1e-6)
    use_up("one more")
    assert silences.wait("first", "nowhere", 1e-6)


# --- elsewhere --------------------------------------------------------------------------------------------


def checksum(frame: Any) -> int:
    return int(frame.read().astype("int64").sum())


def test_references_are_pickled_by_value_and_equal() -> None:
    for frame in (stream_frame("file://localhost/x.h5", 3, (4, 5)), datum_frame(NumpySeqHandler)):
        again = pickle.loads(pickle.dumps(frame))
        assert again == frame
        assert len(pickle.dumps(frame)) < 1000
        with pytest.raises(AttributeError):
            again.data_key = "other"
    assert pickle.loads(pickle.dumps(datum_frame(NumpySeqHandler))).handler is NumpySeqHandler


def test_references_are_read_by_other_processes(hdf5: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "scan_4.npy", ROWS[4])
    datum = {"root": str(tmp_path), "resource_path": "scan", "datum_kwargs": {"index": 4}}
    frames = [
        stream_frame(hdf5, 4, (4, 5)),
        datum_frame(spec="NPY_SEQ", **datum),
        datum_frame(NumpySeqHandler, **datum),
    ]
    # spawn: a worker that knows nothing but what the reference brings
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        arrays = list(pool.map(np.asarray, [frame.read() for frame in frames]))
        read = [pool.submit(type(frame).read, frame).result(60) for frame in frames]
        with pytest.raises(FrameNotAvailable, match="det"):
            pool.submit(StreamReference.read, stream_frame(tmp_path / "missing", 0, (4, 5)), 0.0).result(60)
    for here, there in zip(arrays, read, strict=True):
        np.testing.assert_array_equal(here, ROWS[4])
        np.testing.assert_array_equal(there, ROWS[4])


PARENT = os.getpid()


class Busy:
    """A handler that is in use when its process forks."""

    entered, leave = threading.Event(), threading.Event()

    def __init__(self, path: str) -> None:
        pass

    def __call__(self) -> np.ndarray:
        if os.getpid() == PARENT:
            self.entered.set()
            assert self.leave.wait(30)
        return ROWS[0]


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="the system has no fork")
def test_a_forked_worker_inherits_neither_handlers_in_use_nor_a_patience_that_is_used_up() -> None:
    """In a process without threads of other tests, whose locks a fork would inherit."""
    script = "import runpy, sys; runpy.run_path(sys.argv[1])['fork']()"
    command = [sys.executable, "-c", script, __file__]
    done = subprocess.run(command, capture_output=True, text=True, timeout=55, check=False)
    assert done.returncode == 0, done.stderr


def fork() -> None:
    Late.reset()
    late, busy = datum_frame(Late, uid="forked"), datum_frame(Busy, uid="busy")
    with pytest.raises(FrameNotAvailable):
        late.read(patience=0.05)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()

    def work() -> None:
        Late.calls = 0
        with pytest.raises(FrameNotAvailable):
            late.read(patience=0.05)
        queue.put((Late.calls > 1, int(busy.read().sum())))

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(busy.read)
        assert Busy.entered.wait(30)
        child = context.Process(target=work, daemon=True)
        child.start()
        child.join(30)
        Busy.leave.set()
        reading.result(30)
    assert child.exitcode == 0
    assert queue.get() == (True, ROWS[0].sum())


# --- images -----------------------------------------------------------------------------------------------


def test_as_image_of_arrays_nested_lists_and_references(hdf5: Path) -> None:
    assert as_image(ROWS) is ROWS
    np.testing.assert_array_equal(as_image(ROWS[0].tolist()), ROWS[0])
    np.testing.assert_array_equal(as_image(((1.5, 2), (3, 4))), [[1.5, 2], [3, 4]])
    np.testing.assert_array_equal(as_image(stream_frame(hdf5, 2, (4, 5))), ROWS[2], strict=True)
    np.testing.assert_array_equal(as_image(np.float64(3)), 3.0)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([[1, 2], [3]], "ragged.*shape"),
        ([["a"]], r"\(1, 1\).*U1"),
        (np.array([None, 1]), r"\(2,\).*object"),
        ([[None]], r"\(1, 1\).*object"),
        ("abc/1", "'abc/1'.*datum"),
        (3.0, "float"),
        (None, "NoneType"),
        ({"a": 1}, "dict"),
    ],
)
def test_as_image_of_something_else(value: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        as_image(value)
    assert "\n" not in str(caught.value)
