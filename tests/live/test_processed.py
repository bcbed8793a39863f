"""Processed files: rows as they come, what an analysis publishes, and what goes wrong with a disk or a process."""

import logging
import signal
import subprocess
import sys
import textwrap

import bluesky.plans as bp
import h5py
import nexusformat.nexus as nx
import numpy as np
import pytest
import silx.io
from event_model import compose_run
from ophyd.sim import SynAxis, SynGauss
from silx.io import nxdata

from bluesky_ext.engine import Reduce
from bluesky_ext.engine.frames.readable import Readable, reading
from bluesky_ext.live import FloatParameter, IntParameter, LiveAnalysis, Parameters, ProcessedFile, ProcessedFiles

motor = SynAxis(name="motor")
det = SynGauss("det", motor, "motor", center=0, Imax=1)


class Curves(Reduce):
    """Publishes a curve of the readings."""

    def __init__(self, **stage):
        super().__init__(parameters={"offset": 2}, **stage)

    def begin(self, start):
        return {}

    def reduce(self, state, stream, event):
        state[event["seq_num"]] = event["data"].get("det", 0.0)

    def tree(self, state):
        curve = {"signal": np.array([*state.values()]), "x": np.arange(len(state)), "x_attrs": {"units": "mm"}}
        return {"curve": {"_attrs": {"NX_class": "NXdata", "signal": "signal", "axes": ["x"]}, **curve}}


class Scaler:
    @staticmethod
    def describe_parameters():
        return [FloatParameter("scale", 1.0, unit="mm")]

    def process_event(self, event, parameters):
        return event.data["det"] * parameters["scale"].value


class Writer:
    """A reducer that writes where the documents say."""

    def process_result(self, result):
        file = ProcessedFile(result.payload)
        file.append("n", 1, 1)
        file.close()


class Sum:
    def __init__(self):
        self.publish = {"_attrs": {"NX_class": "NXdata", "signal": "values"}, "values": [], "sum": 0.0}

    def process_result(self, result):
        values = self.publish["values"]
        values += [None] * (result.event_number - len(values))
        values[result.event_number - 1] = result.payload
        self.publish["sum"] += result.payload


def process_of(path):
    """What the NXprocess of a file says."""
    with h5py.File(path) as file:
        assert file["entry/process"].attrs["NX_class"] == "NXprocess"
        return {
            name: item.asstr()[()] if h5py.check_string_dtype(item.dtype) else item[()]
            for name, item in file["entry/process"].items()
            if isinstance(item, h5py.Dataset)
        }


def plotted(path):
    """The signal and the axes that silx opens a file with; nexusformat agrees."""
    with silx.io.open(str(path)) as file:
        plot = nxdata.get_default(file, validate=True)
        assert plot.is_valid
        found = plot.signal[()], [None if axis is None else axis[()] for axis in plot.axes]
    np.testing.assert_array_equal(nx.nxload(str(path)).plottable_data.nxsignal.nxdata, found[0])
    return found


def test_rows_of_events_in_any_order(tmp_path):
    described = Parameters([IntParameter("till_x", 2, unit="px"), FloatParameter("scale", 1.5)])
    parameters = described.changed({"till_x": "3", "poni": b"Distance: 0.1"})
    file = ProcessedFile(tmp_path / "raw.nxs", parameters, about={"program": "mine:Reducer"})
    assert file.path == tmp_path / "raw_processed.nxs"
    reused = np.empty(3, "f4")
    for number in (2, 6, 4, 3):
        reused[:] = number
        file.append("I", number, reused)
        file.append("counts", number, number, filler=-1)
        file.append("label", number, f"n{number}")
    file.append("I", 3, [7.0, 7.0, 7.0])
    file.update({"data": {"q": [0.1, 0.2, 0.3], "I_attrs": {"units": "1"}, "_attrs": {"axes": [".", "q"]}}})
    file.update({"note": "all of it"})
    path = file.close("abort", reason="enough")
    with h5py.File(path) as saved:
        data = saved["entry/data"]
        nan = [np.nan] * 3
        np.testing.assert_array_equal(data["I"], [nan, [2] * 3, [7] * 3, [4] * 3, nan, [6] * 3])
        assert (data["I"].dtype, data["I"].attrs["units"]) == (np.float32, "1")
        assert np.isnan(data["I"].attrs["filler"])
        assert data["counts"][:].tolist() == [-1, 2, 3, 4, -1, 6]
        assert (data["counts"].fillvalue, data["counts"].attrs["filler"]) == (-1, -1)
        assert data["label"].asstr()[:].tolist() == ["", "n2", "n3", "n4", "", "n6"]
        assert saved["entry/note"].asstr()[()] == "all of it"
        values = saved["entry/process/parameters"]
        assert (values["till_x"][()], values["till_x"].attrs["units"]) == (3, "px")
        assert values["till_x"].dtype == np.int64
        assert values["poni"].asstr()[()] == "Distance: 0.1"
    process = process_of(path)
    assert process["parameters_sha256"] == parameters.sha256
    assert (process["program"], process["status"], process["reason"]) == ("mine:Reducer", "abort", "enough")
    assert process["raw_file"] == str(tmp_path / "raw.nxs")
    assert plotted(path)[0].shape == (6, 3)


