"""Which files a stage may read, and that limits let everything pass that beamlines send."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from bluesky.plans import count
from runs import feed, run_of, streamed_run

from bluesky_ext import ImageProcessor
from bluesky_ext.engine.frames.join import Joiner
from bluesky_ext.engine.frames.limits import Limits, Refused
from bluesky_ext.engine.frames.readable import Readable, Unreadable, reading
from bluesky_ext.sim import beamline
from bluesky_ext.transport import background

FRAMES = np.arange(128, dtype="u2").reshape(2, 8, 8)


def run_of_old(spec: str, root: Path, path: str = "", **kwargs: Any) -> list:
    docs = run_of([{"camera": "r/0"}])
    about = {"source": "sim", "dtype": "array", "shape": [8, 8], "external": "FILESTORE:"}
    docs[1][1]["data_keys"] = {"camera": about}
    docs[2][1]["filled"] = {"camera": False}
    resource = {"uid": "r", "spec": spec, "root": str(root), "resource_path": path, "resource_kwargs": kwargs}
    datum = {"datum_id": "r/0", "resource": "r", "datum_kwargs": {"point_number": 0}}
    return [*docs[:2], ("resource", resource), ("datum", datum), *docs[2:]]


def references(docs: list, **options: Any) -> list:
    joiner = Joiner(patience=0.0, **options)
    return [event["data"]["camera"] for name, doc in docs for event in joiner(name, doc)]


@pytest.fixture
def places(tmp_path) -> tuple[Path, Path]:
    """A directory that may be read, and one that may not."""
    for name in ("data", "data-of-others"):
        (tmp_path / name).mkdir()
    return tmp_path / "data", tmp_path / "data-of-others"


def test_a_path_counts_where_it_leads(places):
    here, outside = places
    readable = Readable.below([here])
    (here / "a.tif").touch()
    (here / "out").symlink_to(outside)
    (here / "in").symlink_to(here / "a.tif")
    assert readable.check(str(here / "in")) == str(here / "a.tif")
    assert readable.check(str(here / "will" / "come.tif"))
    for path in (outside / "a.tif", here / "out" / "a.tif", here / ".." / "a.tif", Path("/proc/self/environ")):
        with pytest.raises(Unreadable, match=f"may not be read .only below {here}.: add --readable-root"):
            readable.check(str(path))
    os.mkfifo(here / "fifo")
    for path, what in ((here / "fifo", "FIFO"), ("/dev/zero", "device"), (here, "directory")):
        with pytest.raises(Unreadable, match=what):
            Readable().check(str(path))
    with pytest.raises(Unreadable, match="no file is read"):
        Readable.below([]).check(str(here / "a.tif"))
    with pytest.raises(Unreadable, match="may not be read"):
        (readable & Readable.below([outside])).check(str(here / "a.tif"))
    for roots, error in ((["/proc"], ValueError), (["/"], ValueError), (str(here), TypeError)):
        with pytest.raises(error, match="give"):
            Readable.below(roots)


def test_a_stage_reads_below_its_roots_and_those_of_whoever_calls_it(places, caplog):
    here, outside = places
    docs = streamed_run(here / "frames.h5", FRAMES, key="camera")
    for own, callers, n_read in (
        (None, None, 2),
        ([here], None, 2),
        (None, [here], 2),
        ([outside], None, 0),
        ([here], [outside], 0),
        (None, [], 0),
    ):
        stage, got = ImageProcessor("camera", readable_roots=own), []
        stage.subscribe(lambda name, doc, got=got: got.append(doc), "event")
        with reading(Readable.below(callers)):
            feed(stage, docs)
        assert len(got) == n_read, (own, callers)
    assert "may not be read (no file is read): add --readable-root" in caplog.text


def test_a_callback_in_the_background_reads_what_the_caller_may(places):
    stage, got = ImageProcessor("camera"), []
    stage.subscribe(lambda name, doc: got.append(doc), "event")
    with background(stage) as slow, reading(Readable.below([places[1]])):
        feed(slow, streamed_run(places[0] / "frames.h5", FRAMES, key="camera"))
        assert slow.wait(60)
    assert not got


def test_a_reference_keeps_what_it_may_read_wherever_it_is_read(places):
    docs = streamed_run(places[0] / "frames.h5", FRAMES, key="camera")
    with reading(Readable.below([])):
        reference = pickle.loads(pickle.dumps(references(docs)[0]))
    with pytest.raises(ValueError, match="no file is read"):
        reference.read()


@pytest.mark.parametrize("spec", ["AD_HDF5", "stream"])
@pytest.mark.parametrize("kind", ["external link", "chain of links", "virtual dataset", "numbered sources", "storage"])
def test_hdf5_files_lead_to_files_below_the_roots_only(places, spec, kind):
    here, outside = places
    for folder in places:
        with h5py.File(folder / "part_0.h5", "w") as part:
            part["frames"] = FRAMES
        FRAMES.tofile(folder / "raw")

    def master(folder: Path) -> Path:
        path = here / f"of-{folder.name}.h5"
        with h5py.File(path, "w") as file:
            if kind == "external link":
                file["entry/data/data"] = h5py.ExternalLink(folder / "part_0.h5", "frames")
            elif kind == "chain of links":
                file["there"] = h5py.ExternalLink(os.path.relpath(folder / "part_0.h5", here), "/")
                file["entry/data/data"] = h5py.SoftLink("/there/frames")
            elif kind == "storage":
                raw = [(folder / "raw", 0, FRAMES.nbytes)]
                file.create_dataset("entry/data/data", FRAMES.shape, "u2", external=raw)
            elif kind == "virtual dataset":
                layout = h5py.VirtualLayout(FRAMES.shape, "u2")
                layout[:] = h5py.VirtualSource(folder / "part_0.h5", "frames", FRAMES.shape)
                file.create_virtual_dataset("entry/data/data", layout)
            else:
                space = h5py.h5s.create_simple((0, 8, 8), (h5py.h5s.UNLIMITED, 8, 8))
                space.select_hyperslab((0, 0, 0), (h5py.h5s.UNLIMITED, 1, 1), stride=(2, 1, 1), block=(2, 8, 8))
                made, source = h5py.h5p.create(h5py.h5p.DATASET_CREATE), h5py.h5s.create_simple(FRAMES.shape)
                made.set_virtual(space, os.fsencode(folder / "part_%b.h5"), b"frames", source)
                group = file.create_group("entry/data")
                h5py.h5d.create(group.id, b"data", h5py.h5t.NATIVE_UINT16, space, made)
        return path

    def run(folder: Path) -> list:
        path = master(folder)
        if spec == "AD_HDF5":
            return run_of_old(spec, here, path.name, frame_per_point=1)
        docs = streamed_run(here / "unused.h5", FRAMES, key="camera")
        for name, doc in docs:
            if name == "stream_resource":
                doc |= {"uri": f"file://localhost{path}", "parameters": {"dataset": "/entry/data/data"}}
        return docs

    readable = Readable.below([here])
    assert np.array_equal(np.squeeze(references(run(here), readable=readable)[0].read()), FRAMES[0])
    with pytest.raises(ValueError, match=r"data-of-others.* may not be read"):
        references(run(outside), readable=readable)[0].read()


def test_the_files_of_a_handler_are_known_before_it_reads_them(places):
    here, outside = places
    tifffile.imwrite(here / "a_0.tif", FRAMES[0])
    (here / "b_0.tif").symlink_to(outside / "b_0.tif")
    tifffile.imwrite(outside / "b_0.tif", FRAMES[1])

    def read(template: str, filename: str) -> np.ndarray:
        docs = run_of_old("AD_TIFF", here, template=template, filename=filename)
        return references(docs, readable=Readable.below([here]))[0].read()

    assert np.array_equal(np.squeeze(read("%s%s_%d.tif", "a")), FRAMES[0])
    for template, filename in (
        ("%s%s_%d.tif", "b"),
        ("%s%s_%d.tif", "../data-of-others/b"),
        ("%s.%s./data-of-others/b_%d.tif", ""),
        (f"{outside}/%.0s%.0sb_%d.tif", ""),
        ("%s%s%2000000000d", "a"),
    ):
        with pytest.raises(ValueError, match=r"may not be|not understood"):
            read(template, filename)


def test_what_beamlines_send_passes(documents_of, blob, tmp_path):
    limits, readable = Limits(), Readable.below([tmp_path])
    b = beamline(seed=1, shape=(64, 64), n_grains=2)
    old = [
        run_of_old("AD_TIFF", tmp_path, template="%s%s_%6.6d.tiff", filename="scan.v2", frame_per_point=100),
        run_of_old("AD_HDF5", tmp_path, "2026/a.h5", frame_per_point=30_000),
        run_of_old("AD_EIGER2", tmp_path, "2026/eiger", images_per_file=1000),
        run_of_old("OTHER", tmp_path, "a.h5", key="/entry/data/data", comment="50% of it, {all}"),
    ]
    files = {"uid": "s", "data_key": "camera", "uri": f"file://localhost{tmp_path}/"}
    files |= {"mimetype": "multipart/related;type=image/tiff", "parameters": {"template": "img_{:06d}.tif"}}
    new = [documents_of(count([blob], 2)), documents_of(count([b.detector], 2)), [("stream_resource", files)]]
    for docs in (*old, *new):
        for name, doc in docs:
            limits.check(name, doc, readable)


def test_a_limit_is_a_setting_and_its_error_says_so(documents_of):
    docs = documents_of(count([beamline(seed=1, shape=(64, 64)).detector], 1))
    with pytest.raises(Refused, match=r"--limit keys=N, or limits=Limits\(keys=N\)"):
        Limits(keys=1).check(*docs[1], Readable())
    with pytest.raises(ValueError, match="limit keys=0: give a whole number above 0"):
        Limits(keys=0)


def test_after_a_hundred_frames_that_are_not_there_a_file_is_read_again_when_it_changes(places):
    docs = streamed_run(places[0] / "frames.h5", FRAMES, said=300, key="camera")
    frames = references(docs)
    for frame in frames[2:250]:
        with pytest.raises(OSError, match="no frame"):
            frame.read(patience=1e-6)
    with pytest.raises(OSError, match="the file has not changed since"):
        frames[250].read(patience=1e-6)
    with h5py.File(places[0] / "frames.h5", "w") as file:
        file["frames"] = np.full((300, 8, 8), 5, "u2")
    assert frames[251].read(patience=1e-6).sum() == 5 * 64


@pytest.mark.parametrize("spec", ["AD_TIFF", "stream"])
def test_a_tiff_file_gives_its_own_pages_only(places, spec):
    here, outside = places
    tifffile.imwrite(outside / "b_0.tif", FRAMES[1])
    goes_on = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:1"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="8" SizeY="8" SizeZ="1" SizeC="1" SizeT="1">'
        '<Channel ID="Channel:0:0" SamplesPerPixel="1"/><TiffData IFD="0" PlaneCount="1">'
        '<UUID FileName="../data-of-others/b_0.tif">urn:uuid:2</UUID></TiffData></Pixels></Image></OME>'
    )
    tifffile.imwrite(here / "a_0.tif", FRAMES[0], description=goes_on, metadata=None)
    # tifffile.imread would go on with the other file, unless it is of late 2026.
    readable = Readable.below([here])
    if spec == "AD_TIFF":
        docs = run_of_old(spec, here, template="%s%s_%d.tif", filename="a")
        with pytest.raises(ValueError, match="goes on in other files"):
            references(docs, readable=readable)[0].read()
        return
    docs = streamed_run(here / "unused.h5", FRAMES, said=1, rows=[{}], key="camera")
    for name, doc in docs:
        if name == "stream_resource":
            doc |= {"uri": f"file://localhost{here}/", "mimetype": "multipart/related;type=image/tiff"}
            doc["parameters"] = {"template": "a_{:d}.tif", "chunk_shape": (1,)}
    assert np.array_equal(references(docs, readable=readable)[0].read(), FRAMES[0])
