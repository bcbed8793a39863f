"""Processed files: what came of a run, in a file of HDF5 beside the raw one."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import h5py

from bluesky_ext._version import __version__
from bluesky_ext.engine.documents.file_name import file_name
from bluesky_ext.engine.documents.live_runs import is_live
from bluesky_ext.engine.frames.readable import present
from bluesky_ext.live.processed.nexus import attributes_of, iso_time, nexus_tree, parameters_tree
from bluesky_ext.live.processed.tree_file import TreeFile
from bluesky_ext.live.processed.values import check_name

log = logging.getLogger(__name__)

#: So often what was written reaches the operating system, in s.
PERIOD = 5.0
_SUFFIXES = (".h5", ".hdf5", ".hdf", ".nxs", ".nx5")
#: The attribute of a file by which it is known of which run it is.
_RAW_RUN = "raw_run_uid"


class ProcessedFile:
    """The processed file of one run, as a reducer of one's own writes it: values as they come, and whatever else.

    It is named as the raw file, with ``_processed`` before the suffix, and lies beside it. It is ``.tmp`` until
    `close`; a process that is killed leaves in there what was written some seconds before. The file of the same run is
    replaced, one of another run is not: then a part of the uid is added to the name.

    Parameters
    ----------
    raw : dict or path
        The start document of the run, whose ``filename`` is the raw file, or that file itself. If it is empty, or the
        run has ``purpose="live"``, it is live only, and nothing is written.
    parameters : mapping, optional
        Those of the analysis, as a reducer is given them; they are in the file.
    directory : path, optional
        Where the file goes, if that is not beside the raw file. In a server, where documents come from a network, there
        is none without it.
    first_event : int
        The number of the event that is in the first row.
    about : dict, optional
        What the file says of how it was made, beside that, such as ``program`` and ``version``.

    Attributes
    ----------
    path : pathlib.Path or None
        What the file is called when it is closed; None if there is none.
    problems : list of str
        What of the last `update` HDF5 can't hold, so that it is not in the file.

    Examples
    --------
    >>> import tempfile
    >>> directory = tempfile.TemporaryDirectory()
    >>> file = ProcessedFile("scan_7.h5", directory=directory.name)
    >>> file.append("intensity", 2, 9.25)
    >>> file.append("intensity", 1, 4.5)
    >>> with h5py.File(file.close()) as saved:
    ...     saved.filename.rpartition("/")[2], saved["entry/data/intensity"][:].tolist()
    ('scan_7_processed.h5', [4.5, 9.25])
    >>> directory.cleanup()
    """

    def __init__(
        self,
        raw: Mapping[str, Any] | str | os.PathLike[str],
        parameters: Mapping[str, Any] | None = None,
        *,
        directory: str | os.PathLike[str] | None = None,
        first_event: int = 1,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        start: dict[str, Any] = dict(raw) if isinstance(raw, Mapping) else {"filename": os.fspath(raw)}
        self._uid = str(start.get("original_run_uid", start.get("uid", "")))
        self.path = _path(start, self._uid, directory)
        self.problems: list[str] = []
        self._process = {
            "date": iso_time(time.time()),
            "raw_run_uid": self._uid,
            "raw_file": start.get("filename", ""),
            "status": "running",
            **(about or {}),
            "bluesky_ext_version": __version__,
        }
        self._entry = {"start_time": iso_time(start["time"])} if "time" in start else {}
        self._parameters = parameters or {}
        self._first = first_event
        self._signal = ""
        self._tree: dict[str, Any] = {}
        self._flushed = time.monotonic()
        self._file = None if self.path is None else TreeFile(self.path)
        try:
            self.update({})
        except BaseException:
            self.abandon()
            raise

    def append(self, name: str, event_number: int, value: Any, *, filler: Any = None) -> None:
        """Put what came of an event into its row of a dataset, which grows, in whatever order the events come.

        Rows of events that did not come have the ``filler``, which is given with the first value: NaN for floats and 0
        for other numbers unless it is. The dataset is in the group ``data``; the first one is what is plotted.
        """
        if self._file is None:
            return
        check_name(name)
        row = event_number - self._first
        if row < 0:
            raise ValueError(f"{name}: event {event_number} is before the first one: give first_event={event_number}")
        self._file.append(f"/entry/data/{name}", row, value, filler)
        if not self._signal:
            self._signal = name
            self.update({})
        elif time.monotonic() - self._flushed > PERIOD:
            self._file.flush()
            self._flushed = time.monotonic()

    def update(self, tree: Mapping[str, Any], parameters: Mapping[str, Any] | None = None) -> None:
        """Have what is in a tree in the file, as a reducer publishes it; what is there by these names is replaced."""
        self.replace({**self._tree, **tree}, parameters)

    def replace(self, tree: Mapping[str, Any], parameters: Mapping[str, Any] | None = None) -> None:
        """Have what is in a tree in the file, and not what was in those before; what was appended stays."""
        if self._file is None:
            return
        self._tree = dict(tree)
        self._parameters = self._parameters if parameters is None else parameters
        if self._signal:
            appended, own = {"_attrs": {"NX_class": "NXdata", "signal": self._signal}}, tree.get("data", {})
            if not isinstance(own, Mapping):
                raise ValueError("'data' is the group of what is appended: give the value another name, or a dict")
            tree = {**tree, "data": _merged(appended, own)}
        process = {**self._process, "parameters": parameters_tree(self._parameters)}
        if sha256 := getattr(self._parameters, "sha256", ""):
            process["parameters_sha256"] = sha256
        whole = nexus_tree(tree, process, self._entry)
        self.problems = self._file.write(_merged({"_attrs": {_RAW_RUN: self._uid}}, whole))
        self._flushed = time.monotonic()

    def close(self, status: str = "success", **about: Any) -> Path | None:
        """Say how the run ended, and give the file its name; return that, None if there is no file."""
        if self._file is None:
            return None
        self._process |= {"status": status, "end_time": iso_time(time.time()), **about}
        self.update({})
        file, self._file = self._file, None
        return file.finish()

    def abandon(self) -> None:
        """Leave the file as ``.tmp``, as far as it is."""
        file, self._file = self._file, None
        if file is not None:
            file.close()


def _merged(first: Mapping[str, Any], then: Mapping[str, Any]) -> dict[str, Any]:
    """The values and attributes of one dict of a tree and another one."""
    return {**first, **then, "_attrs": {**attributes_of(first), **attributes_of(then)}}


def _path(start: Mapping[str, Any], uid: str, directory: str | os.PathLike[str] | None) -> Path | None:
    """Where the processed file of a run goes; None if there is to be none, or nothing says where."""
    raw = start.get("filename")
    if raw == "" or is_live(start):
        why = "an empty filename" if raw == "" else "the purpose 'live'"
        log.info("run %s has %s: it is live only, and no processed file is written", uid, why)
        return None
    if directory is None and present().is_limited:
        log.warning(
            "no processed file of run %s: in a server, documents don't say where files go: give directory=", uid
        )
        return None
    if raw is None:
        if directory is None:
            log.warning("run %s names no file beside which its processed file could be: give directory=", uid)
            return None
        raw = uid
    if not isinstance(raw, str):
        raise TypeError(f"run {uid} has a filename that is a {type(raw).__name__}: give text")
    stem, suffix = os.path.splitext(PurePath(raw).name)
    folder = (Path(raw).parent if directory is None else Path(directory)).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    suffix = suffix if suffix.lower() in _SUFFIXES else ".h5"
    path = folder / (file_name(f"{stem}_processed") + suffix)
    if not _is_of(path, uid):
        other = folder / (file_name(f"{stem}_processed-{uid[:8]}") + suffix)
        if not uid or not _is_of(other, uid):
            raise FileExistsError(f"{path} is there, and not a processed file of this run: give another directory")
        log.info("%s is of another run: that of run %s is %s", path, uid, other)
        path = other
    return path


def _is_of(path: Path, uid: str) -> bool:
    """Whether there is no file, or one of this run."""
    if not os.path.lexists(path):
        return True
    if path.resolve().parent != path.parent.resolve():
        raise OSError(f"{path} leads to {path.resolve()}: processed files are not written through links")
    try:
        with h5py.File(path, locking=False) as file:
            return file.attrs.get(_RAW_RUN) == uid
    except OSError:
        return False
