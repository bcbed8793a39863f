"""``bluesky-ext replay -w ... -r ...``, in the shape in which users of dranspose develop."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import event_model
import h5py
import numpy as np
import pytest

from bluesky_ext import Recorder
from bluesky_ext.cli import main

WORKER = """
import logging
from dataclasses import dataclass

import numpy as np
{imports}

logger = logging.getLogger(__name__)


@dataclass
class Start:
    filename: str


@dataclass
class Result:
    intensity: float


class TestWorker:
    def __init__(self, *args, **kwargs):
        pass

    @staticmethod
    def describe_parameters():
        return [IntParameter(name="till_x", default=2), IntParameter(name="from_y", default=8)]

    def process_event(self, event, *args, parameters=None, **kwargs):
{process}
            intensity = np.mean(image[: parameters["till_x"].value, parameters["from_y"].value :])
            logger.debug("intensity is %f", intensity)
            return Result(intensity)


class Fails(TestWorker):
    def process_event(self, event, *args, parameters=None, **kwargs):
        if event.event_number == 2:
            raise ValueError("no such pixel")
"""

#: The same on Bluesky's documents, and on a capture with dranspose's own classes.
DOCUMENTS = {
    "imports": "from bluesky_ext.live import IntParameter",
    "process": """\
        if event.event_number == 1:
            return Start(event.start["filename"])
        else:
            image = event.data["xrd"]""",
}
CAPTURE = {
    "imports": """\
from dranspose.data.stream1 import Stream1Data, Stream1Start
from dranspose.event import EventData
from dranspose.middlewares.stream1 import parse
from dranspose.parameters import IntParameter""",
    "process": """\
        assert type(event) is EventData
        acq = parse(event.streams["xrd"])
        if isinstance(acq, Stream1Start):
            return Start(acq.filename)
        elif isinstance(acq, Stream1Data):
            image = acq.data""",
}

REDUCER = """
import logging
import os

import h5py
import numpy as np

from .worker import Result, Start

logger = logging.getLogger(__name__)


class TestReducer:
    def __init__(self, *args, **kwargs):
        self.publish = {"seen": [], "seen_attrs": {"units": "counts"}}
        self._fh = None

    def process_result(self, result, parameters=None):
        if isinstance(result.payload, Start):
            if self._fh is None:
                name, ext = os.path.splitext(result.payload.filename)
                os.makedirs(os.path.dirname(name), exist_ok=True)
                self._fh = h5py.File(f"{name}_processed{ext}", "w")
                self._dset = self._fh.create_dataset("reduced", (0,), maxshape=(None,), dtype=np.float32)
                self._fh.create_dataset("till_x", data=parameters["till_x"].value)
        elif isinstance(result.payload, Result):
            self._dset.resize(max(1 + result.event_number, len(self._dset)), axis=0)
            self._dset[result.event_number] = result.payload.intensity
            self.publish["seen"].append(result.payload.intensity)

    def finish(self, parameters=None):
        logger.info("%d were seen", len(self.publish["seen"]))
        if self._fh is not None:
            self._fh.close()


class Fails(TestReducer):
    def process_result(self, result, parameters=None):
        np.zeros(3).reshape(2, 2)
"""

IMAGES = np.random.default_rng(0).integers(0, 20, (9, 10, 10)).astype(np.uint16)


def pair(directory: Path, form: dict[str, str] = DOCUMENTS) -> list[str]:
    """The modules of a user, in a folder without ``__init__.py``; how the command is told of them."""
    (directory / "src").mkdir()
    (directory / "src" / "worker.py").write_text(WORKER.format(**form))
    (directory / "src" / "reducer.py").write_text(REDUCER)
    return ["-w", "src.worker:TestWorker", "-r", "src.reducer:TestReducer"]


def recording(directory: Path) -> str:
    """A run whose first event is a start alone, as a capture's is."""
    bundle = event_model.compose_run(metadata={"filename": "output/xrd.h5"})
    keys = {"xrd": {"source": "sim", "dtype": "array", "shape": [10, 10], "dtype_numpy": "<u2"}}
    stream = bundle.compose_descriptor(name="primary", data_keys=keys)
    docs = [("start", bundle.start_doc), ("descriptor", stream.descriptor_doc)]
    docs += [
        ("event", stream.compose_event(data={"xrd": image}, timestamps={"xrd": 0.0})) for image in [IMAGES[0], *IMAGES]
    ]
    with Recorder(directory, file_prefix="run") as recorder:
        for name, doc in [*docs, ("stop", bundle.compose_stop())]:
            recorder(name, doc)
    return "run.bsrec"


