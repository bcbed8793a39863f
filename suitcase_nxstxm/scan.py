"""A scan on its way into its file: one run or many, one after the other or at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from pathlib import Path
from typing import Any

from suitcase.utils import MultiFileManager

from suitcase_nxstxm.buffer import Buffer
from suitcase_nxstxm.entries import Entries
from suitcase_nxstxm.entry import Facts
from suitcase_nxstxm.errors import DuplicateRunError, MetadataError, NXstxmError, UnfilledError
from suitcase_nxstxm.file import TmpFile
from suitcase_nxstxm.layout import layouts
from suitcase_nxstxm.metadata import scan_metadata
from suitcase_nxstxm.plain import plain_request
from suitcase_nxstxm.prefix import prefix_of
from suitcase_nxstxm.request import MAX_POINTS, Request, number_of_points
from suitcase_nxstxm.run import Run
from suitcase_nxstxm.stxm import stxm_request

__all__ = ["LABEL", "Options", "Scan", "place"]

LABEL = "all"
"""The label of what this suitcase writes, among the artifacts of a Manager."""


@dataclass(frozen=True)
class Options:
    """What the caller knows and the documents don't, or say otherwise.

    Parameters
    ----------
    scan_type
        The scan type, as a number or a name. By default that of the metadata; without metadata what the names of the
        motors speak for.
    primary_det
        The detector of the default plot; or a list of detectors that there must be, that one first.
    monitor
        The reading that ``control`` has. By default the ring current.
    source_name, instrument_name
        The names of the synchrotron and of the beamline.
    title
        The title of the entries. By default the plan's name and the number of the scan.
    timezone
        The zone that times are written in. By default UTC.
    max_points
        The most points of an image, of an axis, or of a stream. What asks for more is refused before it costs memory.
    max_keys
        The most streams and data keys of a run.
    """

    scan_type: int | str | None = None
    primary_det: str | Sequence[str] | None = None
    monitor: str | None = None
    source_name: str | None = None
    instrument_name: str | None = None
    title: str | None = None
    timezone: tzinfo | None = None
    max_points: int = MAX_POINTS
    max_keys: int = 10_000

    def __post_init__(self) -> None:
        if not all(isinstance(name, str) and name for name in self.primary):
            raise TypeError(f"primary_det is {self.primary_det!r}: it is the name of a detector, or a list of names")

    @property
    def primary(self) -> tuple[Any, ...]:
        """The detectors that the caller wants, the one of the default plot first."""
        wanted = self.primary_det
        if wanted is None:
            return ()
        return tuple(wanted) if isinstance(wanted, (list, tuple)) else (wanted,)

    @property
    def facts(self) -> Facts:
        """Those that the file just states."""
        return Facts(self.source_name, self.instrument_name, self.title, self.timezone)

    def request(self, start: Mapping[str, Any]) -> Request:
        """What a start document asks for."""
        try:
            metadata = scan_metadata(start)
            if metadata is None:
                found = plain_request(start, self.scan_type, self.max_points)
            else:
                found = stxm_request(start, metadata, self.scan_type, self.max_points)
            for image in found.images or (found,):
                for layout in layouts(image):
                    number_of_points(layout.plane_size, self.max_points, f"an image of run {found.run}")
        except NXstxmError as error:
            if start["uid"] in str(error):
                raise
            raise type(error)(f"run {start['uid']}: {error}") from error
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # What other programs write there can be wrong in more ways than anyone lists.
            why = " ".join(str(error).split())
            raise MetadataError(f"the metadata of run {start['uid']} can't be read: {why}") from error
        if not self.primary:
            return found
        images = tuple(replace(image, primary=self.primary, exact=False) for image in found.images)
        return replace(found, primary=self.primary, exact=False, images=images)


def place(directory: Any, file_prefix: str, start: Mapping[str, Any], first_uid: str) -> TmpFile | Buffer:
    """The file under construction in a directory, or in memory if a Manager of buffers stands for it."""
    prefix = prefix_of(file_prefix, start, first_uid)
    if isinstance(directory, (str, Path)):
        return TmpFile(Path(directory), prefix, first_uid, file_prefix)
    postfix = f"{prefix}.hdf5"
    known = {artifact["postfix"]: artifact for artifact in directory.get_artifacts(LABEL)}
    if isinstance(directory, MultiFileManager):
        name = Path(known[postfix]["name"]) if postfix in known else Path(directory.reserve_name(LABEL, postfix))
        return TmpFile(name.parent, name.name.removesuffix(".hdf5"), first_uid, file_prefix)
    return Buffer(known[postfix]["handle"] if postfix in known else directory.open(LABEL, postfix, "xb"))


@dataclass(eq=False)
class Scan:
    """The runs of a scan that is being written to one file.

    The file is open while any of its runs is; a failure marks it and closes it.

    Parameters
    ----------
    file
        The file.
    options
        What the caller knows.
    """

    file: TmpFile | Buffer
    options: Options
    running: dict[str, Run] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    failed: bool = False
    planes: int = 0
    _descriptors: dict[str, Run] = field(default_factory=dict)
    _entries: Entries | None = None

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take a document, other than a start, of one of the runs."""
        match name:
            case "descriptor" | "event" | "event_page" | "stop":
                getattr(self, name)(doc)
            case "stream_datum":
                raise UnfilledError("data of a run")

    def start(self, doc: Mapping[str, Any], request: Request) -> None:
        """Begin a run."""
        with self._guarded(request.run):
            if self._entries is None:
                self._entries = Entries(self.file.open())
            self.running[request.run] = Run(
                self._entries, doc, request, self.options.facts, self.options.monitor, self.options.max_keys
            )

    def descriptor(self, doc: Mapping[str, Any]) -> None:
        """Take the description of a stream of one of the runs."""
        run = self._of(doc["run_start"], "descriptor")
        self._descriptors[doc["uid"]] = run
        with self._guarded(run.request.run):
            run.descriptor(doc)

    def event(self, doc: Mapping[str, Any]) -> None:
        """Take an event of one of the runs."""
        run = self._described(doc)
        with self._guarded(run.request.run):
            run.event(doc)

    def event_page(self, doc: Mapping[str, Any]) -> None:
        """Take events of one of the runs."""
        run = self._described(doc)
        with self._guarded(run.request.run):
            run.event_page(doc)

    def stop(self, doc: Mapping[str, Any]) -> None:
        """End a run; with the last one that is open the file is closed."""
        run = self._of(doc["run_start"], "stop")
        with self._guarded(run.request.run):
            run.stop(doc)
            self.file.mended(run.request.run)
            self.planes += run.planes
            self._forget(run)
            self.ended[run.request.run] = str(doc.get("exit_status"))

    def release(self) -> None:
        """Close the file, if no run is open; it is opened again for the next one."""
        if not self.running:
            self._entries = None
            self.file.close()

    def close(self) -> None:
        """Close the file, with what the open runs have so far."""
        open_runs, self.running = list(self.running.values()), {}
        self._descriptors.clear()
        if self._entries is not None:
            self._entries = None
            try:
                for run in open_runs:
                    run.flush()
            finally:
                self.file.close()

    def _forget(self, run: Run) -> None:
        del self.running[run.request.run]
        self._descriptors = {uid: other for uid, other in self._descriptors.items() if other is not run}

    def _of(self, uid: str, what: str) -> Run:
        run = self.running.get(uid)
        if run is None:
            raise MetadataError(f"a {what} document of run {uid} came without its start document")
        return run

    def _described(self, doc: Mapping[str, Any]) -> Run:
        run = self._descriptors.get(doc["descriptor"])
        if run is None:
            raise MetadataError(f"an event came without its descriptor {doc['descriptor']}")
        return run

    @contextmanager
    def _guarded(self, uid: str) -> Iterator[None]:
        """Let no failure leave a file behind that looks whole."""
        try:
            yield
            self.file.check()
        except BaseException as error:
            if isinstance(error, DuplicateRunError) and uid not in self.running:
                self.release()  # nothing of the run is in the file, which is as good as it was
                raise
            self.failed = True
            self.running.clear()
            self._descriptors.clear()
            self._entries = None
            self.file.fail(error, uid)
            raise
