"""Frames behind a stream_resource and a stream_datum document, which are read straight from their files.

The conventions are those of `bluesky.consolidators`: an index counts
events, so with three frames an event index 1 is rows 3-5. Files may still be growing. A reader raises
`OSError` when the frames are not there (yet) and `ValueError` when waiting for them would be in vain.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np

from bluesky_ext import _deadline
from bluesky_ext.engine.documents.file_name import check_sequence
from bluesky_ext.engine.documents.intervals import Intervals
from bluesky_ext.engine.documents.provenance import new_uid, plain_copy
from bluesky_ext.engine.frames.hdf5 import AHEAD, BLOCK, read_hdf5
from bluesky_ext.engine.frames.references import SILENCES, Blocks, FrameReference, Told
from bluesky_ext.engine.frames.tiff import read_tiff

HDF5 = "application/x-hdf5"
SEQUENCE = "multipart/related;type="

MOST_FILES = 100_000  # of an event


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamReference(FrameReference):
    """Frames behind a stream_resource and a stream_datum document."""

    external: ClassVar[str] = "STREAM:"

    #: What the descriptor says of the data key; its `shape` is that of one event.
    description: Mapping[str, Any]
    #: Which event of the resource, counted from 0.
    index: int
    #: How many events of it documents have told of, from this one on.
    n_told: int = 1
    #: Which frames of the event, first and last + 1; all by default.
    part: tuple[int, int] | None = None

    @property
    def file(self) -> str:
        """The first of the files that hold the frames."""
        try:
            return self._files()[0]
        except ValueError:  # a property for messages does not raise: read() says what is wrong
            return self.resource["uri"]

    def blocks(self) -> Blocks:
        """Return some of the frames at a time, if they are in an HDF5 file, or in several files."""
        count, *frame = self._shape() or (None,)
        if len(frame) < 2 or not count or None in frame:
            return Blocks([self])
        least = 1 if self.resource["mimetype"] == HDF5 else count // len(self._files())  # a file is read as a whole
        step = max(1, BLOCK // (math.prod(frame) * np.dtype(self.description.get("dtype_numpy", "f8")).itemsize))  # pyright: ignore
        step = max(least, step // least * least)
        return Blocks([replace(self, part=(at, min(count, at + step))) for at in range(0, count, step)])

    def documents(self, run: str, descriptor: str, seq_num: int, told: dict[str, Any]) -> Told:
        """Return the stream_resource and the stream_datum, each if it was not told of yet; the event lacks the key."""
        documents = []
        known = told.get(self.resource["uid"])
        if known is None:
            known = told[self.resource["uid"]] = new_uid(), Intervals()
            documents.append(("stream_resource", {**plain_copy(self.resource), "uid": known[0], "run_start": run}))
        uid, frames = known
        if frames.add(seq_num, seq_num + 1, 0, self.index):  # sinks count the rows of a frame that is told of twice
            datum = {
                "uid": f"{uid}/{new_uid()}",
                "stream_resource": uid,
                "descriptor": descriptor,
                "seq_nums": {"start": seq_num, "stop": seq_num + 1},
                "indices": {"start": self.index, "stop": self.index + 1},
            }
            documents.append(("stream_datum", datum))
        return documents, {}

    def _read(self) -> np.ndarray:
        uri, mimetype, parameters = self.resource["uri"], self.resource["mimetype"], self.resource["parameters"]
        key = self.run, self.resource["uid"], uri, self.data_key, self.part, self.readable
        if mimetype == HDF5 and (frames := AHEAD.get(key, self.index)) is not None:
            return frames
        if SILENCES.skips(self.resource["uid"], self.file):
            raise OSError("the frames before it were not there, and the file has not changed since")
        if mimetype == HDF5:
            events = read_hdf5(_path(uri), parameters, self._shape(), self.index, self.readable, self.n_told, self.part)
            if len(events) == 1:
                return events[0]
            AHEAD.put(key, self.index + 1, events[1:])
            return events[0].copy()
        load, files, shape = _LOADERS.get(mimetype), self._files(), self._shape()
        if self.part is not None:
            (first, stop), each = self.part, (shape[0] or 1) // len(files)
            files, shape = files[first // each : stop // each], (stop - first, *shape[1:])
        if load is None:
            raise ValueError(
                f"cannot read {mimetype!r} ({uri}): only HDF5, and sequences of TIFF, JPEG and NPY, are read"
            )
        arrays = []
        for file in files:
            _deadline.check()
            arrays.append(load(self.readable.check(file)))
        return _assemble(arrays, shape, files)

    def _shape(self) -> tuple[int | None, ...]:
        """Return the shape of one event's data; the parameter `multiplier` says how many frames lead it."""
        shape = tuple(self.description.get("shape", ()))
        if multiplier := self.resource["parameters"].get("multiplier"):
            shape = (multiplier, *shape[1:]) if shape[:1] in ((1,), (multiplier,)) else (multiplier, *shape)
        return shape

    def _files(self) -> list[str]:
        uri, mimetype, parameters = self.resource["uri"], self.resource["mimetype"], self.resource["parameters"]
        path = _path(uri)
        if not mimetype.startswith(SEQUENCE):
            return [path]
        template = parameters.get("template")
        if template is None:
            if mimetype != SEQUENCE + "application/x-npy":
                raise ValueError(f"stream_resource of {uri!r} has no 'template' of file names in its parameters")
            template = "%s_%d.npy"  # what the NPY_SEQ handler hard-codes, and the consolidators after it
        count, filename = _files_per_event(parameters, self._shape(), mimetype), parameters.get("filename", "")
        # The template follows the URI verbatim: it may continue a directory or a file name.
        numbers = range(self.index * count, (self.index + 1) * count)
        return [path + _file_name(template, filename, number) for number in numbers]


