"""What can go wrong on a machine: a full disk, a kill, two processes. Real ones, in processes of their own."""

import json
import signal
import subprocess
import sys
import textwrap

import h5py
import numpy as np
import pytest

from suitcase_nxstxm import export_scan, finish_export

PRELUDE = """
import json, os, resource, sys
import numpy as np
from suitcase_nxstxm import NXstxmWriter, Serializer, export, export_scan, finish_export
runs = json.load(open(sys.argv[1]))
out = sys.argv[2]
"""


@pytest.fixture
def process(tmp_path):
    """Start a program with the documents in a file: it gets `runs` and `out`."""
    started = []

    def start(program, runs, directory=None):
        path = tmp_path / "runs.json"
        path.write_text(json.dumps(runs, default=lambda a: a.tolist()))
        directory = directory or tmp_path / "out"
        directory.mkdir(exist_ok=True)
        command = [sys.executable, "-c", PRELUDE + textwrap.dedent(program), str(path), str(directory)]
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


@pytest.fixture
def killed(process):
    """Kill a program when it has written all that it writes."""

    def killed(program, runs):
        child = process(textwrap.dedent(program) + 'print("written", flush=True)\nsys.stdin.read()', runs)
        assert child.stdout.readline() == "written\n"
        child.send_signal(signal.SIGKILL)
        assert child.wait(10) == -signal.SIGKILL

    return killed


def names(directory):
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture
def stack(stxm):
    """A stack of large planes in lines."""
    x, y, energies = np.arange(300.0), np.arange(200.0), [700.0, 701.0, 702.0]
    data = stxm.numbers(3, 200, 300)
    asked = {"0": stxm.region(x, y, energies)}
    keys = {"counter0_wave": stxm.key("counter0", "array", [300], "counts")}
    runs = []
    for e in range(3):
        start = {"metadata": stxm.metadata(7, asked, {"e_idx": e})}
        runs.append(stxm.run(start, keys, [{"counter0_wave": line} for line in data[e]], baseline=e == 0))
    return runs, data


@pytest.mark.parametrize(
    ("limit", "way"), [(1_000, "export"), (60_000, "writer"), (600_000, "export"), (600_000, "writer")]
)
def test_a_full_disk_is_said_and_leaves_no_final_file(process, stack, tmp_path, limit, way):
    runs, _ = stack
    how = {
        "export": """
            for docs in runs:
                export(docs, out, file_prefix="C1", first_uid=runs[0][0][1]["uid"])
            finish_export(out, "C1", runs[0][0][1]["uid"])
        """,
        "writer": """
            writer = NXstxmWriter(out, "C1", on_error="raise")
            for docs in runs:
                for name, doc in docs:
                    writer(name, doc)
            writer.finish()
        """,
    }[way]
    program = f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n" + textwrap.dedent(how)
    child = process(program, runs)
    _, errors = child.communicate(timeout=50)
    assert child.returncode == 1, errors
    # One line, the last one: raised, and not printed by HDF5 at the end of the process.
    assert errors.splitlines()[-1].startswith("OSError: [Errno 27] File too large:"), errors
    assert "ignored" not in errors, errors
    assert sum(line.startswith("OSError") for line in errors.splitlines()) == 1, errors
    assert not list((tmp_path / "out").glob("*.hdf5"))


def test_a_kill_leaves_what_came(killed, stack, tmp_path):
    runs, data = stack
    killed(
        """
        first = Serializer(out, "C1", runs[0][0][1]["uid"])
        for name, doc in runs[0]:
            first(name, doc)
        second = Serializer(out, "C1", runs[0][0][1]["uid"])
        for name, doc in runs[1][:52]:
            second(name, doc)
        """,
        runs,
    )
    path = finish_export(tmp_path / "out", "C1", runs[0][0][1]["uid"], set_aside=True)
    assert names(tmp_path / "out") == [path.name]
    with h5py.File(path) as file:
        found = file["entry0/counter0/data"][()]
        assert file["entry0/counter0/data"].chunks == (1, 200, 300)
        assert file["entry0/counter0/data"].compression == "gzip"
    np.testing.assert_array_equal(found[0], data[0])
    np.testing.assert_array_equal(found[1, :50], data[1, :50])
    assert np.isnan(found[1, 50:]).all()
    assert np.isnan(found[2]).all()


def test_a_killed_export_is_taken_up(killed, stack, tmp_path, read):
    runs, data = stack
    killed(
        """
        writer = NXstxmWriter(out, "C1")
        for name, doc in runs[0] + runs[1][:100]:
            writer(name, doc)
        """,
        runs,
    )
    assert not list((tmp_path / "out").glob("*.hdf5"))
    found = read(export_scan(runs, tmp_path / "out", "C1"))
    assert names(tmp_path / "out") == ["C1.hdf5"]
    np.testing.assert_array_equal(found["entry0/counter0/data"], data)
    np.testing.assert_array_equal(found["entry0/instrument/counter0/data"], data.ravel())
    assert found["entry0/collection/runs"]["uid"].tolist() == [docs[0][1]["uid"].encode() for docs in runs]


def test_two_processes_with_one_name(process, stxm, tmp_path, read):
    case = stxm.make("sample image")
    program = """
        print("ready", flush=True)
        sys.stdin.readline()
        try:
            print(export_scan(runs, out, "C1"), flush=True)
        except OSError as error:
            print(type(error).__name__, flush=True)
        """
    for _ in range(2):
        children = [process(program, case.runs) for _ in range(2)]
        for child in children:
            assert child.stdout.readline() == "ready\n"
        for child in children:
            child.stdin.write("go\n")
            child.stdin.flush()
        said = sorted(child.communicate(timeout=30)[0].strip() for child in children)
        final = tmp_path / "out" / "C1.hdf5"
        assert said[0] == str(final)
        assert said[1] in ("BusyError", "FinalFileExistsError", "NothingToFinishError")
        assert names(tmp_path / "out") == ["C1.hdf5"]
        np.testing.assert_array_equal(read(final)["entry0/counter0/data"], case.data["entry0"])
        final.unlink()


def test_an_exception_in_the_middle_of_the_documents(stxm, tmp_path, read):
    case = stxm.make("sample image")
    (docs,) = case.runs

    def breaking():
        yield from docs[:6]
        raise ConnectionError("the database has gone")

    with pytest.raises(ConnectionError, match="the database has gone"):
        export_scan([breaking()], tmp_path, "C1")
    assert not list(tmp_path.glob("*.hdf5"))
    found = read(finish_export(tmp_path, "C1", docs[0][1]["uid"], set_aside=True))["entry0/counter0/data"]
    np.testing.assert_array_equal(found[:2], case.data["entry0"][:2])
