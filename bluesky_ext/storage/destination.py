"""The destination of runs: a catalogue, and the directory in which its server reads files of images."""

from __future__ import annotations

import errno
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bluesky_ext.storage.catalog import IMAGES
from bluesky_ext.storage.log import CONTAINER
from bluesky_ext.storage.node import Node, NodeExistsError, node_of
from bluesky_ext.storage.requests import directory_of

__all__ = ["Destination"]

_LEAST_FREE = 2**20  # bytes


@dataclass(frozen=True)
class Destination:
    """Where runs are saved."""

    catalog: Any
    """The client of the container of runs."""
    images: Path | None = None
    """The directory for files of images; None: that of an embedded catalogue, and other servers are sent the images."""
    compression: str | None = None
    """Of these files, as h5py calls it."""
    replace_incomplete: bool = False
    """If there is a run of the same uid without a stop, replace it, unless a process of this host is writing it."""

    @cached_property
    def directory(self) -> Path | None:
        """The directory for files of images, if there is one."""
        beside = directory_of(self.catalog)
        return self.images if self.images is not None or beside is None else beside / IMAGES

    def check_disk(self) -> None:
        """Raise OSError if the disk of the catalogue is full; of one that is on a server, nobody here knows."""
        directory = directory_of(self.catalog)
        for path in (directory, self.directory):
            if path is not None and shutil.disk_usage(path).free < _LEAST_FREE:
                # Tiled itself would try for 25 s, and then say that its server is broken.
                raise OSError(errno.ENOSPC, "the disk of the catalogue is full", str(path))

    @cached_property
    def runs(self) -> Node:
        """The node of the container of runs."""
        return node_of(self.catalog)

    @cached_property
    def logs(self) -> Any:
        """The node of the container of logs, which is made if it is not there."""
        if (there := self.runs.child(CONTAINER)) is not None:
            return there
        try:
            return self.runs.create(CONTAINER, {})
        except NodeExistsError:  # another process was faster
            return self.runs.child(CONTAINER)
