"""What can be wrong with a scan or with the file it goes to. Each is one line, and each is a built-in error as well."""

from __future__ import annotations


class NXstxmError(Exception):
    """Anything that this suitcase says about documents and files."""


class UnknownScanTypeError(NXstxmError, ValueError):
    """A scan type that is none of the enumeration."""


class MetadataError(NXstxmError, ValueError):
    """The start document lacks what the scan type needs, or says it in a way that can't be read."""


class MisfitError(NXstxmError, ValueError):
    """An event whose numbers have no place in the scan that was asked for."""


class DuplicateRunError(NXstxmError, ValueError):
    """Two runs of a scan that are for the same plane of the same entry."""


class UnfilledError(NXstxmError, ValueError):
    """An event that refers to a file instead of holding its numbers; `what` is in a file."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} is in a file beside the documents: let it be read (readable_roots=, and handler_registry= for "
            "resource documents), give documents that are filled in (event_model.Filler, databroker's "
            "documents(fill=True)), or use the command bluesky-ext export nxstxm, which fills them in"
        )


class NoPrimaryStreamError(NXstxmError, ValueError):
    """A run in which nothing was measured."""


class UnknownDetectorError(NXstxmError, ValueError):
    """A detector that no stream of the run has."""


class SecondStartError(NXstxmError, RuntimeError):
    """A second start document for a Serializer, which takes the documents of one run."""


class FinalFileExistsError(NXstxmError, FileExistsError):
    """The file that should be written is already there."""


class NothingToFinishError(NXstxmError, FileNotFoundError):
    """There is no file under construction by this name."""


class UnfinishedError(NXstxmError, RuntimeError):
    """A file that lacks a stop document, or whose export failed: it does not become a final file."""


class BusyError(NXstxmError, BlockingIOError):
    """Another export is writing this file at the moment."""


class JournalError(NXstxmError, RuntimeError):
    """A journal that another version has written, or that is damaged."""
