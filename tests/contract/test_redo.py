"""A derived run is made again from its documents alone, whatever stage made it and wherever the documents are."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import (
    CASES,
    KEY,
    KNOWN,
    LOCATE,
    MASK,
    REGISTRY,
    SHAPE,
    Case,
    collect,
    content,
    frames,
    raw_run,
    run_through,
    same,
)
from runs import Docs, feed

from bluesky_ext import (
    CrystalMap,
    CrystalMapper,
    ImageProcessor,
    MaskApplier,
    PeakTracker,
    Recorder,
    TrackLinker,
    callbacks,
    compose,
    redo,
)
from bluesky_ext._arguments import keywords_of
from bluesky_ext.engine import Map, Recording, Reduce, Stage
from bluesky_ext.masks import MaskClient
from bluesky_ext.storage import open_catalog, save


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_stage_makes_the_same_again_from_its_documents(case: Case) -> None:
    raw = raw_run()
    derived = run_through(case.make(hash_images=True), case.given(raw))
    made: Docs = []
    redone = redo(derived, raw, made, registry=REGISTRY, known=KNOWN)
    assert redone.agrees, redone
    assert not redone.differences
    assert redone.made_sha256 == redone.sha256 == derived.stop["sha256"]
    assert same(content(made), content(derived))


def test_every_option_that_changes_numbers_is_in_the_record() -> None:
    others = keywords_of(Map, Reduce, Stage) | {"registry", "db", "directory", "keep_runs"}
    recorded: dict[type, set[str]] = {}
    for stage in (case.make() for case in CASES if case.name != "compose"):
        recorded.setdefault(type(stage), set()).update(stage.parameters)
    here = {thing for name in callbacks.__all__ if issubclass(thing := getattr(callbacks, name), Stage)}
    assert recorded.keys() >= here
    for made, names in recorded.items():
        assert keywords_of(made) - others <= names


def chain() -> tuple[Any, Any]:
    """Stages from images to maps, whose parameters are of every kind; the first one and the last."""
    first = MaskApplier(KEY, [MASK, ("det", "gap")], np.nan, registry=REGISTRY, name="gaps")
    peaks = compose(ImageProcessor(KEY, np.full(SHAPE, 90.0), gaps="auto"), PeakTracker(KEY, **LOCATE, maxsize=np.inf))
    tracks = TrackLinker(search_range=(5, 6), memory=1)
    last = CrystalMap(motors=("my", "mx"), max_maps=3)
    for one, other in ((first, peaks), (peaks, tracks), (tracks, last)):
        one.subscribe(other)
    return first, last


@pytest.mark.parametrize("place", ["list", "recording", "store"])
def test_a_chain_of_stages_is_made_again_from_the_last_run_wherever_it_is(place: str, tmp_path: Path) -> None:
    raw = raw_run()
    first, last = chain()
    derived = collect(last)
    feed(first, raw)
    run, source = place_of(place, tmp_path, raw, derived)
    redone = redo(run, source, registry=REGISTRY)
    assert redone.agrees, redone
    assert not redone.differences


def place_of(place: str, path: Path, raw: Docs, derived: Docs) -> tuple[Any, Any]:
    """A derived run, and where the raw one is, after they were kept there."""
    if place == "list":
        return derived, raw
    if place == "recording":
        with Recorder(path) as recorder:
            feed(recorder, raw)
            feed(recorder, derived)
        (run,) = (one for one in Recording.find(path) if one.start == derived[0][1])
        return run, path
    catalog = open_catalog(path)
    with save(catalog) as saver:
        feed(saver, raw)
        feed(saver, derived)
    return catalog[derived[0][1]["uid"]], catalog


def test_arrays_that_cannot_be_handed_on_cost_the_run_nothing_else() -> None:
    docs = run_through(ImageProcessor(KEY, np.full(SHAPE, 100.0)), raw_run())
    docs = [(name, {**doc, "timestamps": None} if "subtrahend" in doc.get("data", ()) else doc) for name, doc in docs]
    made = run_through(PeakTracker(KEY, **LOCATE), docs)
    assert made.stop["failed"] == {"inputs": [1]}
    assert made.stop["num_events"]["frames"] == 6
    assert "incomplete" not in made.stop


def test_a_stage_behind_others_reads_their_run_a_second_time() -> None:
    raw, stored = raw_run(), {}
    ip = ImageProcessor(KEY, "dark")
    between = collect(ip)
    mapper = CrystalMapper(KEY, 7, half_width=3, n_windows=2, db=stored)
    ip.subscribe(lambda name, doc: stored.setdefault(between[0][1]["uid"], between))
    ip.subscribe(mapper)
    derived = collect(mapper)
    feed(ip, raw)
    assert "incomplete" not in derived.stop
    redone = redo(derived, raw)
    assert redone.agrees, redone
    once = CrystalMapper(KEY, 7, half_width=3, n_windows=2)  # which has no maps, and says so
    redone = redo(run_through(once, raw), raw)
    assert redone.agrees, redone


def test_a_source_may_hold_other_runs_too_and_be_a_run_of_a_catalogue(tmp_path: Path) -> None:
    raw, other = raw_run(), raw_run(image=lambda number: frames(number + 1))
    derived = run_through(PeakTracker(KEY, **LOCATE), raw)
    mixed = [pair for pairs in zip(other, raw, strict=True) for pair in pairs]  # interleaved
    assert redo(derived, [*mixed, *derived]).agrees
    catalog = open_catalog(tmp_path)
    with save(catalog) as saver:
        feed(saver, raw)
    assert redo(derived, catalog[raw[0][1]["uid"]]).agrees
    with pytest.raises(TypeError, match="give open_catalog"):
        redo(derived, tmp_path)


def test_what_was_made_on_the_way_will_do_as_the_source() -> None:
    peaks = run_through(PeakTracker(KEY, **LOCATE), raw_run())
    derived = run_through(TrackLinker(search_range=5), peaks)
    assert redo(derived, peaks).agrees


def test_masks_are_those_that_the_run_used_after_a_new_version_came(tmp_path: Path) -> None:
    with MaskClient.embedded(tmp_path, detector_shapes={"det": SHAPE}) as masks:
        uid = masks.register_mask("det", "gap", MASK)
        raw = raw_run()
        derived = run_through(ImageProcessor(KEY, mask=("det", "gap"), registry=masks, hash_images=True), raw)
        analysis = derived[0][1]["analysis"]
        assert [mask["uid"] for mask in analysis["masks"]] == [uid]
        masks.register_mask("det", "gap", ~MASK, version=1)
        newer = run_through(ImageProcessor(KEY, mask=("det", "gap"), registry=masks, hash_images=True), raw)
        assert newer.stop["sha256"] != derived.stop["sha256"]  # other pixels
        assert redo(derived, raw, registry=masks).agrees
        with pytest.raises(LookupError, match=f"mask {uid} is in a registry: give registry="):
            redo(derived, raw)
        masks.delete_mask("det", "gap", 0)
        with pytest.raises(LookupError, match=uid):
            redo(derived, raw, registry=masks)


def test_what_is_not_as_it_was_is_named(caplog: pytest.LogCaptureFixture) -> None:
    raw = raw_run()
    derived = run_through(PeakTracker(KEY, **LOCATE), raw)
    start = derived[0][1]
    analysis = start["analysis"]
    older = [("start", {**start, "analysis": {**analysis, "versions": {**analysis["versions"], "numpy": "1.0"}}})]
    redone = redo([*older, *derived[1:]], raw)
    assert redone.agrees
    assert [said for said in redone.differences if "versions.numpy" in said and "was '1.0'" in said]

    redone = redo(derived, raw, changes={"PeakTracker": {"minmass": 100_000}})
    assert not redone.agrees
    assert "PeakTracker: parameters.minmass is 100000, was 200" in redone.differences

    redone = redo(derived, raw[:-3] + raw[-1:])
    assert not redone.agrees
    assert f"the run {raw[0][1]['uid']} is incomplete: the source lacks events of ['primary']" in redone.differences

    redone = redo(derived, raw[:-1])
    assert f"the run {raw[0][1]['uid']} is incomplete: its stop document is not in the source" in redone.differences
    caplog.set_level(logging.CRITICAL)
    brighter = raw_run(image=lambda number: frames_of(raw, number) * 2)
    brighter = [("start", raw[0][1]), *brighter[1:]]
    brighter = [(name, {**doc, "run_start": raw[0][1]["uid"]} if "run_start" in doc else doc) for name, doc in brighter]
    redone = redo(derived, brighter)
    assert not redone.agrees
    assert "the raw run is another" in str(redone)


def frames_of(raw: Docs, number: int) -> np.ndarray:
    events = [doc for name, doc in raw if name == "event" and "mx" in doc["data"]]
    return events[number - 1]["data"][KEY]


def test_images_count_unless_the_record_says_that_they_do_not() -> None:
    raw = raw_run()
    derived = run_through(ImageProcessor(KEY, hash_images=True), raw)
    assert derived[0][1]["analysis"]["hashes"] == {"run": "sha256", "images": "xxh3_128"}
    redone = redo(derived, raw, changes={"ImageProcessor": {"subtrahend": "dark"}})
    assert not redone.agrees
    unseen = run_through(ImageProcessor(KEY), raw)
    redone = redo(unseen, raw)
    assert redone.agrees
    assert "do not count" in str(redone)


def test_a_mask_may_be_changed_by_name() -> None:
    raw = raw_run()
    derived = run_through(MaskApplier(KEY, [~MASK], hash_images=True), raw)
    redone = redo(derived, raw, changes={"MaskApplier": {"masks": [["det", "gap"]]}}, registry=REGISTRY)
    assert not redone.agrees
    assert [said for said in redone.differences if "MaskApplier: masks[0].uid is 'gap-uid'" in said], redone


@pytest.mark.parametrize(
    ("made", "others"),
    [
        (lambda data, seq_num: {"a": 1.5, "b": 2.5}, lambda data, seq_num: {"b": 1.5, "c": 2.5}),
        (lambda data, seq_num: {"a": 1.5, "b": None}, lambda data, seq_num: {"a": None, "b": 1.5}),
    ],
)
def test_names_of_readings_count(made: Any, others: Any) -> None:
    raw = raw_run()
    one, other = (run_through(Map(kernel, parameters={}, data_keys=("counts",)), raw) for kernel in (made, others))
    assert one.stop["sha256"] != other.stop["sha256"]


class Bright(Map):
    """A stage of somebody else's."""

    def __init__(self, factor: float, scale: Any = None, **options: Any) -> None:
        super().__init__(
            lambda data, seq_num: {"bright": scale(data["counts"] * factor)},
            **{"parameters": {"factor": factor, "scale": scale}, "data_keys": ("counts",), **options},
        )


