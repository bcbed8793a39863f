"""What is shown, read by h5pyd as a file: every kind of value, consistent while it grows, and bounded."""

from __future__ import annotations

import threading
import weakref

import numpy as np
import pytest
from view_tree import EVERY, NUMBERS, TEXTS, VALUES

from bluesky_ext.view.snapshots import Snapshots

h5pyd = pytest.importorskip("h5pyd")


def grown(n):
    return {"counts": np.arange(n), "map": np.full((50, 40), n), "n": n, "squares": lambda: np.arange(n) ** 2}


def test_every_kind_of_value_is_read_as_it_is(served, shows):
    file = h5pyd.File(served(shows(lambda n: EVERY)).url)
    for path, expected in VALUES.items():
        got = file[f"values/{path}"][()]
        assert np.asarray(got).dtype == np.asarray(expected).dtype, path
        np.testing.assert_array_equal(got, expected, err_msg=path)
    for path, (_, expected) in NUMBERS.items():
        np.testing.assert_array_equal(file[f"numbers/{path}"][()], expected)
    for path, (_, expected) in TEXTS.items():
        got = file[f"texts/{path}"].asstr()[()]
        np.testing.assert_array_equal(got, np.array(expected, object), err_msg=path)
    assert file["none"].shape is None
    complex_numbers = np.asarray(file["complex"][()])
    assert [tuple(one) for one in complex_numbers.view("f8").reshape(-1, 2)] == [(1, 2), (3, 0)]
    assert [tuple(one) for one in file["records"][()]] == [(0.5, 1, "é".encode()), (1.5, 2, b"bb")]
    assert dict(file.attrs) == {"default": "values", "title": "Wörld"}
    attributes = dict(file["values/ints"].attrs)
    assert attributes["long_name"] == "µm"
    assert attributes["flag"]
    np.testing.assert_array_equal(attributes["numbers"], [0.5, 1.5])
    assert file["map/massfractions/W L"].shape == (2, 3)


def test_parts_are_read_as_they_are_of_arrays(served, shows):
    stack = np.arange(2 * 30 * 40, dtype="u2").reshape(2, 30, 40)
    file = h5pyd.File(served(shows(lambda n: {"stack": stack, "records": EVERY["records"]})).url)
    for at in (
        (1, 3, 5),
        (0,),
        (slice(None), 1, slice(1, 30, 7)),
        (slice(None), slice(2, 4), [1, 5, 9]),
        (slice(None), list(range(0, 30, 2)), slice(0, 3)),  # too long for the address of a request
        (Ellipsis, slice(3, 5)),
    ):
        np.testing.assert_array_equal(file["stack"][at], stack[at])
    np.testing.assert_array_equal(file["records"]["a"], [0.5, 1.5])
    assert [tuple(one) for one in file["records"]["a", "b"]] == [(0.5, 1), (1.5, 2)]


def test_a_reader_keeps_its_state_and_gets_the_latest_by_opening_it_again(served, shows):
    stage = shows(grown)
    stage.feed(1, 2, 3)
    client = served(stage)
    before = h5pyd.File(client.url)
    assert list(before["squares"][()]) == [0, 1, 4]
    stage.feed(4, 5)
    stage.end(primary=5)
    after = h5pyd.File(client.url)
    assert (before["n"][()], list(before["counts"][()])) == (3, [0, 1, 2])
    assert (after["n"][()], list(after["counts"][()]), list(after["squares"][()])) == (5, [*range(5)], [0, 1, 4, 9, 16])


@pytest.mark.timeout(180)
def test_no_read_is_torn_while_it_grows_and_is_replaced(served, shows):
    stage = shows(grown)
    client = served(stage)
    is_over = threading.Event()

    def grow():
        number = 0
        while not is_over.wait(0.002):
            number += 1
            stage.feed(number)

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        seen, reads = set(), 0
        while reads < 5000:
            root = client.get("/")["root"]
            ids = {link["title"]: link["id"] for link in client.get(f"/groups/{root}/links")["links"]}
            (n,) = np.frombuffer(value(client, ids["n"]), np.int64)
            for _ in range(25):
                assert np.array_equal(np.frombuffer(value(client, ids["counts"]), np.int64), np.arange(n))
                assert np.array_equal(np.frombuffer(value(client, ids["map"]), np.int64), np.full(2000, n))
                reads += 2
            seen.add(int(n))
    finally:
        is_over.set()
        writer.join()
    assert len(seen) > 50


