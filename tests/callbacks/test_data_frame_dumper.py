import event_model
import numpy as np
import pandas as pd
import pytest
from cases import Collector, unpacked
from event_model import DocumentNames, schema_validators

from bluesky_ext import DataFrameDumper, Recording


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "y": np.array([1.5, np.nan, 3.5]),
            "n": np.array([1, 2, 3], "u2"),
            "ok": [True, False, True],
            "name": list("abc"),
        },
        index=[7, 5, 3],
    )


def test_a_table_is_a_run_of_its_rows(table):
    docs = Collector()
    metadata = {"sample": {"name": "quartz"}}
    uid = DataFrameDumper(docs).dump_df(table, metadata)
    for name, doc in docs:
        schema_validators[DocumentNames[name]].validate(doc)
    assert docs[0][1]["uid"] == uid
    assert docs[0][1]["sample"] == {"name": "quartz"}
    assert docs[0][1]["sample"] is not metadata["sample"]
    rows = [doc["data"] for name, doc in unpacked(docs) if name == "event"]
    pd.testing.assert_frame_equal(pd.DataFrame(rows), table.reset_index(drop=True), check_dtype=False)
    assert docs.stop["num_events"] == {"primary": 3}
    dtypes = {name: key["dtype"] for name, key in docs.named("descriptor")[0]["data_keys"].items()}
    assert dtypes == {"y": "number", "n": "integer", "ok": "boolean", "name": "string"}


def test_a_long_table_has_several_pages_that_count_on():
    docs = Collector()
    DataFrameDumper(docs).dump_df(pd.DataFrame({"n": np.arange(25_000)}))
    pages = docs.named("event_page")
    assert [len(page["seq_num"]) for page in pages] == [10_000, 10_000, 5_000]
    events = list(event_model.unpack_event_page(event_model.merge_event_pages(pages)))
    assert [event["seq_num"] for event in events] == list(range(1, 25_001))
    assert [event["data"]["n"] for event in events] == list(range(25_000))


def test_an_empty_table_is_a_run_without_events():
    docs = Collector()
    DataFrameDumper(docs).dump_df(pd.DataFrame({"x": []}))
    assert [name for name, _ in docs] == ["start", "stop"]


def test_a_directory_is_a_sink(table, tmp_path):
    uid = DataFrameDumper(tmp_path).dump_df(table)
    (recording,) = Recording.find(tmp_path)
    assert recording.start["uid"] == uid
    assert recording.complete


def test_what_is_no_number_and_no_string_is_named():
    with pytest.raises(TypeError, match="'image'"):
        DataFrameDumper([]).dump_df(pd.DataFrame({"image": [np.zeros(3)]}))
