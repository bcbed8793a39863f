"""Runs by the names that people give them on a command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bluesky_ext.cli.site import opened

__all__ = ["runs_of", "store_of"]


def runs_of(names: Sequence[str], catalog: Any = None) -> list[tuple[str, Any]]:
    """Return the runs with these names, in this order, each with a short name; a directory may have many.

    Parameters
    ----------
    names : sequence of str
        Each is a path of a recording, of a directory of recordings, or of a JSON file that has the documents of some
        runs by their uids; or a run of the catalogue: see `find_run`.
    catalog : client, optional
        The catalogue.

    Raises
    ------
    OSError, LookupError, ValueError
        If there is no such run; it says what to do.
    """
    return [run for name in names for run in _runs(name, catalog)]


def _runs(name: str, catalog: Any) -> Iterator[tuple[str, Any]]:
    from bluesky_ext.engine import Recording

    path = Path(name).expanduser()
    if path.is_dir():
        recordings = Recording.find(path)
        if not recordings and (path / "catalog.db").exists():
            raise FileNotFoundError(f"{path} is a catalogue: give --catalog {path} and a uid, a scan_id or -1")
        if not recordings:
            raise FileNotFoundError(f"there is no recording in {path}")
        yield from ((_short(recording.start), recording) for recording in recordings)
    elif path.exists() and (dumped := _dumped(path)):
        yield from ((uid[:8], documents) for uid, documents in dumped.items())
    elif path.exists():
        recording = Recording(path)
        yield _short(recording.start), recording
    elif catalog is None:
        raise FileNotFoundError(f"there is no recording {path}; for a run of a catalogue, give --catalog too")
    else:
        from bluesky_ext.storage.find import find_run

        run = find_run(catalog, name)
        yield _short(run.metadata["start"]), run


def _dumped(path: Path) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """The runs of a JSON file that has their documents by uid, as databroker is dumped; none if it is no such file."""
    if path.suffix != ".json":
        return {}
    with path.open("rb") as file:
        # The JSON of a recording is a list, or a document a line; this one is one object, or that in a string again.
        if file.read(64).lstrip()[:1] not in (b"{", b'"'):
            return {}
        file.seek(0)
        try:
            found = json.load(file)
            found = json.loads(found) if isinstance(found, str) else found
        except ValueError:
            return {}
    if not isinstance(found, dict) or not all(isinstance(documents, list) for documents in found.values()):
        return {}
    return {uid: [(name, document) for name, document in documents] for uid, documents in found.items()}


def _short(start: Any) -> str:
    return str(start["uid"])[:8] if start else "?"


@contextmanager
def store_of(where: str) -> Iterator[Callable[[str], Any]]:
    """A function that returns a run by its uid, of a directory of recordings or of a catalogue, while it is needed.

    It raises LookupError as long as the run is not there, or not over.
    """
    if Path(where).is_dir() and not (Path(where) / "catalog.db").exists():
        yield lambda uid: _recorded(Path(where), uid)
        return
    if "/" in where and "://" not in where and not Path(where).exists():
        raise FileNotFoundError(f"there is no {where}: give a directory of recordings, or a catalogue")
    with opened(where) as catalog:
        yield lambda uid: _saved(catalog, uid)


def _recorded(directory: Path, uid: str) -> Any:
    from bluesky_ext.engine import Recording

    for recording in Recording.find(directory):
        if recording.start is not None and recording.start["uid"] == uid and recording.stop is not None:
            return recording
    raise LookupError(f"no whole run {uid} in {directory}")


def _saved(catalog: Any, uid: str) -> Any:
    from bluesky_ext.storage import as_source
    from bluesky_ext.storage.find import find_run

    run = find_run(catalog, uid)
    if not run.metadata.get("stop"):
        raise LookupError(f"run {uid} is not over yet")
    return as_source(run)
