"""One winner, its content, no orphans; and nothing incomplete in sight, whenever a writer dies."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from servers import PROCESSES
from tiled.queries import Key
from writers import attempt, content, die_after, number_of, race

from bluesky_ext.masks import MaskExists, MaskNotFound

WRITERS, ROUNDS = 4, 3


def check(place, results):
    """Of each round one writer has won, what is there is its mask, and there is nothing else."""
    winners = {}
    for at, number, uid in results:
        if uid is not None:
            assert at not in winners
            winners[at] = number, uid
    assert sorted(winners) == list(range(ROUNDS))
    with place.open() as masks:
        assert masks.list_masks() == sorted(("det", f"round {at}", 0) for at in range(ROUNDS))
        for at, (number, winner) in winners.items():
            uid, mask = masks.get_mask("det", f"round {at}")
            assert uid == winner
            assert number_of(mask.compute()) == number
    assert place.arrays() == sorted(uid for _, uid in winners.values())


def test_of_processes_that_race_one_wins(everywhere, run_all):
    everywhere.open().close()
    barrier, answers = PROCESSES.Barrier(WRITERS), PROCESSES.Queue()
    calls = [(everywhere.where, everywhere.api_key, number, ROUNDS, barrier, answers) for number in range(WRITERS)]
    assert run_all(race, calls) == [0] * WRITERS
    check(everywhere, [answers.get(timeout=10) for _ in range(WRITERS * ROUNDS)])


def test_threads_that_want_the_next_version_all_get_one(place):
    with place.open() as masks, ThreadPoolExecutor(WRITERS) as pool:
        uids = list(pool.map(lambda number: attempt(masks, number, "counted", "next"), range(WRITERS)))
        assert masks.list_masks() == [("det", "counted", version) for version in range(WRITERS)]
        for number, uid in enumerate(uids):
            assert number_of(masks.get_mask_by_uid(uid).compute()) == number


# The array, its content, the container of claims (of the first registration only), the claim, and the mask.
REQUESTS = 5


# Until the claim nothing of the version is there. In a directory the server dies with its writer.
@pytest.mark.parametrize(
    ("everywhere", "requests", "version"),
    [("served", 1, 0), ("embedded", 2, "next"), ("served", 3, 0), ("embedded", 4, 0), ("served", 4, "next")],
    indirect=["everywhere"],
)
def test_a_writer_that_is_killed_leaves_nothing_in_sight_and_the_next_one_succeeds(
    everywhere, run_all, requests, version
):
    everywhere.open().close()
    assert run_all(die_after, [(everywhere.where, everywhere.api_key, requests, version)]) == [-9]
    with everywhere.open() as masks:
        assert masks.list_masks() == []
        assert masks.search(detector="det") == {}
        assert list(masks._root.search(Key("spec") == "mask")) == []  # noqa: SLF001 - as other programs look for masks
        with pytest.raises(MaskNotFound, match="there is no mask 'crashed' of detector 'det'"):
            masks.get_mask("det", "crashed")
        uid = masks.register_mask("det", "crashed", content(7), version)
        found, mask = masks.get_mask("det", "crashed")
        assert found == uid
        np.testing.assert_array_equal(mask.compute(), content(7))
        assert len(masks.list_masks()) == 1


def test_a_mask_is_there_when_the_last_request_is_answered(place, run_all):
    assert run_all(die_after, [(place.where, None, REQUESTS, 0)]) == [-9]
    with place.open() as masks:
        np.testing.assert_array_equal(masks.get_mask("det", "crashed")[1].compute(), content(7))


def test_a_mask_whose_writer_died_before_it_was_shown_keeps_its_place(place, run_all, caplog, monkeypatch):
    """Another content is refused then, since the claim is made: readers see the first one, whole."""
    monkeypatch.setattr("bluesky_ext.masks.claims.PATIENCE", 0.1)
    place.open().close()
    assert run_all(die_after, [(place.where, None, REQUESTS - 1, 0)]) == [-9]
    with place.open() as masks, caplog.at_level(logging.WARNING):
        with pytest.raises(MaskExists, match="'crashed' of detector 'det', version 0, exists"):
            masks.register_mask("det", "crashed", content(3))
        assert number_of(masks.get_mask("det", "crashed")[1].compute()) == 7
        assert len(place.arrays()) == 1
    assert "its writer seems to have died, and it is shown now" in caplog.text


def test_old_drafts_are_deleted(place, run_all, caplog, monkeypatch):
    assert run_all(die_after, [(place.where, None, 2, 0)]) == [-9]
    assert len(place.arrays()) == 1
    with place.open() as masks:
        masks.register_mask("det", "while the draft is young", content(1))
        assert len(place.arrays()) == 2
    from datetime import timedelta

    monkeypatch.setattr("bluesky_ext.masks.claims.ABANDONED", timedelta(hours=-1))
    with place.open() as masks, caplog.at_level(logging.WARNING):
        masks.register_mask("det", "when it is old", content(2))
        assert len(place.arrays()) == len(masks.list_masks()) == 2
    assert "its writer died more than" in caplog.text


def test_a_deleted_mask_may_come_again_under_another_uid(masks, arrays):
    uids = []
    for number in range(2):
        uids.append(masks.register_mask("det", "again", content(number)))
        with pytest.raises(MaskExists):
            masks.register_mask("det", "again", content(9))
        assert number_of(masks.get_mask("det", "again")[1].compute()) == number
        masks.delete_mask("det", "again", 0)
    assert len(set(uids)) == 2
    assert masks.list_masks() == []
    assert arrays() == []
