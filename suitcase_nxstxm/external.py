"""Images that lie in files beside the documents: read from there, if the caller allows it."""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import event_model
import h5py
import numpy as np

from suitcase_nxstxm.errors import UnfilledError

_HDF5 = "application/x-hdf5"


class External:
    """What the documents of some runs say of images in files.

    Files are read below `roots` only; those of resource documents by the handler of their ``spec``, which is called
    with the path and the ``resource_kwargs``, and what that gives with the ``datum_kwargs`` of each image.
    """

    def __init__(self, roots: Iterable[str | Path], handlers: Mapping[str, Callable[..., Any]]) -> None:
        self._roots = [Path(root).resolve() for root in roots]
        self._handlers = handlers
        self.resources: dict[str, Mapping[str, Any]] = {}
        self._readers: dict[str, Any] = {}
        self._datums: dict[str, Mapping[str, Any]] = {}
        self._streamed: dict[str, list[Mapping[str, Any]]] = defaultdict(list)  # stream_datum documents by their run

    def take(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take a document that says where images are; without a root none can be read."""
        if not self._roots:
            return
        if name in ("resource", "stream_resource"):
            self.resources[doc["uid"]] = doc
        else:
            for datum in event_model.unpack_datum_page(doc) if name == "datum_page" else [doc]:  # pyright: ignore
                self._datums[datum["datum_id"]] = datum

    def expect(self, run: str, doc: Mapping[str, Any]) -> None:
        """Take a stream_datum, whose images are read when the run ends and its files are whole."""
        if doc["stream_resource"] not in self.resources:
            raise UnfilledError(f"data of run {run}")
        self._stream_file(self.resources[doc["stream_resource"]])
        self._streamed[run].append(doc)

    def forget(self, run: str) -> None:
        """Take nothing more of a run."""
        gone = {uid for uid, resource in self.resources.items() if resource.get("run_start") == run}
        self._streamed.pop(run, None)
        self.resources = {uid: resource for uid, resource in self.resources.items() if uid not in gone}
        self._readers = {uid: reader for uid, reader in self._readers.items() if uid not in gone}
        self._datums = {key: datum for key, datum in self._datums.items() if datum["resource"] not in gone}

    def image(self, datum_id: str, what: str) -> np.ndarray:
        """The image of a datum; `what` is in an error if it can't be read."""
        datum = self._datums.pop(datum_id, None)
        resource = self.resources.get(datum["resource"]) if datum is not None else None
        if datum is None or resource is None or resource["spec"] not in self._handlers:
            raise UnfilledError(what)
        path = self._allowed(Path(resource.get("root") or "/", resource["resource_path"]), what)
        self._check_texts([resource["resource_kwargs"], datum["datum_kwargs"]], what)
        try:
            if resource["uid"] not in self._readers:
                self._check_links(path, what, set())
                reader = self._handlers[resource["spec"]](str(path), **resource["resource_kwargs"])
                self._readers[resource["uid"]] = reader
            return _image(np.asarray(self._readers[resource["uid"]](**datum["datum_kwargs"])))
        except OSError as error:
            raise UnfilledError(f"{what} can't be read ({error}): it") from error

    def streamed(self, run: str, shapes: Mapping[str, Sequence[int]]) -> Iterator[tuple[str, int, str, np.ndarray]]:
        """The images of a run that no event has, each with descriptor, number of the event, and data key.

        `shapes` has what an event has of each key: of three dimensions the first one counts frames.
        """
        for uid, documents in itertools.groupby(self._streamed.pop(run, ()), lambda doc: doc["stream_resource"]):
            resource = self.resources[uid]
            key, path, parameters = resource["data_key"], self._stream_file(resource), resource["parameters"]
            shape = shapes.get(key) or ()
            number = max(parameters.get("multiplier") or (shape[0] if len(shape) == 3 else 1), 1)
            try:
                self._check_links(path, f"{key!r} of run {run}", set())
                with _open(path) as file:
                    stored: Any = file[parameters.get("dataset") or parameters["path"]]
                    for doc in documents:
                        events = zip(range(*_bounds(doc["indices"])), range(*_bounds(doc["seq_nums"])), strict=True)
                        for index, seq_num in events:
                            if (index + 1) * number > len(stored):
                                raise OSError(f"it has {len(stored)} frames, and event {seq_num} more")
                            frames = stored[index * number : (index + 1) * number]
                            yield doc["descriptor"], seq_num, key, _image(frames)
            except (KeyError, OSError) as error:
                raise UnfilledError(f"{key!r} of run {run} can't be read from {path} ({error}): it") from error

    def _stream_file(self, resource: Mapping[str, Any]) -> Path:
        what, uri = f"{resource['data_key']!r} of run {resource['run_start']}", urlsplit(resource["uri"])
        if resource["mimetype"] != _HDF5 or uri.scheme not in ("file", ""):
            raise UnfilledError(f"{what} ({resource['mimetype']}, {resource['uri']})")
        return self._allowed(Path(url2pathname(uri.path)), what)

    def _allowed(self, path: Path, what: str) -> Path:
        path = path.resolve()
        special = path.exists() and not (path.is_file() or path.is_dir())
        if special or not any(path.is_relative_to(root) for root in self._roots):
            raise UnfilledError(f"{what} ({path})")
        return path

    def _check_links(self, path: Path, what: str, known: set[Path]) -> None:
        """Refuse an HDF5 file of which some part lies in a file that may not be read."""
        if path in known or not path.is_file() or not h5py.is_hdf5(path):
            return
        known.add(path)
        names: set[str] = set()

        def visit(name: str, link: Any) -> None:
            if isinstance(link, h5py.ExternalLink):
                names.add(link.filename)
            elif isinstance(link, h5py.HardLink) and isinstance(dataset := file[name], h5py.Dataset):
                names.update(os.fsdecode(part[0]) for part in dataset.external or ())
                names.update(part.file_name for part in (dataset.virtual_sources() if dataset.is_virtual else ()))

        with _open(path) as file:
            file.visititems_links(visit)
        for name in names - {"."}:
            for place in (path.parent / name, path.parent / Path(name).name, Path(name).absolute()):
                for found in glob.glob(glob.escape(str(place)).replace("%b", "*")):  # sources may be numbered, by %b
                    self._check_links(self._allowed(Path(found), what), what, known)

    def _check_texts(self, given: Any, what: str) -> None:
        """Refuse texts in what a handler is given by which it would come to other directories, or to a long name."""
        if isinstance(given, str):
            if ".." in given or re.search(r"%[^A-Za-z%]*\d{3}", given):
                raise UnfilledError(f"{what} ({given:.100})")
            if given.startswith("/") and Path(given).is_file():
                self._allowed(Path(given), what)
        elif isinstance(given, (Mapping, list, tuple)):
            for inner in given.values() if isinstance(given, Mapping) else given:
                self._check_texts(inner, what)


def _bounds(counted: Mapping[str, int]) -> tuple[int, int]:
    return counted["start"], counted["stop"]


def _image(frames: np.ndarray) -> np.ndarray:
    """One frame as an image."""
    return frames[0] if frames.ndim == 3 and len(frames) == 1 else frames


def _open(path: Path) -> h5py.File:
    """An HDF5 file, which its detector may still have open: with SWMR, or as a file that is locked, or neither."""
    for locking, swmr in ((None, True), (None, False), (False, True)):
        with contextlib.suppress(OSError):
            return h5py.File(path, "r", swmr=swmr, locking=locking)
    return h5py.File(path, "r", locking=False)
