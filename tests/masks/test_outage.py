"""Scans while the registry of their masks is gone, or frozen."""

from __future__ import annotations

import os
import signal
import socket
from typing import Any

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.plans import count
from ophyd.sim import SynSignal
from servers import KEY, Server
from writers import DETECTORS

import bluesky_ext.masks.attempt
from bluesky_ext.callbacks import MaskApplier
from bluesky_ext.masks import MaskClient
from bluesky_ext.masks.arrays import mask_sha256
from bluesky_ext.masks.copies import directory_of_copies, read_copy, write_copy

IMAGE = np.arange(1, 1 + np.prod(DETECTORS["det"])).reshape(DETECTORS["det"])


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path / "served")
    yield server
    if server.process.is_alive():
        os.kill(server.process.pid, signal.SIGCONT)
    server.stop()


@pytest.fixture
def masks(server):
    with MaskClient.from_uri(server.address, api_key=KEY, detector_shapes=DETECTORS) as masks:
        yield masks


def mask(n: int) -> np.ndarray:
    """A mask without its first pixels."""
    return (np.arange(IMAGE.size) >= n).reshape(IMAGE.shape)


def scan(stage: Any) -> Any:
    """The derived documents of a scan of one image."""
    documents: list[tuple[str, Any]] = []
    RE = RunEngine()
    RE.subscribe(stage)
    token = stage.subscribe(lambda name, doc: documents.append((name, doc)))
    RE(count([SynSignal(name="img", func=lambda: IMAGE)]))
    stage.unsubscribe(token)
    return documents


def n_masked(documents: Any) -> int:
    (event,) = [doc for name, doc in documents if name == "event"]
    return int(np.isnan(event["data"]["img"]).sum())


@pytest.mark.parametrize("signal_of", ["SIGKILL", "SIGSTOP"])
def test_a_registry_that_is_gone_or_frozen_is_waited_for_once_and_copies_take_its_place(
    server, masks, monkeypatch, caplog, signal_of
) -> None:
    uid = masks.register_mask("det", "m", mask(3))
    sha256 = masks.get_metadata(uid)["sha256"]
    forms = {"name": ("det", "m"), "uid": uid, "record": {"uid": uid, "sha256": sha256}}
    stages = {form: MaskApplier("img", given, fill=np.nan, registry=masks) for form, given in forms.items()}
    assert {form: n_masked(scan(stage)) for form, stage in stages.items()} == dict.fromkeys(forms, 3)
    os.kill(server.process.pid, getattr(signal, signal_of))
    monkeypatch.setattr(bluesky_ext.masks.attempt, "PATIENCE", 0.2)
    assert {form: n_masked(scan(stage)) for form, stage in stages.items()} == dict.fromkeys(forms, 3)
    # Each of them has waited, and a scan after that would wait beyond the end of this test, if it waited again.
    monkeypatch.setattr(bluesky_ext.masks.attempt, "PATIENCE", 1000.0)
    for stage in stages.values():
        documents = scan(stage)
        assert n_masked(documents) == 3
        assert documents[0][1]["analysis"]["masks"][0]["sha256"] == sha256
    assert "masks are copies" in caplog.text
    # A stage that has not seen the mask yet knows it by its uid alone.
    monkeypatch.setattr(bluesky_ext.masks.attempt, "PATIENCE", 0.2)
    assert n_masked(scan(MaskApplier("img", uid, fill=np.nan, registry=masks))) == 3
    documents = scan(MaskApplier("img", ("det", "m"), fill=np.nan, registry=masks))
    assert [name for name, _ in documents if name == "event"] == []
    assert "there is no copy of mask ('det', 'm')" in caplog.text
    if signal_of == "SIGSTOP":
        os.kill(server.process.pid, signal.SIGCONT)
        monkeypatch.setattr(bluesky_ext.masks.attempt, "PATIENCE", 60.0)
        masks.register_mask("det", "m", mask(5), version="next")
        while (found := n_masked(scan(stages["name"]))) != 5:
            assert found == 3


def test_an_address_where_nothing_answers_costs_a_run_its_events_and_the_log_says_why(monkeypatch, caplog) -> None:
    monkeypatch.setattr(bluesky_ext.masks.attempt, "PATIENCE", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        documents = scan(MaskApplier("img", ("det", "m"), fill=np.nan, registry=address))
    assert [name for name, _ in documents if name == "event"] == []
    said = [record.getMessage() for record in caplog.records]
    assert any(f"{address!r} does not answer" in one for one in said)
    assert not any("\n" in one for one in said)


def test_copies_that_are_damaged_or_of_another_hash_are_none(caplog) -> None:
    write_copy("../one", mask(3))
    (copy,) = directory_of_copies().iterdir()
    found = read_copy("../one", mask_sha256(mask(3)))
    assert found is not None
    assert (found == mask(3)).all()
    assert read_copy("../one", "0" * 64) is None
    assert read_copy("another") is None
    copy.write_bytes(copy.read_bytes()[:-100])
    assert read_copy("../one") is None
    assert "can't be read" in caplog.text