def test_a_value_of_another_kind_is_refused(tmp_path):
    file = ProcessedFile(tmp_path / "raw.h5")
    file.append("n", 1, 5)
    for value, said in ((0.5, "float64 of shape \\(\\), the first was int64"), ([1, 2], "of shape \\(2,\\)")):
        with pytest.raises(ValueError, match=f"/entry/data/n, row 1: this is .*{said}"):
            file.append("n", 2, value)
    with pytest.raises(ValueError, match="first_event=0"):
        file.append("n", 0, 5)
    with pytest.raises(ValueError, match="'a/b' is no name"):
        file.append("a/b", 1, 5)
    file.append("n", 2, 6)
    with h5py.File(file.close()) as saved:
        assert saved["entry/data/n"][:].tolist() == [5, 6]


def test_beside_the_raw_file_by_its_name(run_engine, tmp_path, caplog):
    analysis = Curves()
    files = ProcessedFiles(analysis)
    run_engine.subscribe(analysis)
    raw = str(tmp_path / "data" / "scan.h5")
    uids = [*run_engine(bp.scan([det], motor, -1, 1, 5), filename=raw), *run_engine(bp.count([det], 2), filename=raw)]
    with caplog.at_level(logging.INFO, "bluesky_ext"):
        run_engine(bp.count([det]), filename="")
        assert "empty filename" in caplog.text
        run_engine(bp.count([det]))
        assert "give directory=" in caplog.text
    # One that is replayed replaces its own, and no other.
    first, second = tmp_path / "data/scan_processed.h5", tmp_path / f"data/scan_processed-{uids[1][:8]}.h5"
    assert files.artifacts == [first, second]
    assert sorted((tmp_path / "data").iterdir()) == sorted([first, second])
    values, axes = plotted(first)
    assert (len(values), len(axes[0])) == (5, 5)
    assert len(plotted(second)[0]) == 2
    process = process_of(first)
    assert (process["raw_run_uid"], process["raw_file"], process["status"]) == (uids[0], raw, "success")
    assert process["program"].endswith(":Curves")
    with h5py.File(first) as file:
        assert file["entry/process/parameters/offset"][()] == 2
        assert file["entry/curve/x"].attrs["units"] == "mm"


def test_the_code_and_the_parameters_of_an_analysis(tmp_path):
    with LiveAnalysis(Scaler, Sum, parameters={"scale": 2}, workers=2) as analysis:
        files = ProcessedFiles(analysis, tmp_path, period=0.001)
        at_start = analysis.settings.sha256
        documents = runs({}, {}, {})
        for number, (name, document) in enumerate(documents):
            if number == len(documents) - 4:
                analysis.set_parameters({"scale": 4})
            analysis(name, document)
    path = files.artifacts[2]
    process = process_of(path)
    assert process["program"] == f"{__name__}:Scaler and {__name__}:Sum"
    assert process["version"] == analysis.pair.versions["commit"]
    assert (process["parameters_sha256_at_start"], process["parameters_sha256"]) == (at_start, analysis.settings.sha256)
    with h5py.File(path) as file:
        scale = file["entry/process/parameters/scale"]
        assert (scale[()], scale.attrs["units"]) == (4, "mm")
        assert file["entry/data/sum"][()] == 4
    assert plotted(path)[0].tolist() == [1, 1, 2]


def test_beside_the_file_that_the_run_names(run_engine, blob, tmp_path):
    analysis = Curves()
    files = ProcessedFiles(analysis, period=0.001)
    run_engine.subscribe(analysis)
    run_engine(bp.count([blob], 2))
    raw = next(path for path in tmp_path.glob("*.h5") if "_processed" not in path.name)
    assert files.artifacts == [raw.with_name(f"{raw.stem}_processed.h5")]
    assert process_of(files.artifacts[0])["raw_file"] == str(raw)


def runs(*starts, status="success"):
    """The documents of runs that go at the same time, and end in the order in which they began."""
    open_runs = [compose_run(metadata=start) for start in starts]
    documents = [("start", run.start_doc) for run in open_runs]
    keys = {"det": {"source": "s", "dtype": "number", "shape": []}}
    for number, run in enumerate(open_runs):
        stream = run.compose_descriptor(name="primary", data_keys=keys)
        documents += [("descriptor", stream.descriptor_doc)]
        for _ in range(number + 1):
            event = stream.compose_event(data={"det": 0.5}, timestamps={"det": 0.0})
            documents.append(("event", event))
    return [*documents, *(("stop", run.compose_stop(exit_status=status, reason="r")) for run in open_runs)]


