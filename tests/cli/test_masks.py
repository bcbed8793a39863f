from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import tifffile

pytest.importorskip("tiled.server.app")

from bluesky_ext.cli import main
from bluesky_ext.masks import MaskClient

SHAPE = (6, 10)


@pytest.fixture(scope="module")
def mask():
    mask = np.ones(SHAPE, bool)
    mask[:3, :5] = False
    return mask


@pytest.fixture
def run_in(monkeypatch, capsys):
    """Run a command on the catalogue in a directory; its exit code, and the lines it printed and complained with."""

    def run(directory, *arguments):
        monkeypatch.setenv("BLUESKY_EXT_CATALOG", str(directory / "catalog"))
        monkeypatch.chdir(directory)
        try:
            code = main(["masks", *map(str, arguments)])
        except SystemExit as stopped:
            code = stopped.code
        said = capsys.readouterr()
        complaints = [line for line in said.err.splitlines() if line.startswith("bluesky-ext masks")]
        return code, said.out.splitlines(), complaints

    return run


@pytest.fixture
def run(run_in, tmp_path, mask):
    """The same on a catalogue of its own."""
    np.save(tmp_path / "mask.npy", mask)
    return partial(run_in, tmp_path)


@pytest.fixture(scope="module")
def filled(tmp_path_factory, mask):
    """A directory with a catalogue of one mask, which stays as it is when all that comes is refused."""
    directory = tmp_path_factory.mktemp("filled")
    np.save(directory / "mask.npy", mask)
    np.save(directory / "floats.npy", np.ones(SHAPE))
    with MaskClient.embedded(directory / "catalog", detector_shapes={"det": SHAPE}) as masks:
        masks.register_mask("det", "there", mask)
    return directory


REGISTER = ("register", "mask.npy", "--detector", "det", "--name", "Röntgen")


def test_a_mask_is_registered_listed_got_shown_and_deleted(run, mask, tmp_path):
    code, (uid,), _ = run(*REGISTER, "--shape", "6x10", "--metadata", '{"sample": "Ni", "edges": [1, {"of": 2}]}')
    assert code == 0
    _, (second,), _ = run(*REGISTER, "--shape", "6x10", "--version", "next")
    assert run("list") == (0, ["det\tRöntgen\t0", "det\tRöntgen\t1"], [])
    assert run("list", "--detector", "other") == (0, [], [])
    _, lines, _ = run("list", "--json", "--name", "Röntgen")
    known = {item["uid"]: item for item in json.loads("\n".join(lines))}
    assert known.keys() == {uid, second}
    assert (known[uid]["version"], known[uid]["sample"], known[uid]["edges"]) == (0, "Ni", [1, {"of": 2}])

    assert run("get", "det", "Röntgen", "--version", "0", "-o", "out.npy") == (0, [uid], [])
    np.testing.assert_array_equal(np.load("out.npy"), mask)
    assert run("get", "det", "Röntgen", "-o", "out.tif") == (0, [second], [])
    np.testing.assert_array_equal(tifffile.imread("out.tif"), np.where(mask, 255, 0))

    code, lines, _ = run("show", "det", "Röntgen")
    assert (code, lines[0]) == (0, f"det Röntgen 1: 6 x 10 pixels, 25 % masked, uid {second}")
    assert [len(line) for line in lines[1:]] == [12] * 5
    assert lines[2][1:6].strip() == lines[2][1:6] != ""
    assert lines[4] == f"|{' ' * 10}|"

    assert run("delete", "det", "Röntgen", "--version", "0") == (0, [], [])
    assert run("list")[1] == ["det\tRöntgen\t1"]


def test_a_mask_is_drawn_to_a_picture(run, mask):
    image = pytest.importorskip("matplotlib.image")
    run(*REGISTER, "--shape", "6x10")
    assert run("show", "det", "Röntgen", "-o", "mask.png")[0] == 0
    np.testing.assert_array_equal(image.imread("mask.png")[..., 0], mask.astype(float))


def test_lists_of_pixels_and_numbers_are_masks_if_that_is_said(run, tmp_path):
    np.save(tmp_path / "pixels.npy", [0, 59])
    np.save(tmp_path / "numbers.npy", np.arange(60).reshape(SHAPE))
    assert run("register", "pixels.npy", "--pixels", "--detector", "d", "--name", "p", "--shape", "6x10")[0] == 0
    assert run("register", "numbers.npy", "--nonzero", "--detector", "d", "--name", "n", "--shape", "6x10")[0] == 0
    with MaskClient.embedded(tmp_path / "catalog") as masks:
        assert np.flatnonzero(~masks.get_mask("d", "p")[1].compute()).tolist() == [0, 59]
        assert np.flatnonzero(~masks.get_mask("d", "n")[1].compute()).tolist() == [0]


def test_a_catalogue_may_be_named_and_one_that_is_not_there_is_not_made(run, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    code, _, (complaint,) = run("list", "--catalog", elsewhere)
    assert code == 1
    assert str(elsewhere) in complaint
    assert not elsewhere.exists()
    assert run(*REGISTER, "--shape", "6x10", "--catalog", elsewhere)[0] == 0
    assert run("list", "--catalog", elsewhere)[1] == ["det\tRöntgen\t0"]
    assert run("--catalog", elsewhere, "list")[1] == ["det\tRöntgen\t0"]
    assert run("--catalog", tmp_path / "nowhere", "list", "--catalog", elsewhere)[1] == ["det\tRöntgen\t0"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (REGISTER, 1, "give the --shape of its images, as in --shape 6x10"),
        ((*REGISTER, "--shape", "10x6"), 1, "(10, 6)"),
        ((*REGISTER, "--shape", "6by10"), 2, "'6by10' is no shape"),
        ((*REGISTER, "--version", "-1"), 2, "version"),
        ((*REGISTER, "--version", "2.5"), 2, "'2.5' is no version"),
        ((*REGISTER, "--metadata", "[1]"), 2, "is no JSON object"),
        (("register", "none.npy", "--detector", "det", "--name", "x"), 1, "none.npy"),
        (("register", "floats.npy", "--detector", "det", "--name", "x"), 1, "give --nonzero if zero is masked"),
        (("get", "det", "none", "-o", "x.npy"), 1, "there is no mask 'none' of detector 'det'"),
        (("get", "det", "there", "-o", "x.jpg"), 1, "x.jpg: masks are written to"),
        (("delete", "det", "there"), 2, "--version"),
        (("delete", "det", "there", "--version", "7"), 1, "has version 7: there are 0"),
        (("show", "det", "there", "--width", "1"), 2, "'1' is no width"),
        (("show", "det", "there", "-o", "x.svg"), 1, "x.svg: masks are drawn to .png"),
        (("register", "mask.npy", "--detector", "det", "--name", "there", "--shape", "6x10"), 1, "version 0, exists"),
        ((), 2, "ACTION"),
    ],
)
def test_what_is_wrong_is_one_line_and_an_exit_code(run_in, filled, arguments, code, words):
    found, _, complaints = run_in(filled, *arguments)
    assert found == code
    assert len(complaints) == 1
    assert words in complaints[0]


def test_help_says_what_one_must_know(run):
    code, lines, _ = run("--help")
    said = "\n".join(lines)
    assert code == 0
    assert all(
        word in said for word in ("register", "show", "$BLUESKY_EXT_CATALOG", "exit codes", "--detector eiger4m")
    )
