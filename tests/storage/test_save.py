from __future__ import annotations

import copy
import logging
import time

import event_model
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky import preprocessors as bpp
from bluesky.plans import count
from ophyd.sim import SynSignal, hw
from runs import Docs, assert_same, feed, images, referring_run, run_of, saved, uid_of

from bluesky_ext import Recording
from bluesky_ext.engine.recording.records import MAGIC, pack_record
from bluesky_ext.storage import close_catalog, documents, open_catalog, read, save
from bluesky_ext.storage.destination import Destination
from bluesky_ext.storage.follower import Follower
from bluesky_ext.storage.writer import RunWriter


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "c8", "c16", "?"])
def test_images_of_every_dtype_come_back_bit_for_bit(embedded, dtype, tmp_path) -> None:
    docs = run_of([{"camera": images(dtype, n, (70, 90))} for n in range(3)])
    run = saved(embedded, docs, tmp_path)
    assert_same(docs, list(documents(run)))
    # They are an array of that dtype, for everyone.
    assert run["primary/camera"].dtype == np.dtype(dtype)
    assert run["primary/camera"].shape == (3, 70, 90)
    stack = read(run)["primary"]["camera"]
    assert stack.dtype == np.dtype(dtype)
    assert stack.values.tobytes() == np.stack([images(dtype, n, (70, 90)) for n in range(3)]).tobytes()


@pytest.mark.parametrize(
    ("catalog", "shape"),
    [("embedded", (5000,)), ("served", (64, 65)), ("served", (2, 64, 65)), ("embedded", (2, 3, 40, 41))],
    indirect=["catalog"],
)
def test_images_of_any_rank(catalog, shape, tmp_path) -> None:
    docs = run_of([{"camera": images("u2", n, shape), "x": float(n)} for n in range(5)])
    run = saved(catalog, docs, tmp_path)
    assert_same(docs, list(documents(run)))
    assert run["primary/camera"].shape == (5, *shape)


def everything() -> Docs:
    """A run with what else there can be in documents."""
    bundle = event_model.compose_run(
        metadata={
            "scan_id": 3,
            "shape": (2, 3),
            "big": 2**62,
            "nested": {"a": [1, {"b": None}]},
            "array": np.arange(3),
        },
        validate=False,
    )
    number = {"source": "sim", "dtype": "number", "shape": []}
    keys = {
        "x": number,
        "X": number,
        "n": {"source": "sim", "dtype": "integer", "shape": [], "dtype_numpy": "<u8"},
        "on": {"source": "sim", "dtype": "boolean", "shape": []},
        "name": {"source": "sim", "dtype": "string", "shape": []},
        "spectrum": {"source": "sim", "dtype": "array", "shape": [4]},
        "ragged": {"source": "sim", "dtype": "array", "shape": [None], "dtype_numpy": "<u2"},
        "internal": {"source": "sim", "dtype": "array", "shape": [50, 60]},
        "odd/key?": {"source": "sim", "dtype": "array", "shape": [50, 60]},
    }
    docs: Docs = [("start", bundle.start_doc)]
    streams = {}
    for name in ("primary", "a stream/of ä strange name"):
        streams[name] = bundle.compose_descriptor(name=name, data_keys=keys, validate=False)
        docs.append(("descriptor", streams[name].descriptor_doc))
    for n in range(1, 4):
        data = {
            "x": float("nan") if n == 2 else n / 3,
            "X": None,
            "n": np.uint64(2**64 - n),
            "on": n == 2,
            "name": "ü\n" * n,
            "spectrum": [1, 2.5, 3, float("inf")],
            "ragged": np.arange(5000 * n, dtype="u2"),
            "internal": images("f8", n, (50, 60)),
            "odd/key?": images(">i4", n, (50, 60)),
        }
        for stream in streams.values():
            stamps = dict.fromkeys(data, 7.0 + n)
            docs.append(("event", stream.compose_event(data=data, timestamps=stamps, time=7.0 + n, validate=False)))
    docs.append(("stop", bundle.compose_stop(exit_status="fail", reason="beam\nlost", validate=False)))
    return docs


