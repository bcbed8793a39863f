"""Images in HDF5 files beside a catalogue."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from runs import Docs, assert_same, feed, flushed, images, run_of, saved, uid_of
from servers import KEY, Server

from bluesky_ext import Recording
from bluesky_ext.storage import close_catalog, documents, open_catalog, read, save


@pytest.fixture
def docs() -> Docs:
    return run_of([{"camera": images("u2", n, (64, 64)), "x": float(n)} for n in range(4)])


def stack(docs: Docs) -> np.ndarray:
    return np.stack([document["data"]["camera"] for name, document in docs if name == "event"])


def files(directory: Path, docs: Docs) -> list[Path]:
    return [*directory.glob(f"{uid_of(docs)}-*.h5")]


def test_images_are_in_a_file_that_every_client_is_told_of(tmp_path, docs) -> None:
    catalog = open_catalog(tmp_path / "catalog")
    run = saved(catalog, docs, tmp_path / "backup")
    (path,) = files(tmp_path / "catalog" / "images", docs)
    with h5py.File(path) as file:
        assert file["streams/primary/camera"][:].tobytes() == stack(docs).tobytes()
    # Other clients of Tiled, and the documents that those of Bluesky make of it.
    assert run["primary/camera"][:].compute().tobytes() == stack(docs).tobytes()
    (resource,) = [document for name, document in run.documents() if name == "stream_resource"]
    assert resource["uri"] == f"file://localhost{path}"
    assert resource["parameters"]["dataset"] == "/streams/primary/camera"
    (datum,) = [document for name, document in run.documents() if name == "stream_datum"]
    assert datum["indices"] == {"start": 0, "stop": 4}
    described = run["primary"].metadata["data_keys"]["camera"]
    assert (described["external"], described["dtype_numpy"], described["shape"]) == ("STREAM:", "<u2", [64, 64])
    # Without the log, they are put together from what all clients see.
    catalog["documents"][uid_of(docs)].delete()
    back = [document["data"] for name, document in documents(run) if name == "event"]
    assert [data["x"] for data in back] == [0.0, 1.0, 2.0, 3.0]
    assert np.stack([data["camera"] for data in back]).tobytes() == stack(docs).tobytes()
    close_catalog(catalog)


@pytest.mark.parametrize("shape", [(64, 64), (1024, 1024)])
def test_files_can_be_compressed(tmp_path, shape) -> None:
    docs = run_of([{"camera": np.full(shape, n, "u2")} for n in range(9)])
    catalog = open_catalog(tmp_path / "catalog")
    assert_same(docs, list(documents(saved(catalog, docs, tmp_path / "backup", compression="lzf"))))
    close_catalog(catalog)
    (path,) = files(tmp_path / "catalog" / "images", docs)
    assert path.stat().st_size < stack(docs).nbytes
    with pytest.raises(ValueError, match="compression 'zip': choose 'lzf', 'gzip' or None"):
        save(tmp_path / "catalog", compression="zip")


def test_a_server_that_reads_our_files_is_told_of_them(server, docs, tmp_path) -> None:
    client = server.client()
    run = saved(client, docs, tmp_path / "backup", images=server.images)
    assert files(server.images, docs)
    assert_same(docs, list(documents(run)))
    assert read(run)["primary"]["camera"].values.tobytes() == stack(docs).tobytes()
    close_catalog(client)


def test_files_are_read_by_all_while_they_grow(tmp_path, docs) -> None:
    catalog = open_catalog(tmp_path / "catalog")
    with save(catalog, backup=tmp_path / "backup") as sink:
        feed(sink, docs[:4])
        flushed(sink, docs[:4])
        run = catalog[uid_of(docs)]
        assert_same(docs[:4], list(documents(run)))
        assert run["primary/camera"][:].compute().tobytes() == stack(docs[:4]).tobytes()
        (path,) = files(tmp_path / "catalog" / "images", docs)
        program = f"import h5py; print(h5py.File({str(path)!r})['streams/primary/camera'].shape)"
        other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert other.stdout.strip() == "(2, 64, 64)"
        feed(sink, docs[4:])
    assert_same(docs, list(documents(run)))
    close_catalog(catalog)


def test_a_run_that_is_replaced_has_one_file(tmp_path, docs) -> None:
    catalog = open_catalog(tmp_path / "catalog")
    with save(catalog, backup=tmp_path / "backup") as sink:
        feed(sink, docs[:4])
    saved(catalog, docs, tmp_path / "backup", replace_incomplete=True)
    assert len(files(tmp_path / "catalog" / "images", docs)) == 1
    close_catalog(catalog)


def test_images_of_a_full_disk(small_disk, tmp_path, caplog) -> None:
    docs = run_of([{"camera": images("u2", n, (512, 512))} for n in range(12)])
    catalog = open_catalog(small_disk / "catalog")
    with save(catalog, backup=tmp_path / "backup") as sink:
        feed(sink, docs[:3])
        while uid_of(docs) not in catalog or "primary" not in catalog[uid_of(docs)]:
            pass  # until it was flushed; the test has a time limit
        feed(sink, docs[3:])
    (backup,) = sink.backups
    assert_same(docs, list(Recording(backup)))
    (path,) = files(small_disk / "catalog" / "images", docs)
    with h5py.File(path) as file:
        there: Any = file["streams/primary/camera"]
        assert len(there) > 0
        assert there[0].tobytes() == stack(docs)[0].tobytes()
    close_catalog(catalog)


@pytest.mark.timeout(150)
def test_an_embedded_catalogue_can_be_served(tmp_path, docs) -> None:
    """By the recipe of docs/how-to/catalogue.md."""
    directory = tmp_path / "runs"
    catalog = open_catalog(directory)
    saved(catalog, docs, tmp_path / "backup")
    close_catalog(catalog)
    text = (Path(__file__).parents[2] / "docs" / "how-to" / "catalogue.md").read_text()
    config = tmp_path / "config.yml"
    recipe = text.partition("```yaml\n")[2].partition("```")[0]
    config.write_text(recipe.replace("/data/runs", str(directory)).replace("THE-KEY", KEY))
    server = Server(directory, config)
    client = server.client()
    run = client[uid_of(docs)]
    assert_same(docs, list(documents(run)))
    assert run["primary/camera"][:].compute().tobytes() == stack(docs).tobytes()
    assert "stream_resource" in [name for name, _ in run.documents()]
    more = run_of([{"camera": images("u2", n, (64, 64))} for n in range(2)])
    assert_same(more, list(documents(saved(client, more, tmp_path / "backup"))))
    close_catalog(client)
    server.stop()
