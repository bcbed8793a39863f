"""The names of numbered files, as a resource describes them."""

from __future__ import annotations

import re

_FIELD = re.compile(r"\{0?(?::0?\d{0,2}d?)?\}")
_DIRECTIVE = re.compile(r"%(?:[-+ #0]{0,3}\d{0,2}(?:\.\d{1,2})?d|\d{0,2}s|%)")


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