def test_all_of_the_documents_come_back_as_they_were(catalog, tmp_path) -> None:
    docs = everything()
    before = copy.deepcopy(docs)
    run = saved(catalog, docs, tmp_path)
    assert_same(before, docs)
    assert_same(docs, list(documents(run)))
    assert run.stop["reason"] == "beam\nlost"
    # What a table can hold is in a table.
    table = run["primary/internal"].read().compute()
    assert {*table.columns} == {"seq_num", "time"} | {p + k for k in ("x", "X", "n", "on", "name") for p in ("", "ts_")}
    assert table["n"].tolist() == [2**64 - n for n in (1, 2, 3)]
    assert table["n"].dtype == np.uint64
    assert table["x"].tolist()[::2] == [1 / 3, 1.0]
    assert table["name"].tolist() == ["ü\n", "ü\n" * 2, "ü\n" * 3]


def test_rows_of_peaks_in_pages_and_streams(embedded, tmp_path) -> None:
    bundle = event_model.compose_run(validate=False)
    number = {"source": "peaks", "dtype": "number", "shape": []}
    peaks = bundle.compose_descriptor(name="primary", data_keys={"y": number, "x": number}, validate=False)
    patch = {"source": "peaks", "dtype": "array", "shape": [40, 60], "dtype_numpy": "<f4"}
    frames = bundle.compose_descriptor(
        name="frames", data_keys={"n": number | {"dtype": "integer"}, "patch": patch}, validate=False
    )
    docs: Docs = [
        ("start", bundle.start_doc),
        ("descriptor", peaks.descriptor_doc),
        ("descriptor", frames.descriptor_doc),
    ]
    for frame, n_peaks in enumerate([3, 0, 700, 1]):
        ys = np.arange(n_peaks, dtype="f8") / 7
        for data in ({"y": ys, "x": ys.astype("f4")}, {"y": ys.tolist(), "x": [1.0] * n_peaks}):
            page = peaks.compose_event_page(
                data=data,
                timestamps={key: [5.0 + frame] * n_peaks for key in data},
                seq_num=[*range(1, n_peaks + 1)],
                time=[5.0 + frame] * n_peaks,
                validate=False,
            )
            docs.append(("event_page", page))
        stacked = [images("f4", n, (40, 60)) for n in range(2)]
        for patches in (stacked, np.stack(stacked)):
            page = frames.compose_event_page(
                data={"n": [n_peaks, n_peaks], "patch": patches},
                timestamps={"n": [5.0, 5.0], "patch": [5.0, 5.0]},
                seq_num=[2 * frame + 1, 2 * frame + 2],
                time=[5.0 + frame, 5.0 + frame],
                validate=False,
            )
            docs.append(("event_page", page))
    docs.append(("stop", bundle.compose_stop(validate=False)))
    run = saved(embedded, docs, tmp_path)
    assert_same(docs, list(documents(run)))
    assert run["frames/patch"].shape == (16, 40, 60)
    table = run["primary/internal"].read().compute()
    assert len(table) == 2 * (3 + 700 + 1)
    streams = read(run)
    # Of pages with the same seq_nums the last counts.
    assert streams["primary"].sizes["seq_num"] == 700
    assert streams["primary"]["x"].values[0] == 1.0
    assert streams["frames"]["n"].values.tolist() == [3, 3, 0, 0, 700, 700, 1, 1]
    assert streams["frames"]["patch"][5].values.tobytes() == stacked[1].tobytes()


