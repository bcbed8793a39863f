"""Runs of a catalogue by what people call them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

__all__ = ["find_derived", "find_run", "runs_between"]


def find_run(catalog: Any, name: str | int) -> Any:
    """Return the client of a run: by its uid or the beginning of that, its scan_id, or -1 for the last one.

    Of several runs with a scan_id, it is the latest; derived runs, which have those of their scans, are not counted.

    Parameters
    ----------
    catalog : client
        What `bluesky_ext.storage.open_catalog` returned.
    name : str or int
        A uid, at least six characters of its beginning, or a number.

    Raises
    ------
    LookupError
        If there is no such run, or more than one uid begins like this.
    """
    from tiled.queries import Eq, Like  # pyright: ignore[reportMissingImports]

    text = str(name)
    number = int(text) if re.fullmatch(r"-?\d{1,9}", text) else None
    if number is not None and number < 0:
        runs = [*islice(_latest_first(catalog), -number)]
        if len(runs) < -number:
            raise LookupError(f"no run {number}: the catalogue has {len(runs)}")
        return runs[-1]
    if number is not None:
        for run in _latest_first(catalog.search(Eq("start.scan_id", number))):
            return run
    if found := catalog.search(Eq("start.uid", text)).values().head(1):
        return found[0]
    if len(text) < 6:
        raise LookupError(f"no run {text!r}: give a uid, or six characters of its beginning, a scan_id, or -1")
    # _ and % are wild to Like; what they let in beside is left out here
    like = [
        run for run in catalog.search(Like("start.uid", f"{text}%")).values().head(100) if _uid(run).startswith(text)
    ]
    if len(like) != 1:
        several = f", but {len(like)} whose uids begin so" if like else ""
        raise LookupError(f"no run {text!r} in the catalogue{several}")
    return like[0]


def find_derived(catalog: Any, name: str | int) -> list[Any]:
    """Return the clients of the runs that were made of a scan, in the order in which they began.

    Parameters
    ----------
    catalog, name
        As for `find_run`, of the scan.

    Raises
    ------
    LookupError
        If there is no such scan.
    """
    from tiled.queries import Eq  # pyright: ignore[reportMissingImports]

    uid = _uid(find_run(catalog, name))
    found = catalog.search(Eq("start.original_run_uid", uid)).values()
    return sorted(found, key=lambda run: run.metadata["start"]["time"])


def runs_between(catalog: Any, first: float, last: float) -> Iterator[Any]:
    """Yield the clients of the scans that started between two times, in seconds since the epoch, the latest first."""
    for run in _latest_first(catalog):
        time = run.metadata["start"]["time"]
        if time < first:
            return
        if time <= last:
            yield run


def _latest_first(catalog: Any) -> Iterator[Any]:
    """The runs of scans, not those derived from them, from the one that was started last; a page at a time."""
    from tiled.queries import SpecsQuery  # pyright: ignore[reportMissingImports]

    # A catalogue in SQLite sorts numbers as text, which for times of today is the same.
    runs = catalog.search(SpecsQuery(include=["BlueskyRun"])).sort(("start.time", -1))
    return (run for run in runs.values() if "original_run_uid" not in run.metadata["start"])


def _uid(run: Any) -> str:
    return str(run.metadata["start"]["uid"])
