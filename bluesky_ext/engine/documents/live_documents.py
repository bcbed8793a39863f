"""The documents of live runs, among those of others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bluesky_ext.engine.documents.live_runs import is_live
from bluesky_ext.engine.documents.open_runs import MAX_OPEN_RUNS, PARENT


class LiveDocuments:
    """Knows which documents are of live runs: those who store runs leave them alone.

    Examples
    --------
    >>> live = LiveDocuments()
    >>> live.has("start", {"uid": "a", "purpose": "live"}), live.has("start", {"uid": "b"})
    (True, False)
    >>> live.has("descriptor", {"uid": "c", "run_start": "a"}), live.has("event", {"descriptor": "c"})
    (True, True)
    """

    def __init__(self) -> None:
        self._runs: dict[str, set[str]] = {}  # the uids of what was announced in each
        self._run_of: dict[str, str] = {}  # by these uids

    def has(self, name: str, doc: Mapping[str, Any]) -> bool:
        """Take note of a document, or of what claims to be one; whether it is of a live run."""
        uid = doc.get("uid")
        if name == "start" and isinstance(uid, str):
            self._forget(uid)
            if not is_live(doc):
                return False
            while len(self._runs) >= MAX_OPEN_RUNS:
                self._forget(next(iter(self._runs)))
            self._runs[uid] = {uid}
            self._run_of[uid] = uid
            return True
        parent = doc.get(PARENT.get(name, ""))
        run = self._run_of.get(parent) if isinstance(parent, str) else None
        if run is None:
            return False
        if name in ("descriptor", "resource", "stream_resource") and isinstance(uid, str):
            self._runs[run].add(uid)
            self._run_of[uid] = run
        elif name == "stop":
            self._forget(run)
        return True

    def _forget(self, run: str) -> None:
        for uid in self._runs.pop(run, ()):
            self._run_of.pop(uid, None)