def test_a_repeated_seq_num_is_kept_and_the_last_one_is_read(embedded, tmp_path) -> None:
    docs = run_of([{"camera": images("u2", n, (64, 64)), "x": float(n)} for n in range(5)])
    events = [document for name, document in docs if name == "event"]
    for event, seq_num in zip(events, (1, 2, 1, 2, 3), strict=True):
        event["seq_num"] = seq_num
    run = saved(embedded, docs, tmp_path)
    assert_same(docs, list(documents(run)))
    stream = read(run)["primary"]
    assert stream["seq_num"].values.tolist() == [1, 2, 3]
    assert stream["x"].values.tolist() == [2.0, 3.0, 4.0]
    assert stream["camera"].values.tobytes() == np.stack([images("u2", n, (64, 64)) for n in (2, 3, 4)]).tobytes()


def test_references_to_files_stay_references(embedded, tmp_path) -> None:
    docs = referring_run()
    run = saved(embedded, docs, tmp_path)
    assert_same(docs, list(documents(run)))
    stream = read(run)["primary"]
    assert stream.attrs["external"] == ["hdf5", "tiff"]
    assert stream["seq_num"].values.tolist() == [1]


def test_a_run_without_a_stop_is_kept_and_marked(embedded, tmp_path, caplog) -> None:
    docs = run_of([{"camera": images("u2", n, (64, 64))} for n in range(2)], stop=False)
    run = saved(embedded, docs, tmp_path)
    assert_same(docs, list(documents(run)))
    assert run.metadata["incomplete"] == "the sink was closed before the stop"
    assert "stop" not in run.metadata
    assert read(run)["primary"].attrs["complete"] is False
    (record,) = [record for record in caplog.records if record.name.startswith("bluesky_ext")]
    assert record.levelno == logging.WARNING
    assert uid_of(docs) in record.getMessage()


def test_runs_that_never_stop_are_bounded(embedded, tmp_path, caplog) -> None:
    runs = [run_of([{"x": float(n)}], stop=False) for n in range(3)]
    with save(embedded, backup=tmp_path, max_open_runs=2) as sink:
        for docs in runs:
            feed(sink, docs)
        uid = uid_of(runs[0])
        while uid not in embedded or not embedded[uid].metadata.get("incomplete"):
            pass  # its thread ends it; the test has a time limit
        assert embedded[uid].metadata["incomplete"] == "no stop document came, and more than 2 runs are open"
        # What comes after is no part of it, but is not lost.
        sink("event", runs[0][2][1])
    (orphans,) = tmp_path.iterdir()
    assert list(Recording(orphans)) == [runs[0][2]]


def test_a_silent_run_is_ended_also_when_nothing_else_comes(embedded, tmp_path) -> None:
    docs = run_of([{"x": float(n)} for n in range(3)], stop=False)
    with save(embedded, backup=tmp_path, stale_after=0.5) as sink:
        feed(sink, docs)
        while [*tmp_path.iterdir()]:
            time.sleep(0.01)  # its thread deletes the backup in the end; the test has a time limit
        assert sink.stats.incomplete == 1
    assert embedded[uid_of(docs)].metadata["incomplete"].startswith("no document came for 0.5 s")
    assert_same(docs, list(documents(embedded[uid_of(docs)])))


def test_events_are_in_the_catalogue_while_the_run_is_open(served, tmp_path) -> None:
    docs = run_of([{"camera": images("u2", n, (64, 64))} for n in range(3)])
    with save(served, backup=tmp_path) as sink:
        feed(sink, docs[:3])
        (backup,) = tmp_path.iterdir()
        assert_same(docs[:3], list(Recording(backup)))
        while uid_of(docs) not in served or len(list(documents(served[uid_of(docs)]))) < 3:
            time.sleep(0.05)  # until the thread of the run has flushed; the test has a time limit
        assert_same(docs[:3], list(documents(served[uid_of(docs)])))
        feed(sink, docs[3:])
    assert_same(docs, list(documents(served[uid_of(docs)])))


