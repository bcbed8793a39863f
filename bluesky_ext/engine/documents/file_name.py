"""Names of files made of what is in documents."""

from __future__ import annotations

from hashlib import sha256

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
