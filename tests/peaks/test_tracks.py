"""link and StreamLinker against trackpy.link."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import trackpy
from trackpy.linking import SubnetOversizeException

from bluesky_ext.peaks import StreamLinker, link
from bluesky_ext.peaks.assignment import assign

trackpy.quiet()


def by_first_peak(particles: np.ndarray) -> np.ndarray:
    """The same tracks, numbered in the order in which they begin: trackpy's own numbers are arbitrary."""
    _, first, inverse = np.unique(particles, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def drift(prediction_time, points):
    """A predictor: everything moves on by half a pixel a frame."""
    return [point.pos + 0.5 * (prediction_time - point.t) for point in points]


def random_scan(seed: int) -> tuple[dict[int, np.ndarray], float | tuple[float, ...], dict]:
    """Positions by frame (some without peaks, some missing), a search range and keywords."""
    rng = np.random.default_rng(seed)
    ndim = int(rng.choice([2, 2, 2, 3]))
    size = rng.uniform(30, 400)
    positions = rng.uniform(0, size, (rng.integers(1, 60), ndim))
    number, frames = int(rng.integers(-3, 5)), {}
    for _ in range(rng.integers(1, 25)):
        positions = positions + rng.normal(0, rng.choice([0.5, 3]), positions.shape)
        seen = rng.random(len(positions)) < rng.choice([0, 0.5, 0.9, 1], p=[0.1, 0.2, 0.4, 0.3])
        frames[number] = positions[seen]
        number += int(rng.choice([1, 1, 1, 1, 2, 5]))
    # so that a peak has about so many others within reach; trackpy's solvers take for ever if it is many
    search_range = rng.choice([0.3, 0.6, 1.0]) * size / np.sqrt(np.pi * len(positions))
    keywords: dict = {"memory": int(rng.choice([0, 0, 1, 2, 4]))}
    if rng.random() < 0.3:
        keywords |= {"adaptive_stop": search_range / 10, "adaptive_step": 0.8}
    if rng.random() < 0.5:
        keywords["link_strategy"] = str(rng.choice(["recursive", "nonrecursive", "numba", "hybrid", "drop", "auto"]))
    if rng.random() < 0.2:
        return frames, tuple(search_range * rng.uniform(0.5, 1.2, ndim)), keywords
    if rng.random() < 0.2:
        keywords["predictor"] = drift
    return frames, search_range, keywords


def as_table(frames: dict[int, np.ndarray], columns: list[str] | None = None, t_column: str = "frame") -> pd.DataFrame:
    tables = []
    for number, positions in frames.items():
        names = pd.Index(columns or ["z", "y", "x"][-positions.shape[1] :])
        tables.append(pd.DataFrame(positions, columns=names).assign(**{t_column: number}))
    table = pd.concat(tables, ignore_index=True)
    return table.assign(mass=np.arange(float(len(table))))


@pytest.mark.parametrize("group", range(3))
def test_tracks_are_those_of_trackpy(group):
    linked_pairs = 0
    for seed in range(40 * group, 40 * group + 40):
        frames, search_range, keywords = random_scan(seed)
        table = as_table(frames)
        linker = StreamLinker(search_range, **keywords)
        given = [linker.add(number, rows) for number, rows in split(table, frames).items()]
        if len(table) == 0:
            assert len(link(table, search_range, **keywords)) == len(linker.tracks) == 0
            continue
        try:
            expected = trackpy.link(table, search_range, **keywords)
        except SubnetOversizeException:
            continue
        expected["particle"] = by_first_peak(expected["particle"].to_numpy())
        pd.testing.assert_frame_equal(link(table, search_range, **keywords), expected)
        tracks = linker.tracks[expected.columns]
        pd.testing.assert_frame_equal(tracks, expected.reset_index(drop=True))
        np.testing.assert_array_equal(np.concatenate(given), expected["particle"])
        linked_pairs += len(expected) - expected["particle"].nunique()
    assert linked_pairs > 1000


def split(table: pd.DataFrame, frames: dict[int, np.ndarray], t_column: str = "frame") -> dict[int, pd.DataFrame]:
    return {number: table[table[t_column] == number] for number in frames}


def test_column_names_of_the_users_own():
    frames, search_range, _ = random_scan(3)
    columns = ["b", "a", "c"][: frames[min(frames)].shape[1]]
    table = as_table(frames, columns, "time")
    expected = trackpy.link(table, search_range, pos_columns=columns, t_column="time")
    got = link(table, search_range, pos_columns=columns, t_column="time")
    np.testing.assert_array_equal(got["particle"], by_first_peak(expected["particle"].to_numpy()))
    linker = StreamLinker(search_range, pos_columns=columns, t_column="time")
    for number, rows in split(table, frames, "time").items():
        linker.add(number, rows)
    assert list(linker.tracks) == [*columns, "mass", "time", "particle"]
    np.testing.assert_array_equal(linker.tracks["particle"], got["particle"])


def test_a_crowd_is_linked_so_that_its_peaks_move_the_least():
    """A search range above the separation of the peaks, for which trackpy's solvers take minutes."""
    before, after = np.random.default_rng(0).uniform(0, 30, (2, 29, 2))
    linker = StreamLinker(14.0)
    linker.add(1, before)
    of = linker.add(2, after)
    assert linker.crowd == 29
    moved = np.sum((before[:, np.newaxis] - after) ** 2, axis=2)
    linked = np.flatnonzero(of < len(before))
    assert len(linked) > 20
    for new in linked:
        for other in linked:  # no two links are better the other way round
            a, b = of[new], of[other]
            swapped = np.array([moved[a, other], moved[b, new]])
            assert (swapped > 14**2).any() or moved[a, new] + moved[b, other] <= swapped.sum() + 1e-9


def test_unsorted_frames_and_float_frame_numbers_as_trackpy():
    frames, search_range, keywords = random_scan(1)
    table = as_table(frames).sample(frac=1, random_state=0).astype({"frame": float})
    expected = trackpy.link(table, search_range, **keywords)
    got = link(table, search_range, **keywords)
    pd.testing.assert_frame_equal(got.drop(columns="particle"), expected.drop(columns="particle"))
    np.testing.assert_array_equal(got["particle"], by_first_peak(expected["particle"].to_numpy()))


def test_link_leaves_its_table_alone():
    table = as_table(random_scan(1)[0])
    before = table.copy()
    link(table, 3.0)
    pd.testing.assert_frame_equal(table, before)


@pytest.mark.parametrize(("distance", "particles"), [(3.0, [0, 0]), (3.0 + 2e-7, [0, 1])])
def test_the_search_range_itself_is_within_reach_as_in_trackpy(distance, particles):
    table = as_table({0: np.zeros((1, 2)), 1: np.array([[0.0, distance]])})
    assert link(table, 3.0)["particle"].tolist() == trackpy.link(table, 3.0)["particle"].tolist() == particles


def test_a_solver_of_the_users_own_decides_about_every_peak():
    def never(sources, destinations, search_range, **_):
        return [*sources, *[None] * len(destinations)], [*[None] * len(sources), *destinations]

    table = as_table({0: np.zeros((1, 2)), 1: np.zeros((1, 2))})
    assert link(table, 3.0)["particle"].tolist() == [0, 0]
    assert link(table, 3.0, link_strategy=never)["particle"].tolist() == [0, 1]


# ------------------------------------------------------------------ no peaks


def test_no_peaks_at_all():
    table = pd.DataFrame({"y": [], "x": [], "frame": []})
    linked = link(table, 3.0)
    assert list(linked) == ["y", "x", "frame", "particle"]
    assert linked["particle"].dtype == np.int64
    linker = StreamLinker(3.0)
    assert linker.tracks.shape == (0, 4)
    assert linker.add(1, table).tolist() == []
    assert linker.add(2, np.empty((0, 2))).tolist() == []
    assert linker.tracks.shape == (0, 4)
    assert linker.frames == [1, 2]


def test_an_empty_table_without_the_columns_of_the_full_ones():
    """locate leaves out ep, and all dtypes are object, when there are no peaks."""
    linker = StreamLinker(3.0)
    linker.add(1, pd.DataFrame(columns=pd.Index(["y", "x", "mass"])))
    linker.add(2, pd.DataFrame({"y": [1.0], "x": [2.0], "mass": [3.0], "ep": [0.1]}))
    linker.add(3, pd.DataFrame(columns=pd.Index(["y", "x", "mass"])))
    expected = pd.DataFrame({"y": [1.0], "x": [2.0], "mass": [3.0], "ep": [0.1], "frame": [2], "particle": [0]})
    pd.testing.assert_frame_equal(linker.tracks, expected)


def test_a_column_that_only_some_frames_have_is_nan_in_the_others():
    linker = StreamLinker(3.0)
    linker.add(1, pd.DataFrame({"y": [1.0], "x": [2.0]}))
    linker.add(2, pd.DataFrame({"y": [1.0], "x": [2.0], "mass": [3.0]}))
    np.testing.assert_array_equal(linker.tracks["mass"], [np.nan, 3.0])


@pytest.mark.parametrize(("memory", "particles"), [(0, [0, 1]), (1, [0, 0])])
@pytest.mark.parametrize("told", [True, False])
def test_a_frame_without_peaks_and_one_left_out_are_the_same(memory, particles, told):
    linker = StreamLinker(3.0, memory=memory)
    linker.add(1, [[10.0, 10.0]])
    if told:
        linker.add(2, np.empty((0, 2)))
    linker.add(3, [[10.0, 11.0]])
    assert linker.tracks["particle"].tolist() == particles


def test_a_very_wide_gap_takes_no_time():
    linker = StreamLinker(3.0, memory=2)
    linker.add(1, [[10.0, 10.0]])
    assert linker.add(10**15, [[10.0, 10.0]]).tolist() == [1]


# ------------------------------------------------------------------ several at once


def test_interleaved_linkers_do_not_mix_up_their_particles():
    scans = [random_scan(seed) for seed in (5, 6)]
    linkers = [StreamLinker(search_range, **keywords) for _, search_range, keywords in scans]
    tables = [split(as_table(frames), frames) for frames, _, _ in scans]
    for numbers in zip(*(list(table) for table in tables), strict=False):
        for linker, table, number in zip(linkers, tables, numbers, strict=True):
            linker.add(number, table[number])
        trackpy.link(as_table({0: np.zeros((1, 2)), 1: np.zeros((1, 2))}), 3.0)  # sets trackpy's counters to zero
    for linker, table, (_, search_range, keywords) in zip(linkers, tables, scans, strict=True):
        given = pd.concat([table[number] for number in linker.frames])
        expected = trackpy.link(given, search_range, **keywords)["particle"].to_numpy()
        np.testing.assert_array_equal(linker.tracks["particle"], by_first_peak(expected))


def test_linkers_in_threads():
    scans = [random_scan(seed) for seed in range(20, 36)]

    def particles(scan) -> np.ndarray:
        frames, search_range, keywords = scan
        return link(as_table(frames), search_range, **keywords)["particle"].to_numpy()

    expected = [particles(scan) for scan in scans]
    with ThreadPoolExecutor(4) as pool:
        for got, one in zip(pool.map(particles, scans), expected, strict=True):
            np.testing.assert_array_equal(got, one)


@pytest.mark.parametrize("behind", [0, 5], ids=["together", "behind"])
def test_what_two_linkers_link_alike_is_linked_once(behind):
    asked = []

    def solver(sources, destinations, search_range, **keywords):
        asked.append(len(sources))
        return assign(sources, destinations, search_range, **keywords)

    frames = {number: np.random.default_rng(number).uniform(0, 30, (20, 2)) for number in range(1, 30)}
    first, second, other = (StreamLinker(reach, memory=1, link_strategy=solver) for reach in (3.0, 3.0, 2.0))
    counts = []
    for number in frames:
        for linker, at in ((first, number), (second, number - behind), (other, number)):
            before = len(asked)
            if at in frames:
                linker.add(at, frames[at])
            counts.append(len(asked) - before)
    assert sum(counts[0::3]) > 100
    assert sum(counts[1::3]) == 0
    assert sum(counts[2::3]) > 100
    second.add(3, frames[3][:1])  # which is no business of the first
    for linker, reach in ((first, 3.0), (second, 3.0), (other, 2.0)):
        given = {at: frames[at][:1] if linker is second and at == 3 else frames[at] for at in linker.frames}
        np.testing.assert_array_equal(linker.tracks["particle"], link(as_table(given), reach, memory=1)["particle"])


# ------------------------------------------------------------------ frames that come again, or late


def test_frames_long_ago_may_come_again_or_late():
    rng = np.random.default_rng(7)
    frames = {number: rng.uniform(0, 60, (rng.integers(0, 12), 2)) for number in range(1, 150)}
    linker = StreamLinker(8.0, memory=2)
    for number in frames:
        if number != 70:
            linker.add(number, frames[number][:1] if number in (40, 149) else frames[number])
    for number in (149, 40, 70):
        linker.add(number, frames[number])
        given = {at: frames[at][:1] if at == 40 and number == 149 else frames[at] for at in linker.frames}
        np.testing.assert_array_equal(linker.tracks["particle"], link(as_table(given), 8.0, memory=2)["particle"])
    assert linker.frames == list(frames)
    np.testing.assert_array_equal(linker.tracks[["y", "x"]], np.concatenate(list(frames.values())))
    assert linker.add(150, frames[149]).tolist() == linker.particles(149).tolist()


@pytest.mark.parametrize("order", ["repeated", "late", "backwards"])
def test_tracks_depend_on_the_frames_and_not_on_their_order(order):
    for seed in range(40, 46):
        frames, search_range, keywords = random_scan(seed)
        parts = split(as_table(frames), frames)
        numbers = list(parts)
        expected, linker = StreamLinker(search_range, **keywords), StreamLinker(search_range, **keywords)
        for number in numbers:
            expected.add(number, parts[number])
        sequence = {
            "repeated": [*numbers[:4], numbers[0], *numbers[1:], *numbers[-2:]],
            "late": numbers[1::2] + numbers[::2],
            "backwards": numbers[::-1],
        }[order]
        for number in sequence:
            wrong = parts[number].iloc[:1] if number not in linker.frames and order == "repeated" else parts[number]
            linker.add(number, wrong)
        if order == "repeated":  # every frame was wrong the first time, as an interrupted one may be
            for number in numbers:
                linker.add(number, parts[number])
        pd.testing.assert_frame_equal(linker.tracks, expected.tracks)


def test_particles_of_later_frames_follow_a_replaced_one():
    linker = StreamLinker(3.0)
    linker.add(1, [[0.0, 0.0]])
    linker.add(2, [[50.0, 50.0]])
    assert linker.add(3, [[0.0, 0.0]]).tolist() == [2]
    assert linker.add(2, [[0.0, 1.0]]).tolist() == [0]
    assert linker.particles(3).tolist() == [0]


def test_the_linker_keeps_copies():
    linker = StreamLinker(3.0)
    table = pd.DataFrame({"y": [1.0], "x": [2.0]})
    linker.add(1, table)
    table["y"] = 99.0
    linker.particles(1)[:] = 99
    linker.tracks["y"] = 99.0
    assert linker.tracks.to_dict("records") == [{"y": 1.0, "x": 2.0, "frame": 1, "particle": 0}]


# ------------------------------------------------------------------ errors


def test_too_large_a_search_range_names_it_and_the_frame_and_the_linker_goes_on():
    crowd = np.random.default_rng(0).uniform(0, 30, (60, 2))
    linker = StreamLinker(20.0)
    linker.add(1, crowd)
    with pytest.raises(SubnetOversizeException, match=r"search_range=20.0 is too large for frame 2 with 60") as error:
        linker.add(2, crowd)
    assert "\n" not in str(error.value)
    assert linker.frames == [1]
    assert linker.add(2, crowd[:1]).tolist() == [0]
    with pytest.raises(SubnetOversizeException, match="frame 2"):
        linker.add(2, crowd)
    assert linker.particles(2).tolist() == [0]
    with pytest.raises(SubnetOversizeException, match=r"search_range=20\.0"):
        link(as_table({1: crowd, 2: crowd}), 20.0)


@pytest.mark.parametrize(
    ("search_range", "keywords", "message"),
    [
        (0, {}, "search_range=0 must be a positive number"),
        (float("nan"), {}, "search_range=nan must be a positive number"),
        ((1, 2, 3), {"pos_columns": ["y", "x"]}, r"search_range=\(1, 2, 3\) needs one number, or 2"),
        (3, {"memory": -1}, "memory=-1 must be a number of frames, 0 or more"),
        (3, {"link_strategy": "magic"}, "magic"),
        (3, {"adaptive_stop": -1}, "adaptive_stop must be positive"),
    ],
)
def test_wrong_values_are_refused_by_the_constructor(search_range, keywords, message):
    with pytest.raises(ValueError, match=message):
        StreamLinker(search_range, **keywords)


def test_unknown_keyword_is_refused_by_the_constructor():
    with pytest.raises(TypeError, match="memroy"):
        StreamLinker(3, memroy=1)


def test_positions_that_are_not_there():
    linker = StreamLinker(3.0)
    with pytest.raises(ValueError, match=r"no column 'y', only \['a', 'x'\]"):
        linker.add(1, pd.DataFrame({"a": [1.0], "x": [1.0]}))
    with pytest.raises(ValueError, match=r"shape \(1, 3\) must have a column for each of \['y', 'x'\]"):
        linker.add(1, [[1.0, 2.0, 3.0]])
    assert linker.frames == []
    linker.add(1, [[1.0, 2.0]])
