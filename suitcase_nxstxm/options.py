"""What the caller of an export knows and the documents don't, or say otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from suitcase_nxstxm.errors import MetadataError, NXstxmError
from suitcase_nxstxm.metadata import scan_metadata
from suitcase_nxstxm.plans import plain_request
from suitcase_nxstxm.pystxm import stxm_request
from suitcase_nxstxm.request import MAX_POINTS, Request, images, number_of_points

_OF_JSON = (str, int, float, list, dict, type(None))


@dataclass(frozen=True)
class Options:
    """What the caller knows and the documents don't, or say otherwise."""

    scan_type: int | str | None = None  # by default that of the metadata, or what the names of the motors speak for
    primary_det: str | Sequence[str] | None = None  # of the default plot; or those that there must be, that one first
    monitor: str | None = None  # the reading that `control` has; by default the ring current
    source_name: str | None = None  # of the synchrotron
    instrument_name: str | None = None  # of the beamline
    title: str | None = None  # of the entries; by default the plan's name and the number of the scan
    timezone: tzinfo | None = None  # that times are written in; by default UTC
    max_points: int = MAX_POINTS  # of an image, of an axis, or of a stream: what asks for more is refused
    max_keys: int = 10_000  # streams and data keys of a run
    readable_roots: Sequence[str | Path] = ()  # directories below which images may be read that documents refer to
    handler_registry: Mapping[str, Callable[..., Any]] = field(default_factory=dict)  # what reads them, by their spec

    def __post_init__(self) -> None:
        if not all(isinstance(name, str) and name for name in self.primary):
            raise TypeError(f"primary_det is {self.primary_det!r}: it is the name of a detector, or a list of names")
        if isinstance(self.readable_roots, (str, Path)):
            raise TypeError(f"readable_roots is {self.readable_roots!r}: it is a list of directories")

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Options:
        """The options of a record."""
        zone = record.get("timezone")
        found = None if zone is None else ZoneInfo(zone) if isinstance(zone, str) else timezone(timedelta(seconds=zone))
        return cls(**{**record, "timezone": found})

    def record(self) -> dict[str, Any]:
        """The options as JSON has them: of a time zone without a name its offset now."""
        zone = self.timezone
        offset = None if zone is None else zone.utcoffset(datetime.now())
        said = zone.key if isinstance(zone, ZoneInfo) else None if offset is None else offset.total_seconds()
        here = {"timezone", "readable_roots", "handler_registry"}  # the last two are for documents to come
        stated = asdict(replace(self, timezone=None, handler_registry={}))
        changed = {name: value for name, value in stated.items() if value is not None and name not in here}
        if isinstance(self.scan_type, int):
            changed["scan_type"] = int(self.scan_type)
        return {**changed, "timezone": said}

    @property
    def primary(self) -> tuple[Any, ...]:
        """The detectors that the caller wants, the one of the default plot first."""
        wanted = self.primary_det
        if wanted is None:
            return ()
        return tuple(wanted) if isinstance(wanted, (list, tuple)) else (wanted,)

    def request(self, start: Mapping[str, Any]) -> Request:
        """What a start document asks for; an error if it can't be read, or asks for too much."""
        try:
            metadata = scan_metadata(start)
            if metadata is None:
                found = plain_request(start, self.scan_type, self.max_points)
            else:
                found = stxm_request(start, metadata, self.scan_type, self.max_points)
            for image in images(found):
                number_of_points(image.layout.plane_size, self.max_points, f"an image of run {found.run}")
        except NXstxmError as error:
            if start["uid"] in str(error):
                raise
            raise type(error)(f"run {start['uid']}: {error}") from error
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # What other programs write there can be wrong in more ways than anyone lists; our own objects can't.
            if isinstance(error, AttributeError) and not isinstance(error.obj, _OF_JSON):
                raise
            why = " ".join(str(error).split())
            raise MetadataError(f"the metadata of run {start['uid']} can't be read: {why}") from error
        found = replace(found, monitor=self.monitor)
        if not self.primary:
            return found
        named = tuple(replace(image, primary=self.primary, exact=False) for image in found.images)
        return replace(found, primary=self.primary, exact=False, images=named)
