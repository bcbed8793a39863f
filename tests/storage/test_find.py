from __future__ import annotations

import pytest
from event_model import compose_run

from bluesky_ext.storage import close_catalog, open_catalog, save
from bluesky_ext.storage.find import find_run


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    where = tmp_path_factory.mktemp("catalog")
    client = open_catalog(where / "runs")
    sink = save(client, backup=where / "backup")
    for uid, scan_id, time in (("abcdef_1", 1, 10.0), ("abcdef_2", 2, 30.0), ("abcdefX3", 2, 20.0), ("123456", 3, 5.0)):
        run = compose_run(uid=uid, time=1.7e9 + time, metadata={"scan_id": scan_id})
        sink("start", run.start_doc)
        sink("stop", run.compose_stop())
    derived = compose_run(uid="derived-1", time=1.7e9 + 99.0, metadata={"scan_id": 2, "original_run_uid": "abcdef_2"})
    sink("start", derived.start_doc)
    sink("stop", derived.compose_stop())
    yield client
    close_catalog(client)


@pytest.mark.parametrize(
    ("name", "uid"),
    [
        ("abcdef_1", "abcdef_1"),
        ("abcdefX", "abcdefX3"),
        (1, "abcdef_1"),
        ("2", "abcdef_2"),  # the latest of its scan_id
        (-1, "abcdef_2"),
        ("-4", "123456"),
        ("derived-1", "derived-1"),
        ("123456", "123456"),  # a uid of digits alone
    ],
)
def test_a_run_by_its_name(catalog, name, uid):
    assert find_run(catalog, name).metadata["start"]["uid"] == uid


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("abcdef_", "no run 'abcdef_' in the catalogue, but 2 whose uids begin so"),
        ("zzzzzz", "no run 'zzzzzz' in the catalogue$"),
        ("abc", "no run 'abc': give a uid, or six characters"),
        (77, "no run '77': give a uid"),
        (-5, "no run -5: the catalogue has 4"),
    ],
)
def test_a_run_that_is_not_there(catalog, name, said):
    with pytest.raises(LookupError, match=said):
        find_run(catalog, name)