def place_of(resource: Mapping[str, Any]) -> str | None:
    """The path of the first file of a stream_resource; None if it is behind a server, and no file.

    ValueError if the document does not say it.
    """
    if urlsplit(resource["uri"]).scheme in ("http", "https"):
        return None
    return StreamReference(data_key="", resource=resource, description={}, index=0)._files()[0]  # noqa: SLF001


def _path(uri: str) -> str:
    """Return the path behind a file URI, unquoted; the host is not looked at (shared file systems)."""
    # A '#' is a legal part of a file name, and ophyd-async does not quote the paths it puts into URIs.
    parts = urlsplit(uri, allow_fragments=False)
    if parts.scheme != "file":
        raise ValueError(
            f"cannot read {uri!r}: only file:// URIs are read directly; "
            "give the run as stored by a server (bluesky_ext.storage) instead"
        )
    return url2pathname(parts.path.replace("#", "%23"))  # what Python 3.14 takes for a fragment


def _files_per_event(parameters: Mapping[str, Any], shape: Sequence[int | None], mimetype: str) -> int:
    chunks = tuple(parameters.get("chunk_shape") or (1,))
    join = parameters.get("join_method", "stack" if mimetype.endswith("x-npy") else "concat")
    # With fewer than three axes, or a chunk of more axes than the data, no axis of the data counts frames.
    if join == "stack" or len(shape) < 3 or len(chunks) > len(shape) or shape[0] is None:
        return 1
    if shape[0] % chunks[0]:
        raise ValueError(
            f"files of {chunks[0]} frames (chunk_shape {chunks}) do not add up to events of shape {tuple(shape)}; "
            "correct chunk_shape in the stream_resource"
        )
    if shape[0] // chunks[0] > MOST_FILES:
        raise ValueError(f"an event of shape {tuple(shape)} in more than {MOST_FILES} files: write stacks of frames")
    return shape[0] // chunks[0]


def _file_name(template: str, filename: str, number: int) -> str:
    """Return the name that an old (``%s%s_%06d.tif``) or new (``img_{:06d}.tif``) template gives file `number`."""
    check_sequence(template)
    name = template.format(number) if "{" in template else template
    name = re.sub(r"%[-+ #0]*\d*(?:\.\d+)?d", lambda match: match[0] % number, name)
    head, _, tail = name.partition("%s")  # areaDetector's first %s is the directory: it is in the URI
    return head + filename + tail.replace("%s", "") if "%s" in name else name


def _load_npy(path: str) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise OSError(f"{path} is not a whole NPY file: {error}") from error


def _load_jpeg(path: str) -> np.ndarray:
    from PIL import Image

    with Image.open(path, formats=["JPEG"]) as image:
        return np.asarray(image)


_LOADERS: dict[str, Callable[[str], np.ndarray]] = {
    SEQUENCE + "image/tiff": read_tiff,
    SEQUENCE + "image/jpeg": _load_jpeg,
    SEQUENCE + "application/x-npy": _load_npy,
}


def _assemble(arrays: list[np.ndarray], shape: Sequence[int | None], files: Sequence[str]) -> np.ndarray:
    """Return the files' pages one after the other.

    Only the axis that counts frames is made to fit: reshaping pages to a `shape` with rows and columns
    swapped (which describe() often gets wrong) would scramble the image without a word.
    """
    if len(shape) < 3:
        array = arrays[0]
        return array[0] if array.ndim == len(shape) + 1 and array.shape[0] == 1 else array
    page = len(shape) - 1
    stacks = [array.reshape((-1, *array.shape[array.ndim - page :])) for array in arrays if array.ndim >= page]
    frames = sum(len(stack) for stack in stacks)
    if len(stacks) < len(arrays) or shape[0] not in (None, frames):
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise OSError(f"{files[0]} and so on hold {shapes} and not (yet) an event of shape {tuple(shape)}")
    return stacks[0] if len(stacks) == 1 else np.concatenate(stacks)
