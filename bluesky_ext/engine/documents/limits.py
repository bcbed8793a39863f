"""Limits: how much memory and time a document may ask for by the numbers and names in it."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from bluesky_ext.engine.codec.framing import MAX_OBJECTS, MAX_PLAIN
from bluesky_ext.engine.documents.file_sequence import check_sequence

_NUMBERS = frozenset({int, float, bool})


class Refused(ValueError):  # noqa: N818 - it names what became of a document
    """A document that no callback gets; ``kind`` is the same for all that are refused for one reason."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The most that a document from a network may have; no beamline comes near.

    Parameters
    ----------
    objects, plain : int
        Lists, dicts and arrays of a document, and its bytes beside the values of arrays.
    text : int
        Characters of a uid, of the name of a stream, a data key or a file.
    keys : int
        Data keys of a descriptor or an event, streams of a stop document.
    axes, values : int
        Axes and values that a data key has in one event.
    rows : int
        Events of an event_page, datums of a datum_page.
    frames : int
        Events that one stream_datum has frames of, and frames of one datum.
    files : int
        Files that hold the frames of one event.
    seq_num : int
        The number of an event.
    points : int
        Points that a scan is to have.
    letters : int
        Characters of the texts in a list, if all were as long as the longest: as they are in an array.
    """

    objects: int = MAX_OBJECTS
    plain: int = MAX_PLAIN
    text: int = 4096
    keys: int = 10_000
    axes: int = 16
    values: int = 2**34
    rows: int = 1_000_000
    frames: int = 1_000_000
    files: int = 10_000
    seq_num: int = 10**9
    points: int = 10**8
    letters: int = 2**26

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not int or value < 1:
                raise ValueError(f"limit {field.name}={value!r}: give a whole number above 0")

    def check(self, name: str, doc: Mapping[str, Any]) -> None:
        """Raise `Refused` if a document goes beyond a limit; KeyError or TypeError if it is no such document."""
        for key in ("uid", "name", "data_key", "descriptor", "resource", "stream_resource", "run_start", "datum_id"):
            if isinstance(text := doc.get(key), str):
                self._check("text", len(text), f"the length of its {key}")
        match name:
            case "start":
                self._check_scan(doc)
                self._check_lists(doc)
            case "descriptor":
                self._check("keys", len(doc["data_keys"]), "the number of its data keys")
                for key, about in doc["data_keys"].items():
                    self._check("text", len(key), "the length of a data key")
                    self._check_shape(f"the shape of {key!r:.100}", about.get("shape") or ())
            case "event":
                self._check("keys", len(doc["data"]), "the number of its data keys")
                self._check_lists(doc["data"])
                self._check("seq_num", operator.index(doc["seq_num"]), "its seq_num")
            case "event_page":
                self._check("keys", len(doc["data"]), "the number of its data keys")
                self._check_lists(doc["data"])
                self._check("rows", len(doc["seq_num"]), "the number of its events")
                self._check("seq_num", max(map(operator.index, doc["seq_num"]), default=0), "a seq_num of it")
            case "datum_page":
                self._check("rows", len(doc["datum_id"]), "the number of its datums")
            case "resource":
                self._check_paths(doc["resource_path"], doc.get("root"))
                self._check_kwargs(doc["resource_kwargs"])
            case "stream_resource":
                self._check_paths(doc["uri"])
                self._check_parameters(doc["parameters"], is_files=doc["mimetype"].startswith("multipart/"))
            case "stream_datum":
                self._check_ranges(doc["indices"], doc["seq_nums"])
            case "stop":
                self._check("keys", len(doc.get("num_events") or ()), "the number of its streams")

    def _check(self, limit: str, value: float, what: str) -> None:
        if not 0 <= value <= getattr(self, limit):
            most = getattr(self, limit)
            raise Refused(
                f"limit {limit}",
                f"{what} is {value:.12g}, and may be {most} at most (--limit {limit}=N, or limits=Limits({limit}=N))",
            )

    def _check_lists(self, data: Mapping[str, Any]) -> None:
        for key, value in data.items():
            if type(value) is list:
                longest, count = _texts(value)
                self._check("letters", longest * count, f"the length of the texts in {key!r:.100}")

    def _check_scan(self, start: Mapping[str, Any]) -> None:
        for key in ("num_points", "num_intervals"):
            if isinstance(number := start.get(key), int | float):
                self._check("points", number, key)
        shape = start.get("shape")
        if isinstance(shape, Iterable) and not isinstance(shape, str):
            lengths = [length for length in shape if isinstance(length, int | float)]
            self._check("axes", len(lengths), "the number of axes of the scan")
            self._check("points", _product(lengths), "the number of points of the scan")

    def _check_shape(self, what: str, shape: Iterable[Any], frames: int = 1) -> None:
        lengths = [0 if length is None else operator.index(length) for length in shape]
        self._check("axes", len(lengths), f"the number of axes in {what}")
        self._check("values", min(lengths, default=0), f"an axis in {what}")
        self._check("values", _product([frames, *filter(None, lengths)]), f"the number of values in {what}")

    def _check_kwargs(self, kwargs: Mapping[str, Any]) -> None:
        template = kwargs.get("template")
        if isinstance(template, str):
            self._check("text", len(template), "the length of its template")
            _check_sequence(template, is_printf=True)
        for key in ("frame_per_point", "images_per_file"):
            if isinstance(number := kwargs.get(key), int | float):
                self._check("frames" if template is None else "files", number, key)

    def _check_parameters(self, parameters: Mapping[str, Any], *, is_files: bool) -> None:
        multiplier = operator.index(parameters.get("multiplier") or 1)
        self._check("files" if is_files else "values", multiplier, "its multiplier")
        if chunks := parameters.get("chunk_shape"):
            self._check_shape("its chunk_shape", chunks)
            if not all(chunks):
                raise Refused("chunk_shape", f"its chunk_shape {chunks!r:.100} has an axis of no length")
        for key in ("template", "filename"):
            if isinstance(text := parameters.get(key), str):
                self._check("text", len(text), f"the length of its {key}")
        if isinstance(template := parameters.get("template"), str):
            _check_sequence(template)

    def _check_paths(self, *paths: Any) -> None:
        for path in paths:
            if path is not None:
                self._check("text", len(path), "the length of its path")

    def _check_ranges(self, *ranges: Mapping[str, Any]) -> None:
        lengths = []
        for about in ranges:
            start, stop = operator.index(about["start"]), operator.index(about["stop"])
            self._check("seq_num", start, "the start of its range")
            self._check("seq_num", stop - 1 if stop else 0, "the end of its range")
            self._check("frames", stop - start, "the length of its range")
            lengths.append(stop - start)
        if len({*lengths}) > 1:
            raise Refused(
                "ranges", f"it has {lengths[0]} indices for {lengths[1]} seq_nums: an index stands for an event"
            )


def _check_sequence(template: str, *, is_printf: bool = False) -> None:
    try:
        check_sequence(template, is_printf=is_printf)
    except ValueError as error:
        raise Refused("template", str(error)) from None


def _texts(value: list[Any]) -> tuple[int, int]:
    """The length of the longest text in lists in lists, and how many items there are."""
    if set(map(type, value)) <= _NUMBERS:
        return 0, len(value)
    longest, count = 0, 0
    for item in value:
        length, items = _texts(item) if type(item) is list else (len(item) if isinstance(item, str) else 0, 1)
        longest, count = max(longest, length), count + items
    return longest, count


def _product(lengths: Iterable[float]) -> float:
    """The product as a float, since that of integers from anyone may have millions of digits."""
    try:
        return math.prod(map(float, lengths))
    except OverflowError:
        return math.inf
