"""Texts of documents in the log: one line of it each, whatever is in them."""

from __future__ import annotations


def printable(text: object, most: int = 1000) -> str:
    r"""Return a text as it can stand in a line of a log or on a terminal.

    Line breaks, control characters, marks that turn the direction of writing, and all else that is not printable are
    escaped as Python does it; what is longer than ``most`` characters is cut.

    Examples
    --------
    >>> printable("a\n2026 ERROR forged\x1b[2J")
    'a\\n2026 ERROR forged\\x1b[2J'
    >>> printable("x" * 1000, most=10)
    'xxxxxxxxxx... (1000 characters)'
    """
    whole = str(text)
    start = whole[:most]
    if not start.isprintable():
        start = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in start)
    return start if len(whole) <= most else f"{start}... ({len(whole)} characters)"
