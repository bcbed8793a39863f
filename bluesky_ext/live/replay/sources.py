"""Where the events of a replay come from: captures, recordings, stored runs, and the source classes of users."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from itertools import chain
from pathlib import Path
from typing import Any

from bluesky_ext.engine import Recording
from bluesky_ext.live.replay.batches import batched
from bluesky_ext.live.replay.messages import items_of_messages, messages_of
from bluesky_ext.live.replay.run_items import items_of_run
from bluesky_ext.live.replay.together import joined_runs
from bluesky_ext.storage import as_source

CAPTURES = (".cbors", ".cbors.gz", ".cbor", ".cbor.gz", ".pkls", ".pkls.gz")


def is_capture(path: object) -> bool:
    """Whether this is the name of a capture."""
    return isinstance(path, str | os.PathLike) and os.fspath(path).endswith(CAPTURES)


def batches_of(source: Any, *, join: bool = False, unsafe_pickle: bool = False) -> Iterator[tuple[str, Any]]:
    """Yield the start of a run, its descriptors, its events in batches as ("events", list), and its stop.

    Parameters
    ----------
    source : object
        A path of a capture or a recording, or whatever `bluesky_ext.storage.as_source` takes; a class or an object with
        ``get_source_generators()``, whose generators yield messages with ``event_number`` and ``streams``, or
        ``(name, document)`` pairs; or a list of several, which are of one scan.
    join : bool
        Whether streams, and several runs, are joined on the number of their events. Captures and generators always are.
    unsafe_pickle : bool
        Whether captures that are pickles are read, which execute what they hold.

    Raises
    ------
    ValueError, TypeError, OSError
        If it is none of these, or several runs that are not to be joined.
    """
    # asked of its class: a client of Tiled would ask its server
    if hasattr(source if isinstance(source, type) else type(source), "get_source_generators"):
        return _generated(source() if isinstance(source, type) else source, join)
    sources = _several(source) or [source]
    captures = [one for one in sources if is_capture(one)]
    if captures and len(captures) < len(sources):
        raise ValueError(f"{captures[0]} is a capture, but not all are: give captures, or runs")
    if captures:
        messages = [messages_of(Path(one).expanduser(), unsafe_pickle) for one in captures]
        return batched(items_of_messages(messages))
    if len(sources) > 1 and not join:
        raise ValueError(f"these are {len(sources)} runs: give one, or --join (join=True) if they are of one scan")
    return _of_runs([_label(one, number) for number, one in enumerate(sources, 1)], map(as_source, sources), join)


def _generated(source: Any, join: bool) -> Iterator[tuple[str, Any]]:
    """Yield what the generators of a user's source give."""
    generators = list(map(iter, source.get_source_generators() or ()))
    if not generators:
        raise ValueError(f"{type(source).__name__}.get_source_generators() gave none: return a list of generators")
    firsts = [next(one, None) for one in generators]
    sources = [chain([first], rest) for first, rest in zip(firsts, generators, strict=True) if first is not None]
    if any(isinstance(first, tuple) and isinstance(first[0], str | Enum) for first in firsts):
        labels = [f"generator {number}" for number in range(1, len(sources) + 1)]
        return _of_runs(labels, map(as_source, sources), join or len(sources) > 1)
    return batched(items_of_messages(sources))


def _of_runs(labels: Sequence[str], sources: Iterable[Any], join: bool) -> Iterator[tuple[str, Any]]:
    runs = [items_of_run(source) for source in sources]
    return batched(joined_runs(labels, runs) if join else runs[0])


def _several(source: Any) -> list[Any]:
    """The sources that this is a list of; none if it is one, such as the documents of a run."""
    if not isinstance(source, list | tuple) or not source:
        return []
    first = source[0]
    is_pair = isinstance(first, Sequence) and not isinstance(first, str) and isinstance(first[0], str | Enum)
    return [] if is_pair else list(source)


def _label(source: Any, number: int) -> str:
    path = source.path if isinstance(source, Recording) else source
    return Path(path).stem if isinstance(path, str | os.PathLike) else f"run {number}"
