"""Where the documents of the demonstration are kept: an embedded catalogue, or recordings."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bluesky_ext import Recorder, Recording, open_catalog, redo, save
from bluesky_ext.cli.demo.report import Report
from bluesky_ext.storage import close_catalog, find_derived


@dataclass(frozen=True)
class Store:
    """A sink for runs, and what is in it.

    Parameters
    ----------
    directory : Path
        The directory of the catalogue, or of the recordings.
    sink : callable
        Takes documents.
    catalog : client or None
        The catalogue; None where runs are recorded.
    """

    directory: Path
    sink: Any
    catalog: Any = None

    def made_of(self, uid: str) -> list[Any]:
        """The last runs of the chains of stages that a scan went through."""
        if self.catalog is not None:
            runs = [(run.metadata["start"], run) for run in find_derived(self.catalog, uid)]
        else:
            runs = [(one.start or {}, one) for one in Recording.find(self.directory)]
            runs = [pair for pair in runs if pair[0].get("original_run_uid") == uid]
        parents = {start["analysis"]["parent_run_uid"] for start, _ in runs}
        return [run for start, run in runs if start["uid"] not in parents]

    def again(self, uid: str) -> bool:
        """Whether the same comes out of a scan when its analyses are made again from what is kept."""
        source = self.directory if self.catalog is None else self.catalog
        return all(redo(run, source, progress=False).agrees for run in self.made_of(uid))


@contextmanager
def opened_store(directory: Path, report: Report) -> Iterator[Store]:
    """A catalogue, or where Tiled is not installed, which is said in a line, a directory of recordings."""
    with ExitStack() as stack:
        # It says its version, on every start.
        logging.getLogger("tiled.server.app").addFilter(lambda record: record.levelno > logging.INFO)
        try:
            catalog = open_catalog(directory / "catalogue")
        except ImportError as error:
            report.say(f"left out: {error}; runs are recorded in files")
            recorder = stack.enter_context(Recorder(directory / "recordings", on_error="raise"))
            yield Store(directory / "recordings", recorder)
            return
        stack.callback(close_catalog, catalog)
        backup = directory / "backup"
        stack.callback(_remove_if_empty, backup)
        saver = stack.enter_context(save(catalog, backup=backup, on_error="raise"))
        yield Store(directory / "catalogue", saver, catalog)


def _remove_if_empty(directory: Path) -> None:
    with suppress(OSError):  # what could not be saved is in it
        directory.rmdir()