def test_stages_and_functions_of_others_are_given_and_not_imported_by_name() -> None:
    raw = raw_run()
    derived = run_through(Bright(2.0, np.sqrt), raw)
    assert derived[0][1]["analysis"]["class"] == f"{__name__}:Bright"
    for known in ((), (Bright,)):
        with pytest.raises(LookupError, match="is not known here: give"):
            redo(derived, raw, known=known)
    assert redo(derived, raw, known=(Bright, np.sqrt)).agrees


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"class": "os:system"}, LookupError, "the stage os:system is not known here"),
        ({"class": "bluesky_ext.callbacks:Gone", "version": "0.0"}, LookupError, "Gone of bluesky_ext 0.0 is not in"),
        ({"class": None}, LookupError, "whose records don't say by which class"),
        ({"parameters": []}, ValueError, "its analysis record is not as a stage writes it"),
        ({"upstream": 3}, ValueError, "its analysis record is not as a stage writes it"),
        ({"masks": [{}]}, ValueError, "its analysis record is not as a stage writes it"),
        (
            {"class": "bluesky_ext:ImageProcessor", "parameters": {"data_key": KEY, "subtrahend": "/a.npy"}},
            ValueError,
            "'/a.npy'",
        ),
        ({"parameters": {"nonsense": 1}}, ValueError, "PeakTracker can't be made with the parameters of its record"),
        ({"parameters": {"data_key": KEY, "registry": "/somewhere"}}, ValueError, r"has \['registry'\] among"),
        ({"parent_run_uid": "another"}, LookupError, "the raw run another is not in the source"),
    ],
)
def test_a_run_that_cannot_be_made_again_says_why(change: dict[str, Any], error: type, message: str) -> None:
    raw = raw_run()
    derived = run_through(PeakTracker(KEY, **LOCATE), raw)
    start = derived[0][1]
    start["analysis"] = {**start["analysis"], **change}
    with pytest.raises(error, match=message):
        redo(derived, raw)
    with pytest.raises(ValueError, match="was not made by a stage"):
        redo(raw, raw)
    with pytest.raises(ValueError, match="has no stop document"):
        redo(derived[:-1], raw)