def test_a_buffer_that_its_owner_uses_again(embedded, tmp_path) -> None:
    docs = run_of([{"camera": np.zeros((100, 100), "u2")} for n in range(4)], stop=True)
    buffer = np.zeros((100, 100), "u2")
    with save(embedded, backup=tmp_path) as sink:
        for n, (name, document) in enumerate(docs):
            buffer[:] = n
            sink(name, {**document, "data": {"camera": buffer}} if name == "event" else document)
    back = [doc["data"]["camera"] for name, doc in documents(embedded[uid_of(docs)]) if name == "event"]
    assert [(image.min(), image.max()) for image in back] == [(n, n) for n in (2, 3, 4, 5)]


def test_a_plan_with_two_runs_and_a_new_configuration(embedded, tmp_path) -> None:
    camera = SynSignal(func=lambda: images("u2", 1, (64, 64)), name="camera")
    det = hw().det
    run_engine = RunEngine(call_returns_result=False)
    given: Docs = []
    sink = save(embedded, backup=tmp_path)

    @bpp.set_run_key_decorator("outer")
    @bpp.run_decorator(md={"run": "outer"})
    def outer():
        yield from bps.trigger_and_read([camera])
        yield from bpp.set_run_key_wrapper(count([camera, det], 2), "inner")
        yield from bps.configure(det, {"Imax": 3})
        yield from bps.trigger_and_read([camera])

    run_engine.subscribe(lambda name, document: given.append((name, copy.deepcopy(document))))
    run_engine.subscribe(sink)
    uids = run_engine(outer())
    sink.close()
    assert len(uids) == 2
    for uid in uids:
        own = {uid} | {doc["uid"] for name, doc in given if name == "descriptor" and doc["run_start"] == uid}
        docs = [
            (name, doc) for name, doc in given if {doc.get("uid"), doc.get("run_start"), doc.get("descriptor")} & own
        ]
        assert_same(docs, list(documents(embedded[uid])))


def test_descriptors_of_one_configuration_are_one_for_other_clients(embedded, tmp_path) -> None:
    """Ragged data have a descriptor an event; to write what was not news cost a request each, of all before it."""
    bundle = event_model.compose_run(validate=False)
    docs: Docs = [("start", bundle.start_doc)]
    for n in range(1, 7):
        described = {"x": {"source": "sim", "dtype": "array", "shape": [n], "dtype_numpy": "<f8"}}
        exposure = {"exposure": 0.5 if n < 4 else 0.7}
        of_device = {"data": exposure, "timestamps": {"exposure": 1.0}, "data_keys": {}}
        stream = bundle.compose_descriptor(
            name="primary", data_keys=described, configuration={"det": of_device}, validate=False
        )
        event = stream.compose_event(data={"x": np.arange(float(n))}, timestamps={"x": 1.0}, validate=False)
        docs += [("descriptor", stream.descriptor_doc), ("event", event)]
    docs.append(("stop", bundle.compose_stop(validate=False)))
    run = saved(embedded, docs, tmp_path)
    assert_same(docs, list(documents(run)))
    told = [d["configuration"]["det"]["data"]["exposure"] for d in run["primary"].descriptors]
    assert told == [0.5, 0.7]


def test_uids_that_tiled_could_not_address(embedded, tmp_path) -> None:
    docs = run_of([{"x": 1.0}])
    docs[0][1]["uid"] = docs[1][1]["run_start"] = docs[-1][1]["run_start"] = "a/b?c#d"
    with save(embedded, backup=tmp_path) as sink:
        feed(sink, docs)
    (run,) = [run for run in embedded.values() if run.metadata.get("start", {}).get("uid") == "a/b?c#d"]
    assert_same(docs, list(documents(run)))


