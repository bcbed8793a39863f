"""What a live server keeps over restarts: layouts, and the parameters that were set on the page."""

from __future__ import annotations

import json
import logging
import os
import threading
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


class Saved:
    """A dict by name that is written to a file whenever it changes; in memory alone without a directory.

    Parameters
    ----------
    directory : path, optional
        Where the file is; made if it is not there.
    name : str
        Of the file, without its extension.
    """

    def __init__(self, directory: Path | None, name: str) -> None:
        self._path = None if directory is None else directory / f"{name}.json"
        self._lock = threading.Lock()
        self._content: dict[str, Any] = {}
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        except (ValueError, RecursionError, OSError) as error:
            log.warning("%s can't be read, and is begun anew: %s", self._path, error)
            return
        if isinstance(content, dict):
            self._content = content

    @property
    def content(self) -> dict[str, Any]:
        """All that is kept, by name; a copy."""
        with self._lock:
            return dict(self._content)

    def put(self, name: str, value: Any) -> None:
        """Keep a value under a name."""
        with self._lock:
            self._content = {**self._content, name: value}
            self._write()

    def remove(self, name: str) -> None:
        """Forget a name; KeyError if it is not there."""
        with self._lock:
            if name not in self._content:
                raise KeyError(name)
            self._content = {key: value for key, value in self._content.items() if key != name}
            self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        partial = self._path.with_suffix(".partial")
        try:
            partial.write_text(json.dumps(self._content, indent=1), encoding="utf-8")
            os.replace(partial, self._path)
        except OSError as error:
            log.warning("%s can't be written: %s", self._path, error)