def replay(directory: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # -P: as a console script, it does not find what is in the working directory by itself
    command = [sys.executable, "-P", "-m", "bluesky_ext", "replay", *arguments]
    paths = {"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "", "NUMBA_CACHE_DIR": str(directory)}
    return subprocess.run(
        command, cwd=directory, env=paths | environment, capture_output=True, text=True, timeout=55, check=False
    )


def test_a_pair_is_developed_on_a_recording(tmp_path):
    arguments = [*pair(tmp_path), "-f", recording(tmp_path)]
    (tmp_path / "params.json").write_text(
        json.dumps([{"name": "till_x", "data": "3"}, {"name": "from_y", "data": "7"}])
    )
    done = replay(tmp_path, *arguments, "--save", "out.h5")
    assert (done.returncode, done.stdout) == (0, "")
    assert "INFO:src.reducer:9 were seen\n" in done.stderr
    assert "DEBUG" not in done.stderr
    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_allclose(file["seen"], IMAGES[:, :2, 8:].mean((1, 2)))
        assert file["seen"].attrs["units"] == "counts"
    done = replay(tmp_path, *arguments, "-p", "params.json", "--set", "from_y=6", "--nworkers", "3", LOG_LEVEL="DEBUG")
    assert done.returncode == 0, done.stderr
    assert f"DEBUG:src.worker:intensity is {IMAGES[0, :3, 6:].mean():f}\n" in done.stderr
    with h5py.File(tmp_path / "output" / "xrd_processed.h5") as file:
        np.testing.assert_allclose(file["reduced"][2:], IMAGES[:, :3, 6:].mean((1, 2)), rtol=1e-6)
        assert file["till_x"][()] == 3


def test_a_pair_of_dranspose_runs_as_it_is(tmp_path):
    pytest.importorskip("dranspose", reason="it comes with the extra dranspose")
    import cbor2

    header = {"htype": "image", "shape": [10, 10], "type": "uint16", "compression": "none"}
    frames = [[json.dumps({"htype": "header", "filename": "output/xrd.h5", "msg_number": 0}).encode()]]
    for number, image in enumerate(IMAGES):
        frames.append([json.dumps({**header, "frame": number, "msg_number": number + 1}).encode(), image.tobytes()])
    frames.append([b'{"htype": "series_end", "msg_number": 10}'])
    messages = [[number, {"xrd": cbor2.CBORTag(42878, ["STINS", some])}] for number, some in enumerate(frames)]
    content = b"".join(cbor2.dumps(cbor2.CBORTag(42877, message)) for message in messages)
    (tmp_path / "xrd.cbors").write_bytes(content)
    done = replay(tmp_path, *pair(tmp_path, CAPTURE), "-f", "xrd.cbors", "--set", "till_x=3")
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "output" / "xrd_processed.h5") as file:
        np.testing.assert_allclose(file["reduced"][1:], IMAGES[:, :3, 8:].mean((1, 2)), rtol=1e-6)
        assert file["till_x"].dtype == np.int64


def test_what_fails_names_the_line_and_is_an_exit_code(tmp_path):
    worker, reducer = pair(tmp_path)[1::2]
    run = ["-f", recording(tmp_path)]
    done = replay(tmp_path, "-w", "src.worker:Fails", "-r", reducer, *run)
    line = WORKER.format(**DOCUMENTS).splitlines().index('            raise ValueError("no such pixel")') + 1
    assert done.returncode == 1
    assert f"event 2, stream 'primary': ValueError: no such pixel (worker.py:{line}, in process_event)" in done.stderr
    assert "10 events, 1 failed in the worker" in done.stderr
    done = replay(tmp_path, "-w", worker, "-r", "src.reducer:Fails", *run)
    assert done.returncode == 1
    assert done.stderr.startswith('Traceback (most recent call last):\n  File "')
    assert "src/reducer.py" in done.stderr.splitlines()[1]
    assert "cannot reshape array" in done.stderr.splitlines()[-1]
    (tmp_path / "src" / "bad.py").write_text("import os\n\nimport no_such_library\n")
    for name, said in {
        "src.bad:Worker": "src/bad.py:3: ModuleNotFoundError: No module named 'no_such_library'",
        "src.nowhere:Worker": "there is no module src.nowhere, for src.nowhere:Worker",
        "src.worker:Nobody": "there is no Nobody in src.worker: it has Start, Result, TestWorker, Fails",
    }.items():
        done = replay(tmp_path, "-w", name, "-r", reducer, *run)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert said in done.stderr


@pytest.mark.parametrize("executor", ["threads:2", "processes:2"])
def test_a_worker_that_hangs_does_not_keep_the_command_from_ending(executor, start, tmp_path):
    (tmp_path / "hangs.py").write_text(
        "import sys, threading\n\n\nclass Worker:\n    def process_event(self, event):\n"
        "        print('at work', file=sys.stderr, flush=True)\n        threading.Event().wait()\n\n\n"
        "class Reducer:\n    def process_result(self, result):\n        pass\n"
    )
    options = ["-w", "hangs:Worker", "-r", "hangs:Reducer", "--executor", executor]
    command = start("replay", recording(tmp_path), *options)
    command.wait_for("at work")
    assert command.end(signal.SIGINT) == 130


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-w", "a:A"], "give both -w and -r"),
        (["-w", "a:A", "-r", "b:B"], "it does not say what to replay"),
        (["-w", "a:A", "-r", "b:B", "run.bsrec", "-s", "c:C"], "it does not say what to replay"),
        (["-w", "a:A", "-r", "b:B", "run.bsrec", "--at", "localhost:5568"], "--at is not for an analysis of your own"),
        (["-w", "a:A", "-r", "b:B", "run.bsrec", "--nworkers", "0"], "--nworkers 0: give a number above 0"),
        (["run.bsrec"], "it does not say where to: give one of --at, --to, --pipeline and --into, or -w and -r"),
    ],
)
def test_a_command_that_is_not_understood_says_what_to_give(arguments, message, capsys):
    assert main(["replay", *arguments]) == 2
    assert message in capsys.readouterr().err
