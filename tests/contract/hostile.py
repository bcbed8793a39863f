"""Hostile runs: valid runs of small images, in every form, that are corrupted in a few places.

A hostile run is drawn as a `Plan`, which is small and prints what was done; `documents_of` makes its documents.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import event_model
import h5py
import numpy as np
from cases import Docs
from hypothesis import strategies as st

KEY = "det_image"
SHAPE = (12, 12)
MOTORS = {"my": lambda n: float((n - 1) // 3), "mx": lambda n: float((n - 1) % 3)}


class Frames:
    """The handler of the resources of these runs: its images are made when they are asked for."""

    def __init__(self, path: str, scale: int = 1) -> None:
        self.scale = scale

    def __call__(self, number: int) -> np.ndarray:
        return self.scale * image(number)


HANDLERS = {"HOSTILE": Frames}


def image(number: int) -> np.ndarray:
    """Two exposures, (2, 12, 12) uint16: an offset of 100, and a spot of height 500 that wanders."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    spot = 100 + 500 * np.exp(-((y - 5) ** 2 + (x - 5 - number / 6) ** 2) / 2)
    return np.stack([spot, spot + 2]).astype(np.uint16)


def raw_run(form: str, path: str = "") -> Docs:
    """A grid scan of 2 x 3 points whose images are in this form: events, pages, lists, resource or stream."""
    run = event_model.compose_run(
        uid=f"{form}-run",
        metadata={
            **{"scan_id": 7, "plan_name": "grid_scan", "shape": [2, 3], "extents": [[0, 1], [0, 2]], "num_points": 6},
            **{"motors": list(MOTORS), "snaking": [False, False], "detectors": ["det"], "sample": "salt"},
            **{"hints": {"dimensions": [[["my"], "primary"], [["mx"], "primary"]]}},
        },
    )
    docs: Docs = [("start", run.start_doc)]
    array: dict[str, Any] = {"source": "sim", "dtype": "array", "shape": [2, *SHAPE], "dtype_numpy": "<u2"}
    number = {"source": "sim", "dtype": "number", "shape": [], "units": "mm"}
    if form == "resource":
        array["external"] = "FILESTORE:"
    elif form == "stream":
        array["external"] = "STREAM:"
    keys = {KEY: array, **dict.fromkeys(MOTORS, number), "counts": {**number, "dtype": "integer"}}
    stream = run.compose_descriptor(
        name="primary",
        data_keys=keys,
        object_keys={"det": [KEY, "counts"], **{name: [name] for name in MOTORS}},
        configuration={"det": {"data": {"t": 0.5}, "timestamps": {"t": 1.0}, "data_keys": {"t": number}}},
        hints={"det": {"fields": ["counts"]}, **{name: {"fields": [name]} for name in MOTORS}},
    )
    docs.append(("descriptor", stream.descriptor_doc))
    if form == "resource":
        resource = run.compose_resource(spec="HOSTILE", root="/", resource_path="no/file", resource_kwargs={"scale": 1})
        docs.append(("resource", resource.resource_doc))
    elif form == "stream":
        parameters = {"dataset": "frames", "chunk_shape": (1, 2, *SHAPE)}
        mimetype, uri = "application/x-hdf5", f"file://localhost{path}"
        described = run.compose_stream_resource(mimetype=mimetype, uri=uri, data_key=KEY, parameters=parameters)
        docs.append(("stream_resource", described.stream_resource_doc))
        indices = {"start": 0, "stop": 6}
        datum = described.compose_stream_datum(indices=indices, descriptor=stream.descriptor_doc)
        docs.append(("stream_datum", datum))
    events = []
    for n in range(1, 7):
        data: dict[str, Any] = {name: where(n) for name, where in MOTORS.items()} | {"counts": n}
        if form == "resource":
            datum = resource.compose_datum(datum_kwargs={"number": n})
            docs.append(("datum", datum))
            data[KEY] = datum["datum_id"]
        elif form != "stream":
            data[KEY] = image(n).tolist() if form == "lists" else image(n)
        filled = {KEY: False} if form == "resource" else {}
        event = stream.compose_event(
            data=data, timestamps=dict.fromkeys(data, 9.0 + n), time=9.0 + n, filled=filled, validate=False
        )
        events.append(event)
        if form != "pages":
            docs.append(("event", event))
    if form == "pages":
        docs.append(("event_page", event_model.pack_event_page(*events)))
    docs.append(("stop", run.compose_stop()))
    return docs


