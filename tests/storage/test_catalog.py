from __future__ import annotations

import copy
import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from bluesky_tiled_plugins import TiledWriter
from programs import open_as_nobody, open_at_once
from runs import feed, streamed_run, uid_of
from servers import KEY, PROCESSES, run
from tiled.profiles import load_profiles

from bluesky_ext.storage import close_catalog, open_catalog


def test_the_room_is_light_to_import() -> None:
    program = "import sys, bluesky_ext.storage; print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"tiled", "bluesky_tiled_plugins", "sqlalchemy", "pyarrow", "xarray"} & {*answer.stdout.split()}


def test_a_directory_becomes_a_catalogue_and_is_one_again(tmp_path) -> None:
    directory = tmp_path / "new" / "catalog"
    client = open_catalog(str(directory))
    array = np.arange(6, dtype="u2").reshape(2, 3)
    client.write_array(array, key="array", metadata={"a": 1})
    close_catalog(client)
    close_catalog(client)
    with pytest.raises(RuntimeError, match="closed"):
        len(client)
    client = open_catalog(directory, structure_clients="numpy")
    assert [*client] == ["array"]
    back = client["array"].read()
    assert back.dtype == np.uint16
    assert np.array_equal(back, array)
    close_catalog(client)


def test_a_path_from_the_home_directory(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    close_catalog(open_catalog("~/catalog"))
    assert (tmp_path / "catalog" / "catalog.db").is_file()


def test_a_catalogue_is_for_its_owner_alone(tmp_path, mask) -> None:
    directory = tmp_path / "catalog"
    client = open_catalog(directory)
    client.write_array(np.arange(3), key="array")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (directory, *directory.iterdir())}
    close_catalog(client)
    assert modes.pop("catalog") == modes.pop("data") == modes.pop("images") == 0o700
    assert {"catalog.db", "tables.db"} <= {*modes}
    assert {*modes.values()} == {0o600}


def test_several_processes_make_it_at_once(tmp_path) -> None:
    directory, barrier = tmp_path / "catalog", PROCESSES.Barrier(3)
    with ThreadPoolExecutor(3) as pool:
        racers = [pool.submit(run, open_at_once, directory, barrier, log=tmp_path / f"log{n}") for n in range(3)]
    assert [racer.result()[0] for racer in racers] == [0] * 3, [racer.result() for racer in racers]
    client = open_catalog(directory)
    assert len(client) == 9
    close_catalog(client)
    assert not [path for path in directory.iterdir() if path.name.startswith(".")]


def test_a_client_is_passed_through(embedded) -> None:
    assert open_catalog(embedded) is embedded
    inner = embedded.create_container()
    assert open_catalog(inner) is inner
    with pytest.raises(ValueError, match="takes none"):
        open_catalog(embedded, api_key="k")


def test_a_server_with_its_key(served) -> None:
    client = open_catalog(str(served.context.api_uri), api_key=KEY)
    assert client.uri == served.uri
    close_catalog(client)


def test_a_wrong_key_is_refused_in_a_line(served) -> None:
    with pytest.raises(OSError, match="is the server running, and the key right") as error:
        open_catalog(str(served.context.api_uri), api_key="wrong")
    assert "\n" not in str(error.value)
    assert "401" in str(error.value)
    assert "wrong" not in str(error.value)


def test_a_profile(served, tmp_path, monkeypatch) -> None:
    (tmp_path / "profiles.yml").write_text(f"beamline:\n  uri: {served.context.api_uri}\n")
    monkeypatch.setattr("tiled.profiles.paths", [tmp_path])
    load_profiles.cache_clear()
    client = open_catalog("beamline", api_key=KEY)
    assert client.uri == served.uri
    close_catalog(client)
    with pytest.raises(LookupError, match=r"no profile 'bemline' of Tiled \(beamline\).*write './bemline'"):
        open_catalog("bemline")


