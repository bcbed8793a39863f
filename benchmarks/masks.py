"""Masks: the registry against plain Tiled, and the kernels of the stages against numpy and sparse."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import sparse

from benchmarks.runner import Figure, Pair, ratio, run
from bluesky_ext.images import apply_mask, sparsify, warm_up_masking, warm_up_sparse
from bluesky_ext.masks import MaskClient

COUNT = 10_000
EIGER_4M = (2167, 2070)


def kernels():
    """A copy of the image, and what users do now to make it sparse."""
    rng = np.random.default_rng(0)
    image = rng.integers(1, 60_000, (2048, 2048)).astype(np.uint16)
    mask = rng.random(image.shape) < 0.95
    few = np.where(rng.random(image.shape) < 0.01, image, 0).astype(np.uint16)
    warm_up_masking()
    warm_up_sparse()
    yield Pair(
        "MaskApplier: 2048 x 2048 uint16, against a copy", lambda: apply_mask(image, mask), image.copy, 0.5, rounds=41
    )
    yield Pair(
        "Sparsifier: 1 % of 2048 x 2048, against COO.from_numpy",
        lambda: sparsify(few, mask),
        lambda: sparse.COO.from_numpy(few),
        1.0,
        rounds=21,
    )
    yield Pair(
        "  with the mask in both",
        lambda: sparsify(few, mask),
        lambda: sparse.COO.from_numpy(few * mask),
        1.0,
        rounds=21,
    )


def grow(database: Path, count: int) -> None:
    """Copies of the one small mask that is there, as rows: to register them all would take minutes."""
    connection = sqlite3.connect(database)
    select = "select id, parent, metadata from nodes where metadata->>'name' = 'first'"
    ((first, parent, metadata),) = connection.execute(select).fetchall()
    ((claims,),) = connection.execute("select id from nodes where key = 'mask_claims'").fetchall()
    columns = "structure_id, mimetype, parameters, properties, management, structure_family"
    source = connection.execute(f"select {columns} from data_sources where node_id = ?", (first,)).fetchone()
    said, (top,) = json.loads(metadata), connection.execute("select max(id) from nodes").fetchone()
    nodes, sources = [], []
    for number in range(count):
        uid, name = str(uuid.uuid4()), f"mask {number}"
        identity = json.dumps(["small", name, 0])
        nodes.append((top + 1, parent, uid, "array", json.dumps({**said, "name": name, "mask_ident": identity}), "[]"))
        claim = {"claim": identity, "generation": 0, "uid": uid}
        nodes.append((top + 2, claims, str(uuid.uuid4()), "container", json.dumps(claim), "[]"))
        sources.append((top + 1, *source))
        top += 2
    with connection:
        insert = "insert into nodes (id, parent, key, structure_family, metadata, specs) values (?, ?, ?, ?, ?, ?)"
        connection.executemany(insert, nodes)
        connection.executemany(f"insert into data_sources (node_id, {columns}) values (?, ?, ?, ?, ?, ?, ?)", sources)
    connection.close()


def served(directory: Path, stack: ExitStack) -> str:
    """The address of a Tiled server for the catalogue in this directory."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tiled", "serve", "catalog", directory / "catalog.db"]
    command += ["--write", directory / "data", "--api-key", "secret", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.kill)
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return f"http://127.0.0.1:{port}"
        except ConnectionRefusedError:
            time.sleep(0.1)


def took(call) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def compare(name, ours, theirs, target, rounds, walks):
    """The wall time, since part of the work is a server's: the best of ours against the best of theirs, in turn."""
    ours()
    our_times, their_times = [], []
    for number in range(rounds):
        our_times.append(took(ours))
        if number < walks:
            their_times.append(took(theirs))
    return ratio(name, min(our_times), min(their_times), target)


def registry(name, masks, root) -> Iterator[Figure]:
    uid = masks.get_mask_uid("eiger4m", "large")
    yield compare(
        f"{name}: list {COUNT} masks, against client.values()",
        masks.list_masks,
        lambda: [node.metadata["name"] for node in root.values() if node.metadata.get("spec") == "mask"],
        40,
        9,
        3,
    )
    yield compare(
        f"{name}: get and compute an Eiger 4M mask, against Tiled",
        lambda: masks.get_mask_by_uid(uid).compute(),
        lambda: root[uid].read().compute(),
        1,
        25,
        25,
    )


def main() -> Iterator[Figure]:
    yield from run(kernels())
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "catalog"
        masks = MaskClient.embedded(directory, detector_shapes={"small": (4, 5), "eiger4m": EIGER_4M})
        masks.register_mask("small", "first", np.ones((4, 5), bool))
        masks.register_mask("eiger4m", "large", np.random.default_rng(0).random(EIGER_4M) < 0.95)
        grow(directory / "catalog.db", COUNT - 2)
        assert len(masks.list_masks()) == COUNT  # noqa: S101
        yield from registry("embedded", masks, masks._root)  # noqa: SLF001
        masks.close()
        with MaskClient.from_uri(served(directory, stack), api_key="secret") as client:
            yield from registry("HTTP", client, client._root)  # noqa: SLF001
