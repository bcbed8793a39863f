"""The names of files, made of what is in documents: they name a file below the directory, whatever that is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from numbers import Number
from string import Formatter
from typing import Any

from suitcase_nxstxm.errors import MetadataError

_FIELD = re.compile(r"start\[([^\[\].]+)\]|([^\[\].]+)")
_SPEC = re.compile(r"([^{}]?[<>=^])?[-+ ]?0?\d{0,2}(\.\d{1,2})?[a-zA-Z%]?")
_DIGITS = 12
_LONGEST = 150  # bytes: most file systems take 255, and a file under construction has the uid of its run as well


def file_name(text: str, longest: int = 200) -> str:
    """The name of a file for a text of a document: the text itself if that names a file, and no hidden one.

    Otherwise separators, what is not printable and a leading dot become ``_``, it is cut to so many bytes, and the end
    of its sha256 is added: another text has another name.
    """
    name = "".join(character if character.isprintable() and character not in "/\\" else "_" for character in text)
    if name.startswith("."):
        name = f"_{name[1:]}"
    if name == text and 0 < len(name.encode()) <= longest:
        return name
    digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[-_DIGITS:]
    begin = name.encode()[: longest - _DIGITS - 1].decode(errors="ignore")
    return f"{begin or '_'}-{digest}"


def check_template(template: str) -> None:
    """Refuse a file_prefix that is more than text and fields of the start document."""
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
            raise MetadataError(
                f"file_prefix {template!r} can't be filled in from run {start['uid']}: {error}"
            ) from error
        filled.append(file_name(text) if text else "")
    directories, slash, name = "".join(filled).rpartition("/")
    return f"{directories}{slash}{file_name(name, _LONGEST)}"


def _parts(template: str) -> Iterator[tuple[str, str | None, str, Any]]:
    """The text before each field of a template, the key of the field, and how it is written."""
    for literal, field, spec, conversion in Formatter().parse(template):
        if field is None:
            yield literal, None, "", None
            continue
        found = _FIELD.fullmatch(field)
        if found is None or _SPEC.fullmatch(spec or "") is None:
            raise ValueError(
                f"file_prefix {template[:100]!r} can't be filled in: give fields like {{scan_id}}, {{scan_id:05d}} or "
                "{start[sample]}, which are text or numbers of the start document, not wider than 99 characters"
            )
        yield literal, found[1] or found[2], spec or "", conversion