def stxm_run(is_text: bool) -> Docs:
    """An image of an STXM of 2 x 3 points, whose metadata are text or not."""
    import json

    y, x = [0.0, 1.0], [0.0, 1.0, 2.0]
    axes = {
        name: {"POSITIONER": f"Goni{name}", "SETPOINTS": points, "NPOINTS": len(points), "START": 0, "STOP": points[-1]}
        for name, points in (("X", x), ("Y", y))
    }
    energy = {"SETPOINTS": [700.0], "START": 700, "STOP": 700, "NPOINTS": 1, "DWELL": 2.0}
    metadata = {
        **{"scan_type": 6, "rois": {"0": {**axes, "EV_ROIS": [energy]}}, "sp_id_lst": [0], "primary_det": ["counter"]},
        **{"img_idx_map": {"e_idx": 0, "pol_idx": 0, "sp_idx": 0, "sp_id": 0, "entry": "entry0"}, "sequence_map": {}},
        **{"zp_def": {"fl": -3955.3}, "rev_lu_dct": {"GoniX": "m1", "GoniY": "m2"}, "dwell": 2.0},
    }
    run = event_model.compose_run(
        uid="stxm-run",
        metadata={"metadata": json.dumps(metadata) if is_text else metadata, "scan_id": 3, "sample": "salt"},
    )
    number = {"source": "sim", "dtype": "number", "shape": [], "units": "um"}
    stream = run.compose_descriptor(
        name="primary",
        data_keys={"counter": number, "m1": number, "m2": number, "note": {**number, "dtype": "string"}},
    )
    docs: Docs = [("start", run.start_doc), ("descriptor", stream.descriptor_doc)]
    for n in range(6):
        data = {"counter": 10.0 * n, "m1": x[n % 3], "m2": y[n // 3], "note": "ok"}
        docs.append(("event", stream.compose_event(data=data, timestamps=dict.fromkeys(data, 1.0))))
    docs.append(("stop", run.compose_stop()))
    return docs


def deep(levels: int) -> Any:
    nested: Any = 1
    for _ in range(levels):
        nested = [nested]
    return nested


#: What stands for any value of a document, by what a failure prints.
VALUES: dict[str, Callable[[], Any]] = {
    **{repr(value): (lambda value=value: value) for value in (None, True, 0, -1, 3, 2.5, 10**9, 10**15, -(10**30))},
    **{repr(value): (lambda value=value: value) for value in (float("nan"), float("inf"), -1e308, "", " ", "0", b"ab")},
    **{repr(value): (lambda value=value: value) for value in ("a\0b", "a\n\x1b[2Jb", "\udc80\ud800", "..", "/", "été")},
    "a number of 400 digits": lambda: 10**400,
    "a path up": lambda: "../../outside/x",
    "a path": lambda: f"{ROOT}/outside/x",
    "an address": lambda: f"file://localhost{ROOT}/outside/x",
    "a template": lambda: "{:>2000000000}.tif",
    "a template of old": lambda: "%2000000000d",
    "fields": lambda: "{uid.__class__}",
    "a long text": lambda: "x" * 10_000,
    "JSON": lambda: '{"rois": [[[[',
    "no list": list,
    "no dict": dict,
    "a list": lambda: [1, "a", None],
    "a list of lists": lambda: [[1, 2], [3]],
    "a deep list": lambda: deep(300),
    "a dict": lambda: {"a": {1: 2}},
    "odd keys": lambda: {1: 2, None: 3, ("a",): 4},
    "a set": lambda: {1, 2},
    "an object": object,
    "an empty array": lambda: np.empty((0, 5)),
    "an array of no dimension": lambda: np.array(5),
    "an array of objects": lambda: np.array([None, {}], dtype=object),
    "an array of text": lambda: np.array(["a", "b"]),
    "an array of times": lambda: np.array(["2020"], "M8[s]"),
    "a complex array": lambda: np.ones((2, *SHAPE), complex),
    "a large image": lambda: np.ones((2, 300, 400), np.uint8),
    "an image of NaN": lambda: np.full((2, *SHAPE), np.nan),
    "an image of bools": lambda: np.ones(SHAPE, bool),
    "an image of five dimensions": lambda: np.ones((1, 1, 2, *SHAPE), np.float16),
    "a number of NumPy": lambda: np.int64(5),
}

#: Where files may not be written; set by the test.
ROOT = "/nowhere"

OPERATIONS = ("replace", "replace", "replace", "remove", "add", "shorten", "lengthen", "rename", "copy")
MOVES = ("drop", "repeat", "move", "kind", "nothing at all")


@dataclass(frozen=True)
class Edit:
    """A change in one document, or of which documents there are; the numbers count modulo what there is."""

    document: int
    place: int
    operation: str
    value: str


@dataclass(frozen=True)
class Plan:
    """One or two runs, how they come, and what is changed in them."""

    runs: tuple[str, ...]
    order: str
    edits: tuple[Edit, ...]


def plans(names: tuple[str, ...]) -> st.SearchStrategy[Plan]:
    """Plans of runs of these names."""
    numbers = st.integers(0, 9999)
    edits = st.builds(Edit, numbers, numbers, st.sampled_from(OPERATIONS + MOVES), st.sampled_from(list(VALUES)))
    return st.builds(
        Plan,
        st.lists(st.sampled_from(names), min_size=1, max_size=2).map(tuple),
        st.sampled_from(("one after the other", "in turns", "nested")),
        st.lists(edits, min_size=1, max_size=4).map(tuple),
    )


def documents_of(plan: Plan, runs: dict[str, Docs], tag: str = "") -> tuple[list[tuple[Any, Any]], list[str]]:
    """The documents of a plan, and what was done to them."""
    several = [_copied(runs[name], f"{number}{tag}") for number, name in enumerate(plan.runs)]
    docs: list[tuple[Any, Any]] = [*several[0]]
    if len(several) > 1:
        if plan.order == "one after the other":
            docs += several[1]
        elif plan.order == "nested":
            docs[2:2] = several[1]
        else:
            longer, shorter = sorted(several, key=len, reverse=True)
            docs = [pair for pairs in zip(longer, shorter, strict=False) for pair in pairs] + longer[len(shorter) :]
    return docs, [_edit(docs, edit) for edit in plan.edits]


def _copied(docs: Docs, tag: str) -> Docs:
    """A run with uids of its own, and nothing in it that another one has too."""
    uids: set[str] = set()
    for _, doc in docs:
        for key in ("uid", "datum_id"):
            found = doc.get(key, ())
            uids.update([found] if isinstance(found, str) else found)

    def copied(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: copied(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [copied(item) for item in value]
        if isinstance(value, np.ndarray):
            return value.copy()
        return f"{value}-{tag}" if isinstance(value, str) and value in uids else value

    return [(name, copied(doc)) for name, doc in docs]


def _places(value: Any, holder: Any = None, key: Any = None, path: str = "") -> Iterator[tuple[Any, Any, str]]:
    """Every place in a document: what holds it, by which key, and how it is called."""
    if holder is not None:
        yield holder, key, path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for inner, item in list(items)[:20]:
        yield from _places(item, value, inner, f"{path}[{inner!r:.40}]")


def _edit(docs: list[tuple[Any, Any]], edit: Edit) -> str:
    if not docs:
        return "nothing"
    where, operation = edit.document % len(docs), edit.operation
    name, doc = docs[where]
    value = VALUES[edit.value]()
    match operation:
        case "drop":
            del docs[where]
            return f"drop {name} {where}"
        case "repeat":
            docs.insert(edit.place % (len(docs) + 1), (name, doc))
            return f"repeat {name} {where} at {edit.place % len(docs)}"
        case "move":
            docs.insert(edit.place % len(docs), docs.pop(where))
            return f"move {name} {where} to {edit.place % len(docs)}"
        case "kind":
            kinds = ("start", "descriptor", "event", "event_page", "stop", "resource", "datum", "datum_page")
            kinds = (*kinds, "stream_resource", "stream_datum", "bulk_events", "nonsense")
            docs[where] = (kinds[edit.place % len(kinds)], doc)
            return f"call {name} {where} {docs[where][0]}"
        case "nothing at all":
            docs[where] = (name, {})
            return f"empty {name} {where}"
    places = list(_places(doc))
    if not places:
        return "nothing"
    holder, key, path = places[edit.place % len(places)]
    old = holder[key]
    match operation:
        case "replace":
            holder[key] = value
        case "remove":
            del holder[key]
        case "add" if isinstance(old, dict):
            old[value if isinstance(value, str | int | float) else edit.value] = value
        case "add" if isinstance(old, list):
            old.insert(0, value)
        case "shorten" if isinstance(old, list | str) or (isinstance(old, np.ndarray) and old.ndim):
            holder[key] = old[:-1]
        case "lengthen" if isinstance(old, list):
            holder[key] = old + old
        case "rename" if isinstance(holder, dict):
            holder[value if isinstance(value, str | int | float | None) else edit.value] = holder.pop(key)
        case "copy":  # of another place, as a uid of something else, or a resource of itself
            other, other_key, _ = places[random.Random(edit.place).randrange(len(places))]
            if not isinstance(other[other_key], dict | list):
                holder[key] = other[other_key]
        case _:
            holder[key] = value
    return f"{operation} {name} {where} {path}: {edit.value}"


def write_frames(path: str) -> None:
    """The file of the stream of `raw_run`."""
    with h5py.File(path, "w") as file:
        file["frames"] = np.stack([image(n) for n in range(1, 7)])
