"""Copies of masks on this machine, for when their registry does not answer."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from bluesky_ext.masks.arrays import mask_sha256

log = logging.getLogger(__name__)

#: So many copies are kept, of an eighth of a byte a pixel; of more, those that were used longest ago are removed.
MOST = 200


def directory_of_copies() -> Path:
    """The directory of the copies of this user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bluesky-ext" / "masks"


def read_copy(uid: str, sha256: str | None = None) -> np.ndarray | None:
    """The mask of this uid, if there is a copy that is whole and has the sha256; any has, unless one is given."""
    path = _path(uid)
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            shape, bits, said = tuple(map(int, file["shape"])), file["bits"], str(file["sha256"])
        os.utime(path)
        mask = np.unpackbits(bits, count=int(np.prod(shape))).astype(bool).reshape(shape)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        log.warning("the copy of mask %s in %s can't be read: %s", uid, path, error)
        return None
    found = mask_sha256(mask)
    return mask if found == said and sha256 in (None, found) else None


def write_copy(uid: str, mask: np.ndarray) -> None:
    """Keep a copy of a mask; where that is not possible the log says so."""
    path = _path(uid)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            try:
                np.savez(file, shape=np.array(mask.shape), bits=np.packbits(mask), sha256=np.array(mask_sha256(mask)))
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
        copies = sorted(path.parent.glob("*.npz"), key=lambda one: one.stat().st_mtime)
        for old in copies[:-MOST]:
            old.unlink(missing_ok=True)
    except OSError as error:
        log.warning("no copy of mask %s is kept, for when its registry does not answer: %s", uid, error)


def _path(uid: str) -> Path:
    """The file of a copy: a uid may be any text, so the name is made of its hash."""
    return directory_of_copies() / f"{hashlib.sha256(uid.encode()).hexdigest()[:32]}.npz"
