"""Names of files made of what is in documents, and templates of such names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from numbers import Number
from string import Formatter
from typing import Any

_KEY = re.compile(r"start\[([^\[\].]+)\]|([^\[\].]+)")
_SPEC = re.compile(r"([^{}]?[<>=^])?[-+ ]?0?\d{0,2}(\.\d{1,2})?[a-zA-Z%]?")
_FIELD = re.compile(r"\{0?(?::0?\d{0,2}d?)?\}")
_DIRECTIVE = re.compile(r"%(?:[-+ #0]{0,3}\d{0,2}(?:\.\d{1,2})?d|\d{0,2}s|%)")
_LONGEST = 200  # bytes: most file systems take 255, and writers add suffixes
_DIGITS = 12


def file_name(text: str) -> str:
    """Return the name of a file, without its suffix, for a text of a document, such as the uid of a run.

    It is the text itself if that names a file in a directory, and no hidden one. Otherwise separators and what is not
    printable become underscores, a leading dot too, it is cut to 200 bytes, and the end of its sha256 is added: another
    text has another name.

    Examples
    --------
    >>> file_name("scan 5")
    'scan 5'
    >>> file_name("../../etc/passwd")
    '_._.._etc_passwd-8437f51423e0'
    """
    name = "".join(character if character.isprintable() and character not in "/\\" else "_" for character in text)
    if name.startswith("."):
        name = f"_{name[1:]}"
    if name == text and 0 < len(name.encode()) <= _LONGEST:
        return name
    digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[-_DIGITS:]
    start = name.encode()[: _LONGEST - _DIGITS - 1].decode(errors="ignore")
    return f"{start or '_'}-{digest}"


def check_prefix(template: str) -> None:
    """Raise ValueError at a file_prefix that is malformed, or more than text and fields of the start document.

    It is no program: it asks for no part of a field, and for no width of more than two digits.
    """
    list(_parts(template))


def fill_prefix(template: str, start: Mapping[str, Any]) -> str:
    """Return a file_prefix with what a start document has for ``{uid}``, ``{scan_id:05d}`` or ``{start[sample]}``.

    ValueError if the start document has no text and no number there, or none that can be written so.

    Examples
    --------
    >>> fill_prefix("{scan_id:05d}-{start[sample]}", {"scan_id": 7, "sample": "salt"})
    '00007-salt'
    """
    filled = []
    for literal, key, spec, conversion in _parts(template):
        filled.append(literal)
        if key is None:
            continue
        if key not in start:
            raise ValueError(f"it lacks {key!r}")
        if not isinstance(start[key], str | Number):
            raise ValueError(f"its {key!r} is a {type(start[key]).__name__}: give a field that is text or a number")
        try:
            filled.append(format(Formatter().convert_field(start[key], conversion), spec))
        except (ArithmeticError, TypeError) as error:
            raise ValueError(f"{key!r}: {error}") from error
    return "".join(filled)


def check_sequence(template: str, *, is_printf: bool = False) -> str:
    """Return the template of the names of a sequence of files, which a document has, or raise ValueError.

    It is data and no program: ``{:06d}`` and ``%6.6d`` stand for the number and ``%s`` for other parts of the name;
    what makes a long name, or looks into objects, is refused. With ``is_printf`` a handler applies it, with `%`.

    Examples
    --------
    >>> check_sequence("img_{:06d}.tif"), check_sequence("%s%s_%6.6d.tiff")
    ('img_{:06d}.tif', '%s%s_%6.6d.tiff')
    """
    left = _FIELD.sub("", template)
    directives = re.findall(r"%[-+ #0-9.]*(?:.|$)" if is_printf else r"%[-+ #0-9.]*d", left)
    if ({"{", "}"} & set(left) and not is_printf) or not all(map(_DIRECTIVE.fullmatch, directives)):
        raise ValueError(
            f"the template {template!r:.100} of file names is not understood: numbers are {{:06d}} or %06d, of up to "
            "two digits of width"
        )
    return template


def _parts(template: str) -> Iterator[tuple[str, str | None, str, Any]]:
    """The text before each field of a template, the key of the field, and how it is written."""
    for literal, field, spec, conversion in Formatter().parse(template):
        if field is None:
            yield literal, None, "", None
            continue
        found = _KEY.fullmatch(field)
        if found is None or _SPEC.fullmatch(spec or "") is None:
            raise ValueError(
                f"file_prefix {template[:100]!r} can't be filled in: give fields like {{scan_id}}, {{scan_id:05d}} or "
                "{start[sample]}, which are text or numbers of the start document, not wider than 99 characters"
            )
        yield literal, found[1] or found[2], spec or "", conversion