@pytest.mark.parametrize(
    ("where", "options", "error", "message"),
    [
        (3, {}, TypeError, "builtins.int is no catalogue: give a directory, an address"),
        (None, {}, TypeError, "builtins.NoneType is no catalogue"),
        ("http://tiled.org?api_key=secret", {}, ValueError, "the address http://tiled.org contains its key"),
        ("./catalog", {"api_key": "k"}, ValueError, "api_key is for servers, and an embedded catalogue takes none"),
        ("./catalog", {"structure_clients": "np"}, ValueError, "structure_clients 'np': choose"),
        ("http://127.0.0.1:9/api/v1", {}, OSError, "http://127.0.0.1:9/api/v1 could not be opened .*refused"),
    ],
    ids=["int", "none", "key in address", "key for directory", "structure_clients", "no server"],
)
def test_what_is_no_catalogue_is_refused_in_a_line(where, options, error, message, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message) as raised:
        open_catalog(where, **options)
    assert "\n" not in str(raised.value)
    assert "secret" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_a_directory_that_is_something_else(tmp_path) -> None:
    path = tmp_path / "catalog.db"
    path.write_text("not a database")
    with pytest.raises(FileExistsError, match=f"the catalogue {path} needs a directory") as error:
        open_catalog(path)
    assert "\n" not in str(error.value)
    with pytest.raises(OSError, match=f"{tmp_path} could not be opened .*not a database") as error:
        open_catalog(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("made", [True, False], ids=["there", "new"])
def test_a_directory_that_cannot_be_written_to(made, tmp_path) -> None:
    directory = tmp_path / "catalog"
    if made:
        close_catalog(open_catalog(directory))
        # To be read by all, so that writing is what fails.
        for path in (directory, *directory.iterdir()):
            path.chmod(0o755)
    for path in (tmp_path, *tmp_path.parents[:-1]):
        if path.name.startswith("pytest"):
            path.chmod(0o755)
    _, said = run(open_as_nobody, directory, log=tmp_path / "log")
    (line,) = [line for line in said.splitlines() if "refused with" in line]
    assert line.startswith("refused with PermissionError: [Errno 13] Permission denied")
    assert f"the catalogue {directory} needs a directory that you may write to" in line


def test_without_the_extra_the_error_names_it(monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, "tiled.client", None)
    for where in (tmp_path / "catalog", "http://localhost:8000", "profile"):
        with pytest.raises(ImportError, match=r"pip install 'bluesky-ext\[tiled\]'"):
            open_catalog(where)
    assert not (tmp_path / "catalog").exists()


def test_files_of_detectors_elsewhere_can_be_registered(tmp_path) -> None:
    frames = np.arange(8, dtype="u2").reshape(2, 2, 2)
    docs = streamed_run(tmp_path / "images.h5", frames, [{"x": 0.0}, {"x": 1.0}])

    def image(**options: Any) -> Any:
        client = open_catalog(tmp_path / f"catalog{len(options)}", structure_clients="numpy", **options)
        feed(TiledWriter(client), copy.deepcopy(docs))
        image = client[uid_of(docs)]["primary/image"].read()
        close_catalog(client)
        return image

    assert image().tolist() == frames.tolist()
    # The server refuses to serve, or to register, what is outside of its readable storage.
    with pytest.raises(httpx.HTTPStatusError):
        image(readable_storage=[tmp_path / "other"])


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("/tmp/what?/catalog", r"has '\?' in it: give it another name"),
        ("/tmp/what\n/catalog", r"has '\\n'"),
        ("/tmp/what\0", r"has '\\x00'"),
        ("~nosuchuser/catalog", "there is no user of that name"),
        ("http://me:hidden@127.0.0.1:9/api", "the address of 127.0.0.1:9 contains a password"),
        ("http://127.0.0.1:9?API_KEY=hidden", "contains its key"),
    ],
)
def test_names_that_would_make_trouble_are_refused(where, message) -> None:
    with pytest.raises(ValueError, match=message) as error:
        open_catalog(where)
    assert "\n" not in str(error.value)
    assert "hidden" not in str(error.value)


def test_a_locked_database_is_said_in_a_line(tmp_path, impatient) -> None:
    close_catalog(open_catalog(tmp_path / "catalog"))
    lock = sqlite3.connect(tmp_path / "catalog" / "catalog.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    with pytest.raises(OSError, match=r"could not be opened \(database is locked\): another program") as error:
        open_catalog(tmp_path / "catalog")
    lock.close()
    assert "SELECT" not in str(error.value)
    assert "\n" not in str(error.value)
