"""Images ahead of their documents: written once, where the run will have them, before the backup tells of them."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bluesky_ext.engine.documents.open_runs import OpenStream
from bluesky_ext.engine.recording.frame_file import SUFFIX, Frame, sampled
from bluesky_ext.storage.image_file import ImageFile
from bluesky_ext.storage.rows import is_key, is_storable
from bluesky_ext.storage.table import TABLE, Table
from bluesky_ext.storage.writer import LEAST_BYTES, dataset_of

__all__ = ["ImagesAhead"]

logger = logging.getLogger(__name__)


class ImagesAhead:
    """Writes the images of a run into its file at once, when that is on the disk of the backup.

    There a second copy of the images would protect them from nothing. So the file gets a second name beside the backup
    file, which tells where in it each image is: together they have all of the run, whatever becomes of the catalogue.
    On another disk, or where files can't have two names, the images go into the backup, and from there into the file.

    Parameters
    ----------
    file : ImageFile
        The file of the run.
    backup : path
        The backup file.
    """

    def __init__(self, file: ImageFile, backup: Path) -> None:
        self._file, self._beside = file, backup.with_suffix(SUFFIX)
        self._linked = self._over = False
        self._keys: dict[str, set[str]] = {}

    def __call__(self, event: Mapping[str, Any], stream: OpenStream) -> Mapping[str, Any]:
        """Return an event with a `Frame` for each image that was written; if none could be, as it is."""
        frames: dict[str, Frame] = {}
        try:
            for key in () if self._over else self._keys_of(stream):
                value = event["data"].get(key)
                if isinstance(value, np.ndarray) and value.nbytes >= LEAST_BYTES and is_storable(value):
                    frames |= self._written(stream.name, key, value)
        except OSError as error:
            # Whoever writes the rest of the run there, or the backup, has something to say about it.
            logger.info("%s: images of the run go by way of its backup from here on: %s", self._file.path, error)
            self._over = True
        return {**event, "data": {**event["data"], **frames}} if frames else event

    def sync(self) -> None:
        """Flush what was written to the disk."""
        if self._linked:
            descriptor = os.open(self._beside, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _written(self, stream: str, key: str, image: np.ndarray) -> dict[str, Frame]:
        rows = self._file.rows(dataset_of(stream, key), image)
        if not rows.direct or not rows.takes(image):
            return {}
        if not self._linked:
            self._file.link(self._beside)
            self._linked = True
        image = np.ascontiguousarray(image)
        row, offset = rows.put(image)
        return {key: Frame(key, row, offset, sampled(image), image.dtype.str, [*image.shape])}

    def _keys_of(self, stream: OpenStream) -> set[str]:
        """The data keys of which a stream can have arrays, by the first of its descriptors."""
        if stream.name not in self._keys:
            described = stream.descriptor.get("data_keys", {})
            table = Table(described)
            keys = {key for key in described if is_key(key) and key != TABLE and key not in table}
            self._keys[stream.name] = keys if is_key(stream.name) else set()
        return self._keys[stream.name]
