"""Limits: how much memory and time a document from a network may ask for, and which files it may name."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from bluesky_ext.engine.codec.framing import MAX_OBJECTS, MAX_PLAIN
from bluesky_ext.engine.documents.file_name import check_sequence
from bluesky_ext.engine.frames.datums import check_resource
from bluesky_ext.engine.frames.readable import Readable
from bluesky_ext.engine.frames.stream_files import place_of

_NUMBERS = frozenset({int, float, bool})

#: Something that a document has, in words, how much there is of it, and the limit that this has.
_Size: TypeAlias = tuple[str, float, str]


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

    def check(self, name: str, doc: Mapping[str, Any], readable: Readable) -> None:
        """Raise `Refused` at a document beyond a limit, or one that names files that may not be read.

        KeyError or TypeError if it is no such document.
        """
        for what, size, limit in _sizes(name, doc):
            most = getattr(self, limit)
            if not 0 <= size <= most:
                remedy = f"--limit {limit}=N, or limits=Limits({limit}=N)"
                raise Refused(f"limit {limit}", f"{what} is {size:.12g}, and may be {most} at most ({remedy})")
        if readable.is_limited:
            try:
                _check_files(name, doc, readable)
            except ValueError as error:
                raise Refused(f"file of {name}", " ".join(str(error).split())) from error


def _check_files(name: str, doc: Mapping[str, Any], readable: Readable) -> None:
    """Raise ValueError at a document that names files that may not be read."""
    if name == "resource":
        check_resource(readable, os.path.join(doc.get("root") or "", doc["resource_path"]), doc["resource_kwargs"])
    elif name in ("datum", "datum_page"):
        readable.check_texts(doc["datum_kwargs"])
    elif name == "stream_resource" and (place := place_of(doc)) is not None:
        readable.check_kind(readable.check_place(place))
        readable.check_texts([doc["parameters"].get("template"), doc["parameters"].get("filename")])


def _sizes(name: str, doc: Mapping[str, Any]) -> Iterator[_Size]:
    """What a document asks for; `Refused` if that can't be said."""
    for key in ("uid", "name", "data_key", "descriptor", "resource", "stream_resource", "run_start", "datum_id"):
        if isinstance(text := doc.get(key), str):
            yield f"the length of its {key}", len(text), "text"
    match name:
        case "start":
            yield from _of_scan(doc)
            yield from _of_lists(doc)
        case "descriptor":
            yield "the number of its data keys", len(doc["data_keys"]), "keys"
            for key, about in doc["data_keys"].items():
                yield "the length of a data key", len(key), "text"
                yield from _of_shape(f"the shape of {key!r:.100}", about.get("shape") or ())
        case "event" | "event_page":
            yield "the number of its data keys", len(doc["data"]), "keys"
            yield from _of_lists(doc["data"])
            seq_nums = doc["seq_num"] if name == "event_page" else [doc["seq_num"]]
            yield "the number of its events", len(seq_nums), "rows"
            yield "its seq_num", max(map(operator.index, seq_nums), default=0), "seq_num"
        case "datum_page":
            yield "the number of its datums", len(doc["datum_id"]), "rows"
        case "resource":
            for path in filter(None, (doc["resource_path"], doc.get("root"))):
                yield "the length of its path", len(path), "text"
            yield from _of_kwargs(doc["resource_kwargs"])
        case "stream_resource":
            yield "the length of its path", len(doc["uri"]), "text"
            yield from _of_parameters(doc["parameters"], is_files=doc["mimetype"].startswith("multipart/"))
        case "stream_datum":
            yield from _of_ranges(doc["indices"], doc["seq_nums"])
        case "stop":
            yield "the number of its streams", len(doc.get("num_events") or ()), "keys"


def _of_lists(data: Mapping[str, Any]) -> Iterator[_Size]:
    for key, value in data.items():
        if type(value) is list:
            longest, count = _texts(value)
            yield f"the length of the texts in {key!r:.100}", longest * count, "letters"


def _of_scan(start: Mapping[str, Any]) -> Iterator[_Size]:
    for key in ("num_points", "num_intervals"):
        if isinstance(number := start.get(key), int | float):
            yield key, number, "points"
    shape = start.get("shape")
    if isinstance(shape, Iterable) and not isinstance(shape, str):
        lengths = [length for length in shape if isinstance(length, int | float)]
        yield "the number of axes of the scan", len(lengths), "axes"
        yield "the number of points of the scan", _product(lengths), "points"


def _of_shape(what: str, shape: Iterable[Any]) -> Iterator[_Size]:
    lengths = [0 if length is None else operator.index(length) for length in shape]
    yield f"the number of axes in {what}", len(lengths), "axes"
    yield f"an axis in {what}", min(lengths, default=0), "values"
    yield f"the number of values in {what}", _product(filter(None, lengths)), "values"


def _of_kwargs(kwargs: Mapping[str, Any]) -> Iterator[_Size]:
    template = kwargs.get("template")
    if isinstance(template, str):
        yield from _of_template(template, is_printf=True)
    for key in ("frame_per_point", "images_per_file"):
        if isinstance(number := kwargs.get(key), int | float):
            yield key, number, "frames" if template is None else "files"


def _of_parameters(parameters: Mapping[str, Any], *, is_files: bool) -> Iterator[_Size]:
    yield "its multiplier", operator.index(parameters.get("multiplier") or 1), "files" if is_files else "values"
    if chunks := parameters.get("chunk_shape"):
        yield from _of_shape("its chunk_shape", chunks)
        if not all(chunks):
            raise Refused("chunk_shape", f"its chunk_shape {chunks!r:.100} has an axis of no length")
    if isinstance(filename := parameters.get("filename"), str):
        yield "the length of its filename", len(filename), "text"
    if isinstance(template := parameters.get("template"), str):
        yield from _of_template(template)


def _of_template(template: str, *, is_printf: bool = False) -> Iterator[_Size]:
    yield "the length of its template", len(template), "text"
    try:
        check_sequence(template, is_printf=is_printf)
    except ValueError as error:
        raise Refused("template", str(error)) from None


def _of_ranges(indices: Mapping[str, Any], seq_nums: Mapping[str, Any]) -> Iterator[_Size]:
    lengths = []
    for about in (indices, seq_nums):
        start, stop = operator.index(about["start"]), operator.index(about["stop"])
        yield "the start of its range", start, "seq_num"
        yield "the end of its range", stop - 1 if stop else 0, "seq_num"
        yield "the length of its range", stop - start, "frames"
        lengths.append(stop - start)
    if lengths[0] != lengths[1]:
        raise Refused("ranges", f"it has {lengths[0]} indices for {lengths[1]} seq_nums: an index stands for an event")


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
