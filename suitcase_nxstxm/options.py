"""What the caller of an export knows and the documents don't: options, and the names of files."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta, timezone, tzinfo
from hashlib import sha256
from numbers import Number
from pathlib import Path
from string import Formatter
from typing import Any
from zoneinfo import ZoneInfo

from suitcase_nxstxm.errors import MetadataError, NXstxmError
from suitcase_nxstxm.metadata import scan_metadata
from suitcase_nxstxm.plans import plain_request
from suitcase_nxstxm.pystxm import stxm_request
from suitcase_nxstxm.request import MAX_POINTS, Request, images, number_of_points

_OF_JSON = (str, int, float, list, dict, type(None))
_FIELD = re.compile(r"start\[([^\[\].]+)\]|([^\[\].]+)")
_SPEC = re.compile(r"([^{}]?[<>=^])?[-+ ]?0?\d{0,2}(\.\d{1,2})?[a-zA-Z%]?")
_DIGITS = 12
_LONGEST = 150  # bytes: most file systems take 255, and a file under construction has the uid of its run as well
_SEPARATORS = "/\\"
_OF_WINDOWS = '<>:"|?*'  # a name with a colon is another stream of a file there, or on another drive
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


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

    @property
    def primary(self) -> tuple[Any, ...]:
        """The detectors that the caller wants, the one of the default plot first."""
        wanted = () if self.primary_det is None else self.primary_det
        return tuple(wanted) if isinstance(wanted, (list, tuple)) else (wanted,)

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Options:
        """The options of a record."""
        zone = record["timezone"]
        if zone is not None:
            zone = ZoneInfo(zone) if isinstance(zone, str) else timezone(timedelta(seconds=zone))
        return cls(**{**record, "timezone": zone})

    def record(self) -> dict[str, Any]:
        """The options as JSON has them, but those for documents to come. A time zone without a name is its offset."""
        zone = getattr(self.timezone, "key", None)
        if zone is None and self.timezone is not None:
            zone = (self.timezone.utcoffset(datetime.now()) or timedelta()).total_seconds()
        return {**asdict(replace(self, timezone=None, handler_registry={}, readable_roots=())), "timezone": zone}

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
        said: dict[str, Any] = {"primary": self.primary, "exact": False} if self.primary else {}
        return replace(found, monitor=self.monitor, images=tuple(replace(i, **said) for i in found.images), **said)


def file_name(text: str, longest: int = 200, *, windows: bool = os.name == "nt") -> str:
    """The name of a file for a text of a document: the text itself if that names a file, and no hidden one.

    Otherwise separators, what is not printable and a leading dot become ``_``, and so does what Windows takes in no
    name, there; it is cut to so many bytes, and the end of its sha256 is added: another text has another name.
    """
    forbidden = _SEPARATORS + (_OF_WINDOWS if windows else "")
    name = "".join(character if character.isprintable() and character not in forbidden else "_" for character in text)
    if name.startswith("."):
        name = f"_{name[1:]}"
    if windows:
        end = len(name.rstrip(". "))
        name = ("_" if _DEVICES.fullmatch(name) else "") + name[:end] + "_" * (len(name) - end)
    if name == text and 0 < len(name.encode()) <= longest:
        return name
    digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[-_DIGITS:]
    begin = name.encode()[: longest - _DIGITS - 1].decode(errors="ignore")
    return f"{begin or '_'}-{digest}"


def check_target(directory: Any, template: str) -> None:
    """Refuse what is no directory, and a file_prefix that is more than text and fields of the start document."""
    if not (isinstance(directory, (str, Path)) or hasattr(directory, "get_artifacts")):
        raise TypeError(f"directory is {directory!r}: it is a str, a Path or a Manager of suitcase.utils")
    list(_parts(template))


def prefix_of(template: str, start: Mapping[str, Any], first_uid: str) -> str:
    """The prefix of a file name with what the start document has for ``{uid}``, ``{scan_id}``, ...

    ``{uid}`` is that of the first run of the scan, so that all its runs go to one file. What a document says adds no
    directory: see `file_name`.
    """
    filled = []
    for literal, key, spec, conversion in _parts(template):
        filled.append(literal)
        if key is None:
            continue
        value = first_uid if key == "uid" else start.get(key)
        try:
            if not isinstance(value, (str, Number)):
                raise TypeError(f"it has no text and no number {key!r}")
            text = format(Formatter().convert_field(value, conversion), spec)
        except (ArithmeticError, TypeError, ValueError) as error:
            what = f"file_prefix {template!r} can't be filled in from run {start['uid']}"
            raise MetadataError(f"{what}: {error}") from error
        filled.append(file_name(text) if text else "")
    directories, slash, name = "".join(filled).rpartition("/")
    return f"{directories}{slash}{file_name(name, _LONGEST)}"


def _parts(template: str) -> Iterator[tuple[str, str | None, str, Any]]:
    """The text before each field of a template, the key of the field, and how it is written."""
    for literal, field_name, spec, conversion in Formatter().parse(template):
        found = _FIELD.fullmatch(field_name or "")
        if field_name is not None and (found is None or _SPEC.fullmatch(spec or "") is None):
            raise ValueError(
                f"file_prefix {template[:100]!r} can't be filled in: give fields like {{scan_id}}, {{scan_id:05d}} or "
                "{start[sample]}, which are text or numbers of the start document, not wider than 99 characters"
            )
        yield literal, found and (found[1] or found[2]), spec or "", conversion