def test_a_run_that_is_there_is_never_written_over(embedded, tmp_path, caplog) -> None:
    docs = run_of([{"x": 1.0}])
    saved(embedded, docs, tmp_path)
    again = copy.deepcopy(docs)
    again[2][1]["data"]["x"] = 2.0
    with save(embedded, backup=tmp_path, replace_incomplete=True) as sink:
        feed(sink, again)
    assert_same(docs, list(documents(embedded[uid_of(docs)])))
    (backup,) = sink.backups
    assert_same(again, list(Recording(backup)))
    assert f"run {uid_of(docs)} is in this catalogue already" in caplog.text


def test_a_run_whose_log_has_nothing_in_it_yet_has_the_documents_of_its_arrays(embedded, tmp_path) -> None:
    docs = run_of([{"camera": images("u2", n, (64, 64)), "x": float(n)} for n in range(3)])
    run = saved(embedded, docs, tmp_path)
    logs = embedded["documents"]
    token = logs[uid_of(docs)].metadata["log"]
    logs[uid_of(docs)].delete(external_only=False)
    logs.write_array(np.zeros(2**18, np.uint8), key=uid_of(docs), metadata={"log": token})
    back = list(documents(run))
    assert [name for name, _ in back] == [name for name, _ in docs]
    for (_, given), (_, found) in zip(docs[2:5], back[2:5], strict=True):
        np.testing.assert_array_equal(found["data"]["camera"], given["data"]["camera"])


def test_a_run_that_was_deleted_can_be_saved_again(embedded, tmp_path) -> None:
    docs = run_of([{"camera": images("u2", 1, (64, 64))}])
    saved(embedded, docs, tmp_path).delete(recursive=True, external_only=False)
    assert_same(docs, list(documents(saved(embedded, docs, tmp_path))))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"timeout": -1}, "timeout -1 s: give a time"), ({"max_open_runs": 0}, "max_open_runs=0: give a number of runs")],
)
def test_wrong_options_are_refused_at_once(embedded, options, message, tmp_path) -> None:
    with pytest.raises(ValueError, match=message):
        save(embedded, backup=tmp_path, **options)


def test_one_run_is_no_catalogue(embedded, tmp_path) -> None:
    run = saved(embedded, run_of([{"x": 1.0}]), tmp_path)
    with pytest.raises(TypeError, match="is one run: give the catalogue"):
        save(run, backup=tmp_path)
    with pytest.raises(TypeError, match=r"is no run of a catalogue: give catalog\[uid\]"):
        list(documents(embedded))


def test_what_was_saved_last_is_the_last_of_the_catalogue(tmp_path) -> None:
    """The logs lie beside the runs: they must not come after the only one."""
    catalog = open_catalog(tmp_path / "catalog")
    first, second = (run_of([{"x": 1.0, "image": images("u2", 1)}]) for _ in range(2))
    with save(catalog, backup=tmp_path / "backup") as sink:
        feed(sink, first)
        assert catalog.values().last().start["uid"] == uid_of(first)
        feed(sink, second)
        assert catalog.values().last().start["uid"] == list(catalog)[-1] == uid_of(second)
    close_catalog(catalog)


def test_a_directory_is_opened(tmp_path) -> None:
    docs = run_of([{"x": 1.0}])
    with save(tmp_path / "catalog", backup=tmp_path / "backup") as sink:
        feed(sink, docs)
    with open_catalog(tmp_path / "catalog").context, sink.catalog.context:
        assert_same(docs, list(documents(sink.catalog[uid_of(docs)])))


def test_what_the_disk_gives_back_is_checked(catalog, tmp_path) -> None:
    path = tmp_path / "run.bsrec"
    record = b"".join(pack_record("start", {"uid": "a", "time": 0.0, "note": "before"}))
    path.write_bytes(MAGIC + record.replace(b"before", b"be-ore"))
    ended: list[Exception | None] = []
    follower = Follower(path, RunWriter(Destination(catalog), "a"), lambda: None, ended.append, 0.5)
    follower.grown()
    assert follower.wait(30)
    (error,) = ended
    assert "the disk did not give what was written" in str(error)