def test_runs_at_the_same_time_and_a_run_without_its_end(tmp_path):
    analysis = Curves()
    files = ProcessedFiles(analysis, tmp_path)
    *documents, _ = runs({"filename": "/nowhere/a.h5"}, {"filename": "/nowhere/b.tif"}, {}, status="fail")
    for name, document in documents:
        analysis(name, document)
    analysis.close()
    a, b, c = files.artifacts
    assert [a.name, b.name] == ["a_processed.h5", "b_processed.h5"]
    assert c.name == f"{documents[2][1]['uid']}_processed.h5"
    assert [len(plotted(path)[0]) for path in files.artifacts] == [1, 2, 3]
    assert [process_of(path)["status"] for path in files.artifacts] == ["fail", "fail", "abort"]
    assert "closed" in process_of(c)["incomplete"]


def test_documents_of_a_server_do_not_say_where_files_go(tmp_path, caplog):
    target = tmp_path / "elsewhere"
    documents = runs({"filename": str(target / "../x\n/..evil.h5")})
    (tmp_path / "given").mkdir()
    with reading(Readable.below(())):
        for directory in (None, tmp_path / "given"):
            analysis = Curves()
            files = ProcessedFiles(analysis, directory)
            for name, document in documents:
                analysis(name, document)
            if directory is None:
                assert "give directory=" in caplog.text
        with LiveAnalysis(type("W", (), {"process_event": lambda self, event: event.start}), Writer) as analysis:
            for name, document in documents:
                analysis(name, document)
            assert analysis.stats.failed == 0
        analysis = files.analysis
    assert not target.exists()
    (path,) = files.artifacts
    assert path.parent == tmp_path / "given"
    assert [one.name for one in tmp_path.iterdir()] == ["given"]
    # A link that leads out is no way out.
    for link in (path, path.with_name(f"{path.name}.tmp")):
        path.unlink(missing_ok=True)
        link.symlink_to(tmp_path / "out.h5")
        for name, document in documents:
            analysis(name, document)
        link.unlink()
        assert "is not written: OSError" in caplog.text
        caplog.clear()
        assert not (tmp_path / "out.h5").exists()


def program(code, *arguments):
    """Run a program that has these tests' classes."""
    prelude = f"import sys; sys.path.insert(0, {str(__file__).rpartition('/')[0]!r}); from test_processed import *\n"
    command = [sys.executable, "-c", prelude + textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)


@pytest.mark.parametrize(("end", "code"), [("os.kill(os.getpid(), 9)", -signal.SIGKILL), ("", 0)])
def test_a_process_that_ends_before_its_run_leaves_what_was_published(end, code, tmp_path):
    ended = program(
        """
        import os, time
        from pathlib import Path
        analysis = Curves()
        ProcessedFiles(analysis, period=0.01)
        tmp = Path(sys.argv[1] + "_processed.h5.tmp")
        def length():
            try:
                with h5py.File(tmp, locking=False) as file:
                    return len(file["entry/curve/signal"])
            except (OSError, KeyError, RuntimeError):
                return 0
        for name, document in runs({}, {}, {"filename": sys.argv[1] + ".h5"})[:-1]:
            analysis(name, document)
            while name == "event" and document["seq_num"] == 3 and length() < 3:
                time.sleep(0.01)
        exec(sys.argv[2])
        """,
        tmp_path / "raw",
        end,
    )
    assert ended.returncode == code, ended.stderr
    (left,) = tmp_path.iterdir()
    assert left.name == "raw_processed.h5.tmp"
    assert plotted(left)[0].tolist() == [0.5] * 3
    assert process_of(left)["status"] == "running"


def test_a_full_disk_costs_the_run_nothing_and_is_tried_again_at_the_stop(tmp_path):
    full = program(
        """
        import resource, time
        class Images(Curves):
            def tree(self, state):
                return {"image": np.full((len(state), 512, 512), 7.0)}
        logging.basicConfig(format="%(message)s")
        analysis = Images(on_error="raise")
        files = ProcessedFiles(analysis, sys.argv[1], period=0.01)
        log = logging.getLogger("bluesky_ext.live.processed.processed_files")
        failed = []
        log.addFilter(lambda record: failed.append(record) or True)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
        for end, length in ((False, hard), (True, 1_000_000)):
            failed.clear()
            for name, document in runs({"filename": f"{end}.h5"}):
                while name == "stop" and not failed:
                    time.sleep(0.01)
                if name == "stop":
                    resource.setrlimit(resource.RLIMIT_FSIZE, (length, hard))
                analysis(name, document)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
        print([path.name for path in files.artifacts])
        """,
        tmp_path,
    )
    assert full.returncode == 0, full.stderr
    assert full.stdout == "['False_processed.h5']\n"
    lines = full.stderr.splitlines()
    assert len(lines) == 2
    assert all("is not written: OSError: [Errno 27] File too large: " in line for line in lines)
    with h5py.File(tmp_path / "False_processed.h5") as file:
        assert (file["entry/image"][:] == 7).all()
