"""``bluesky-ext redo``."""

from __future__ import annotations

import pytest
from bluesky import RunEngine
from bluesky.plans import grid_scan

from bluesky_ext import CrystalMap, ImageProcessor, PeakTracker, Recorder, open_catalog, save
from bluesky_ext.cli.main import main
from bluesky_ext.sim import beamline


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Where a scan and its maps are recorded and saved, and the uid of the maps."""
    directory = tmp_path_factory.mktemp("redo")
    b = beamline(seed=1, shape=(96, 96), n_grains=2)
    ip, pt = ImageProcessor("dexela_image"), PeakTracker("dexela_image", 11)
    cm = CrystalMap(search_range=5)
    ip.subscribe(pt)
    pt.subscribe(cm)
    starts = []
    with (
        Recorder(directory / "raw") as raw,
        Recorder(directory / "maps") as maps,
        save(open_catalog(f"{directory}/runs")) as saver,
    ):
        run_engine = RunEngine()
        cm.subscribe(maps)
        cm.subscribe(saver)
        cm.subscribe(lambda name, doc: starts.append(doc["uid"]), "start")
        for callback in (raw, saver, ip):
            run_engine.subscribe(callback)
        run_engine(grid_scan([b.detector], b.y, -1, 1, 3, b.x, -1, 1, 3))
    return directory, starts[0]


def test_recordings_and_a_catalogue_give_the_same_again(kept, capsys, tmp_path):
    directory, uid = kept
    assert main(["redo", f"{directory}/maps", "--from", f"{directory}/raw", "--record", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"run {uid} made again gives the same\n"
    assert len(list(tmp_path.iterdir())) == 1
    for run in (uid[:8], "-1"):
        assert main(["redo", run, "--catalog", f"{directory}/runs", "--executor", "threads:2"]) == 0
        assert capsys.readouterr().out == f"run {uid} made again gives the same\n"


def test_another_parameter_is_named(kept, capsys):
    directory, uid = kept
    run = ["redo", f"{directory}/maps", "--from", f"{directory}/raw"]
    assert main([*run, "--set", "PeakTracker.diameter=9"]) == 1
    said = capsys.readouterr().out
    assert said.startswith(f"run {uid} made again gives something else\n")
    assert "PeakTracker: parameters.diameter is 9, was 11\n" in said


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--from", "{}/maps"], 1, "the raw run"),
        (["--from", "{}/raw", "--set", "PeakTracker"], 2, "give STAGE.PARAMETER=VALUE"),
        (["--from", "{}/raw", "--set", "Tracker.diameter=9"], 1, "the run went through"),
        (["--from", "{}/raw", "--known", "nowhere:Stage"], 2, "--known: "),
    ],
)
def test_what_is_wrong_is_one_line_and_an_exit_code(kept, capsys, arguments, code, said):
    directory, _ = kept
    assert main(["redo", f"{directory}/maps", *(text.format(directory) for text in arguments)]) == code
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
