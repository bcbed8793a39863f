"""Images that lie in files beside the documents: in the file as those that come in events."""

import functools
import re
import shutil
from pathlib import Path

import bluesky.plans as bp
import h5py
import numpy as np
import pytest
from ophyd.sim import NumpySeqHandler, SynAxis, hw

from suitcase_nxstxm import NXstxmWriter, export, finish_export
from suitcase_nxstxm.errors import UnfilledError, UnfinishedError


def test_images_of_resources(tmp_path, run_engine, read):
    allowed = {"readable_roots": [tmp_path / "images"], "handler_registry": {"NPY_SEQ": NumpySeqHandler}}
    (tmp_path / "images").mkdir()
    writer = NXstxmWriter(tmp_path, "scan", on_error="raise", **allowed)
    devices = hw(str(tmp_path / "images"))
    run_engine(bp.grid_scan([devices.img], devices.motor1, 0, 1, 2, devices.motor2, 0, 1, 3), writer)
    found = read(*writer.artifacts["all"])
    np.testing.assert_array_equal(found["entry0/instrument/img/data"], np.ones((6, 10, 10)))
    np.testing.assert_array_equal(found["entry0/img/data"], np.full((2, 3), 100.0))


def test_images_of_streams(tmp_path, run_engine, blob, read):
    motor = SynAxis(name="mx", delay=0)
    writer = NXstxmWriter(tmp_path, "scan", on_error="raise", readable_roots=[tmp_path])
    run_engine(bp.scan([blob], motor, 2, 0, 3), writer)
    found = read(*writer.artifacts["all"])
    (path,) = tmp_path.glob("*.h5")
    with h5py.File(path) as file:
        frames = file["entry/data/data"][()]
    assert len(frames) == 3
    np.testing.assert_array_equal(found["entry0/instrument/blob/data"], frames)
    np.testing.assert_array_equal(found["entry0/blob/data"], frames.sum(axis=(1, 2)))
    np.testing.assert_array_equal(found["entry0/blob/mx"], [2, 1, 0])
    assert not np.isnan(found["entry0/collection/primary/time"]).any()


def test_images_that_are_not_there(tmp_path, run_engine, blob):
    docs = []
    run_engine(bp.count([blob], 2), lambda *pair: docs.append(pair))
    (path,) = tmp_path.glob("*.h5")
    path.unlink()
    with pytest.raises(UnfilledError, match=rf"'blob' of run .* can't be read from {path}"):
        export(docs, tmp_path, "scan", readable_roots=[tmp_path])


@pytest.mark.parametrize("form", ["resource", "stream_resource"])
def test_files_that_nobody_allowed(tmp_path, run_engine, blob, form, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    docs = []
    detector = hw(str(tmp_path)).img if form == "resource" else blob
    run_engine(bp.scan([detector], SynAxis(name="mx", delay=0), 0, 2, 3), lambda *pair: docs.append(pair))
    monkeypatch.setattr(h5py, "File", functools.partial(_no_files_but, tmp_path / "elsewhere", h5py.File))
    for given in ({}, {"readable_roots": [tmp_path / "elsewhere"], "handler_registry": {"NPY_SEQ": _opens}}):
        with pytest.raises(UnfilledError, match="readable_roots=") as error:
            export(docs, tmp_path / "elsewhere", "scan", **given)
        assert "\n" not in str(error.value)
        with pytest.raises(UnfinishedError, match="readable_roots="):
            finish_export(tmp_path / "elsewhere", "scan", docs[0][1]["uid"])


@pytest.mark.parametrize("way", ["link", "virtual", "storage"])
def test_files_that_lead_to_others(tmp_path, run_engine, blob, way, tmp_path_factory):
    docs = []
    run_engine(bp.count([blob], 2), lambda *pair: docs.append(pair))
    (path,) = tmp_path.glob("*.h5")
    other = Path(shutil.copy(path, tmp_path_factory.mktemp("elsewhere") / "data.h5"))
    with h5py.File(path, "r+") as file:
        frames = file["entry/data/data"][()]
        del file["entry/data/data"]
    if way == "storage":
        other.write_bytes(frames.tobytes())
    with h5py.File(path, "r+") as file:
        if way == "link":
            file["entry/data/data"] = h5py.ExternalLink(other, "entry/data/data")
        elif way == "virtual":
            layout = h5py.VirtualLayout(frames.shape, frames.dtype)
            layout[:] = h5py.VirtualSource(other, "entry/data/data", frames.shape)
            file.create_virtual_dataset("entry/data/data", layout)
        else:
            file.create_dataset("entry/data/data", frames.shape, frames.dtype, external=[(other, 0, frames.nbytes)])
    with pytest.raises(UnfilledError, match=re.escape(str(other))):
        export(docs, tmp_path, "refused", readable_roots=[tmp_path])
    export(docs, tmp_path, "allowed", readable_roots=[tmp_path, other.parent])


@pytest.mark.parametrize("text", ["../../secret", "%9999d", ["a", {"b": "%s/.."}], str(Path(__file__))])
def test_handlers_are_not_led_elsewhere(tmp_path, run_engine, text):
    docs = []
    run_engine(bp.count([hw(str(tmp_path)).img]), lambda *pair: docs.append(pair))
    docs = [(n, {**d, "resource_kwargs": {"template": text}} if n == "resource" else d) for n, d in docs]
    with pytest.raises(UnfilledError, match="'img' of event 1"):
        export(docs, tmp_path, "scan", readable_roots=[tmp_path], handler_registry={"NPY_SEQ": _opens})


def _opens(path, **kwargs):
    raise AssertionError(f"{path} was opened")


def _no_files_but(directory, opened, path, *args, **kwargs):
    assert not isinstance(path, str) or path.startswith(str(directory))
    return opened(path, *args, **kwargs)
