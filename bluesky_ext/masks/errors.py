"""What can go wrong with the masks of a registry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class MaskNotFound(KeyError, ValueError):  # noqa: N818 - what KeyError is to a dict
    """There is no such mask; the message says which there are.

    It is a ValueError as well: what a stage was given is wrong, and its log needs no traceback to say so.
    """

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class MaskExists(RuntimeError):  # noqa: N818
    """There is a mask of this detector, name and version already; a mask is never changed."""


class MaskDamaged(OSError):  # noqa: N818
    """What was read is not what was registered: its sha256 is another."""


@contextmanager
def in_a_line(doing: str) -> Iterator[None]:
    """Turn what Tiled and httpx raise into an OSError of one line that says what was being done."""
    import httpx  # pyright: ignore[reportMissingImports]

    try:
        yield
    except httpx.HTTPError as error:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise OSError(f"the catalogue failed while {doing} ({said}): is its server, or its disk, there?") from error


def is_status(error: Exception, status: int) -> bool:
    """Whether this is an answer of a server with this HTTP status."""
    return getattr(getattr(error, "response", None), "status_code", None) == status