def value(client, id_):
    status, body = client("GET", f"/datasets/{id_}/value", accept="application/octet-stream")
    assert status == 200, body
    return body


def test_states_are_kept_while_there_is_room_and_then_gone():
    trees = [{"a": np.zeros(1000), "lazy": lambda: np.zeros(1000)} for _ in range(50)]
    at = [0]
    snapshots = Snapshots(lambda: ((trees[at[0]],), lambda: trees[at[0]]), lambda: False, room=100_000)
    ids, sizes = [], []
    for at[0] in range(50):
        ids.append(snapshots.newest(opened=True).paths["/lazy"].id)
        assert len(snapshots.find(ids[-1]).array) == 1000
        sizes.append(snapshots.n_bytes)
    assert max(sizes) < 160_000
    assert sizes[-1] == sizes[20]
    assert snapshots.find(ids[-2]).path == "/lazy"
    old = weakref.ref(snapshots.newest().paths["/a"])
    for _ in range(50):
        at[0] = (at[0] + 1) % 50
        snapshots.newest(opened=True)
    assert old() is None  # without the garbage collector, which knows nothing of the size of arrays
    with pytest.raises(LookupError):
        snapshots.find(ids[0])


def test_what_is_gone_or_makes_no_sense_is_refused_with_its_reason(served, shows):
    stage = shows(lambda n: {"a": np.zeros((3, 4)), "large": np.zeros(200_000), "none": None})
    client = served(stage)
    root = client.get("/")["root"]
    ids = {link["title"]: link["id"] for link in client.get(f"/groups/{root}/links")["links"]}
    a = f"/datasets/{ids['a']}"
    other = f"g-{int(root[2:10], 16) ^ 1:08x}{root[10:]}"
    assert client("GET", f"/groups/{other}")[0] == 410
    assert b"reopen" in client("GET", f"/groups/{other}")[1]
    for path in (
        "/groups/x",
        f"/groups/{ids['a']}",
        f"/groups/{root}/links/b",
        "/groups/../../etc/passwd",
        "/%2e%2e/x",
    ):
        assert client("GET", path)[0] == 404, path
    for select in (
        "[0:4,0]",
        "[0]",
        "0,0",
        "[0:2:0,0]",
        "[-1,0]",
        "[[0,0,0],1]",
        "[[1,9999999999999999999],1]",
        "[a,b]",
    ):
        assert client("GET", f"{a}/value?select={select}")[0] == 400, select
    assert client("GET", f"{a}/value?select=[{'0,' * 6000}0]")[0] == 422
    assert client("GET", f"{a}/value?fields=x")[0] == 400
    assert client("GET", f"/datasets/{ids['none']}/value")[0] == 400
    status, said = client("GET", f"/datasets/{ids['large']}/value")
    assert status == 413
    assert b"octet-stream" in said
    for body, kind in (
        (b"{", "application/json"),
        (b"[1]", "application/json"),
        (b"1234567", "application/octet-stream"),
    ):
        assert client("POST", f"{a}/value", body, content_type=kind)[0] == 400
    points = np.array([[0, 4]], "<u8").tobytes()
    assert client("POST", f"{a}/value", points, content_type="application/octet-stream")[0] == 400
    for points in ("[[0, -1]]", "[[1.5, 1]]", "[[true, false]]", '"01"', "[[0], [0, 1]]", "[[0, 1e30]]", "null"):
        assert client("POST", f"{a}/value", f'{{"points": {points}}}', content_type="application/json")[0] == 400
    assert client("POST", f"{a}/value", b"{}", content_type="text/plain")[0] == 415
    assert client("PUT", "/", b"")[0] == client("DELETE", a)[0] == 405
