"""Documents that ask for files elsewhere, or for more memory than there is: refused before they get it."""

import functools
import json
import tracemalloc

import event_model
import numpy as np
import pytest

from suitcase_nxstxm import NXstxmWriter, Serializer, export, export_scan, finish_export

MANY = 10**9


@pytest.mark.parametrize(
    "template",
    [
        "{:>2000000000}",
        "{uid:>2000000000}",
        "{time:.2000000000f}",
        "{scan_id:{width}}",
        "{uid.__class__.__mro__}",
        "{start[uid].__class__}",
        "{start[motors][0]}",
        "{start}",
        "{uid",
    ],
)
def test_a_template_that_is_a_program(template, tmp_path, stxm):
    (docs,) = stxm.make("sample image").runs
    for make in (functools.partial(NXstxmWriter, on_error="raise"), Serializer):
        with pytest.raises(ValueError, match=r"^[^\n]*$"):
            make(tmp_path, template)("start", docs[0][1])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("sample", ["../../x", "/tmp/x", "..", ".x", "a\0b", "x" * 4096, "out", [5], None, {"a": "b"}])
def test_a_document_names_files_below_the_directory_only(sample, tmp_path, stxm, read):
    (docs,) = stxm.make("sample image").runs
    uid = "../" * 30 + "x"
    docs = [(name, {**doc, "run_start": uid} if "run_start" in doc else doc) for name, doc in docs]
    docs[0] = ("start", {**docs[0][1], "uid": uid, "sample": sample})
    directory = tmp_path / "a" / "b"
    directory.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (directory / "out").symlink_to(tmp_path / "elsewhere")
    for prefix in ("{sample}/{uid}", "{start[sample]:>9}-x", "data/{sample}-"):
        writer = NXstxmWriter(directory, prefix)
        for pair in docs:
            writer(*pair)
        for path in writer.finish():
            assert path.parent in (directory, directory / "data", directory / path.parent.name)
            assert read(path)["@default"] == "entry0"
        if isinstance(sample, str) and (sample, prefix[0]) != ("out", "{"):
            export(docs, directory, f"{prefix}1")
            assert finish_export(directory, f"{prefix}1", uid).exists()
    assert {path.name for path in tmp_path.iterdir()} == {"a", "elsewhere"}
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"b"}
    assert not list((tmp_path / "elsewhere").iterdir())
    assert not list(directory.rglob("*.tmp"))


def asking(docs, **changes):
    """The documents of a run whose region asks for this."""
    metadata = json.loads(docs[0][1]["metadata"])
    (region,) = metadata["rois"].values()
    for axis, change in changes.items():
        (region["EV_ROIS"][0] if axis == "EV" else region[axis]).update(
            {"SETPOINTS": None, "START": 0, "STOP": 1} | change
        )
    return [("start", {**docs[0][1], "metadata": json.dumps({**metadata, "wdg_com": "{}"})}), *docs[1:]]


def plain(seq_nums=(1, 2), keys=("det",), **start):
    """A run of one of Bluesky's own plans."""
    run = event_model.compose_run(metadata=start)
    key = {"source": "sim", "dtype": "number", "shape": []}
    stream = run.compose_descriptor(name="primary", data_keys=dict.fromkeys(keys, key))
    docs = [("start", run.start_doc), ("descriptor", stream.descriptor_doc)]
    for seq_num in seq_nums:
        data = dict.fromkeys(keys, 1.0)
        docs.append(("event", stream.compose_event(data=data, timestamps=data, seq_num=seq_num)))
    return [*docs, ("stop", run.compose_stop())]


HOSTILE = {
    "a plane of the metadata": lambda stxm: asking(
        stxm.make("sample image").runs[0], X={"NPOINTS": 4000}, Y={"NPOINTS": 4000}
    ),
    "an axis of the metadata": lambda stxm: asking(stxm.make("sample image").runs[0], X={"NPOINTS": 1e18}),
    "energies": lambda stxm: asking(stxm.make("sample image").runs[0], EV={"NPOINTS": MANY}),
    "events of the metadata": lambda stxm: [
        (
            "start",
            {
                **doc,
                "metadata": json.dumps(json.loads(doc["metadata"]) | {"sequence_map": {MANY: {"row": 0, "col": 0}}}),
            },
        )
        if name == "start"
        else (name, doc)
        for name, doc in stxm.make("sample image").runs[0]
    ],
    "a plane": lambda stxm: plain(motors=["x", "y"], shape=[4000] * 2, extents=[[0, 1]] * 2, num_points=MANY),
    "an axis": lambda stxm: plain(motors=["x", "y"], shape=[MANY, MANY], extents=[[0, 1]] * 2, num_points=MANY),
    "a negative axis": lambda stxm: plain(motors=["x"], num_points=-MANY),
    "a pattern": lambda stxm: plain(
        motors=["x"], plan_pattern="inner_product", plan_pattern_args={"num": MANY, "args": ["x", 0, 1]}
    ),
    "an event far away": lambda stxm: plain(seq_nums=(1, 10**15)),
    "an event before the first": lambda stxm: plain(seq_nums=(1, -5)),
    "keys": lambda stxm: plain(keys=[f"det{i}" for i in range(10_000)], seq_nums=()),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_asks_for_too_much_is_refused_before_it_costs_memory(what, stxm, tmp_path, caplog, read):
    docs = HOSTILE[what](stxm)
    writer = NXstxmWriter(tmp_path)
    tracemalloc.start()
    stxm.feed(writer, docs)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6
    (said,) = {str(record.exc_info[1]) for record in caplog.records if record.exc_info}
    assert docs[0][1]["uid"] in said
    assert "\n" not in said
    assert "max_" in said
    good = stxm.make("sample image")
    stxm.feed(writer, good.runs[0])
    (path,) = writer.finish()
    np.testing.assert_array_equal(read(path)["entry0/counter0/data"], good.data["entry0"])


def test_how_much_is_too_much_is_a_setting(tmp_path):
    docs = plain(motors=["x"], num_points=1000, seq_nums=range(1, 3))
    with pytest.raises(ValueError, match=r"1000 points, and the most are 999: give a larger max_points="):
        export_scan([docs], tmp_path, max_points=999)
    with pytest.raises(ValueError, match=r"2 streams and data keys, and the most are 1: give a larger max_keys="):
        export_scan([docs], tmp_path / "b", max_keys=1)
    assert export_scan([docs], tmp_path / "c", max_points=1000, max_keys=2).exists()
