import logging

from hypothesis import given
from hypothesis import strategies as st

from bluesky_ext.engine.documents.complaints import Complaints
from bluesky_ext.engine.documents.intervals import Intervals
from bluesky_ext.engine.documents.losses import LISTED, Losses


def spread(ranges):
    return [seq_num for some in ranges for seq_num in some]


@given(st.lists(st.integers(1, 40)), st.integers(0, 45))
def test_seq_nums_agree_with_a_set(numbers, expected):
    seen, known = Intervals(), set()
    for number in numbers:
        assert seen.note(number) == (number not in known)
        known.add(number)
    top = max([*known, expected], default=0)
    assert spread(seen.missing(expected)) == sorted(set(range(1, top + 1)) - known)
    assert len(seen) == len(known)
    assert all((number in seen) == (number in known) for number in range(-2, 50))


def test_a_run_without_gaps_costs_no_memory():
    seen = Intervals()
    for number in range(1, 10_001):
        seen.note(number)
    assert list(seen) == [range(1, 10_001)]
    assert list(seen.missing(10_000)) == []
    assert list(seen.missing(10_003)) == [range(10_001, 10_004)]


def test_losses_that_overlap_count_once():
    losses = Losses()
    losses.add("primary", [range(3, 5), range(8, 9)])
    losses.add_listed({"lost": {"primary": [4, 5], "dark": [1]}}, "lost")
    assert losses.as_document("lost") == {
        "lost": {"primary": [3, 4, 5, 8], "dark": [1]},
        "lost_counts": {"primary": 4, "dark": 1},
    }
    assert Losses().as_document("lost") == {}


def test_a_stop_that_claims_a_billion_events_fills_no_memory():
    losses = Losses()
    losses.add("primary", Intervals().missing(10**9))
    said = losses.as_document("lost")
    assert said["lost_counts"] == {"primary": 10**9}
    assert said["lost"]["primary"] == list(range(1, LISTED + 1))


def test_the_second_complaint_of_a_kind_is_logged_at_debug(caplog):
    complain = Complaints(logging.getLogger("complaints"))
    with caplog.at_level(logging.DEBUG, "complaints"):
        for number in range(3):
            complain("one kind", "number %d", number)
        complain("another", "else")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "number 0"),
        ("DEBUG", "number 1"),
        ("DEBUG", "number 2"),
        ("WARNING", "else"),
    ]
    assert complain.counts == {"one kind": 3, "another": 1}


def test_what_a_list_upstream_leaves_out_still_counts():
    losses = Losses()
    losses.add_listed({"lost": {"primary": [1, 2]}, "lost_counts": {"primary": 1000}}, "lost")
    losses.add("primary", [range(2, 4)])
    assert losses.counts == {"primary": 1001}


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 30), st.integers(0, 8))))
def test_what_is_taken_away_is_not_here_any_more(steps):
    here, known = Intervals(), set()
    for adds, start, length in steps:
        if adds:
            here.add(start, start + length)
            known.update(range(start, start + length))
        else:
            here.discard(start, start + length)
            known.difference_update(range(start, start + length))
        assert (spread(here), here.high) == (sorted(known), max(known, default=0))


def test_the_lists_of_many_streams_have_one_end():
    losses = Losses()
    for name in "abc":
        losses.add(name, [range(1, LISTED)])
    said = losses.as_document("lost")
    assert sum(map(len, said["lost"].values())) == LISTED
    assert said["lost_counts"] == dict.fromkeys("abc", LISTED - 1)
