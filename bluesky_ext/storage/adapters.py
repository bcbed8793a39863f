"""Sources and sinks of documents from what users have at hand: paths, catalogues, databases, lists, functions."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableSequence
from enum import Enum
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias, cast

from bluesky_ext.engine.documents.live_documents import LiveDocuments
from bluesky_ext.engine.documents.open_runs import plain_name
from bluesky_ext.engine.recording.recorder import Recorder
from bluesky_ext.engine.recording.recording import Recording
from bluesky_ext.storage.catalog import is_container
from bluesky_ext.storage.saver import save
from bluesky_ext.storage.stored import documents as documents_of
from bluesky_ext.storage.stored import is_run

__all__ = ["Pair", "Sink", "as_sink", "as_source"]

Pair: TypeAlias = tuple[str, dict[str, Any]]
Sink: TypeAlias = Callable[[str, dict[str, Any]], object]


def as_source(source: object) -> Iterable[Pair]:
    """Return an iterable of ``(name, document)``, the names as plain str, from what can give documents.

    It can be iterated again if the source can. Images that the source keeps in files stay references (resource and
    datum, stream_resource and stream_datum).

    Parameters
    ----------
    source : object
        Tried in this order:

        - a path of a recording, or of a directory of recordings, which follow each other in order of time;
        - a run of a Tiled catalogue, or of databroker 2: read by `documents`, with its images as they were saved;
        - something with ``documents()``, as a header of databroker 1. The empty stop that it gives for a run without
          one is left out;
        - a function that needs no arguments and returns an iterable of pairs, as a generator function does;
        - an iterable of pairs, as a `Recording` or a list.

    Raises
    ------
    TypeError
        If the source is none of these, and while it is iterated, if it gives something else than pairs.
    FileNotFoundError
        If there is nothing at the path, or no recording in the directory.
    """
    if isinstance(source, str | os.PathLike):
        return _recorded(_path(source))
    if is_run(source):
        return _Source(lambda: documents_of(source))
    if callable(documents := getattr(source, "documents", None)):
        return _Source(lambda: _documents(documents))
    if is_broker(source) or is_container(source):
        raise TypeError(f"{_type(source)} holds many runs: give one of them, as in as_source(catalog[uid])")
    if callable(source) and _needs_nothing(source):
        return _Source(source)
    if isinstance(source, Iterable) and not isinstance(source, Mapping):
        return _Source(lambda: source)
    if hasattr(source, "subscribe"):
        raise TypeError(f"{_type(source)} gives documents only while they are made: subscribe to it")
    raise TypeError(
        f"{_type(source)} is no source of documents: give a path, a run, an iterable of (name, document), "
        "or a function without arguments that returns one"
    )


def as_sink(sink: object) -> Sink:
    """Return a function of (name, document) from what can take documents; it hands on the names as plain str.

    Parameters
    ----------
    sink : object
        Tried in this order:

        - a list, to which the pairs are appended;
        - a path of a directory, in which each run is recorded: the sink is a `Recorder`;
        - a Broker of databroker, by its ``insert``, for all but live runs (``purpose="live"``);
        - the client of a Tiled container, in which each run is saved whole: the sink is a `Saver`;
        - a function or a stage.

    Raises
    ------
    TypeError
        If it is none of these.
    """
    if isinstance(sink, MutableSequence):
        return lambda name, document: sink.append((plain_name(name), document))
    if isinstance(sink, str | os.PathLike):
        return Recorder(_path(sink), on_error="raise")
    # These are looked for before functions: a Broker and the client of a run can be called too, to search.
    if is_broker(sink):
        broker: Any = sink
        live = LiveDocuments()
        return _named_plainly(broker.insert, lambda name, document: not live.has(name, document))
    if not is_run(sink) and not hasattr(sink, "documents"):
        if is_container(sink):
            return save(sink)
        if callable(sink):
            return _named_plainly(sink)
    raise TypeError(
        f"{_type(sink)} is no sink of documents: give a function of (name, document), a list, a directory, "
        "a Broker or a Tiled container"
    )


class _Source:
    """Pairs with plain names from what `opened` returns, which is called for each iteration."""

    def __init__(self, opened: Callable[[], Any]) -> None:
        self._opened = opened

    def __iter__(self) -> Iterator[Pair]:
        for item in self._opened():
            match item:
                case (str() | Enum() as name, Mapping() as document):
                    yield plain_name(name), cast("dict[str, Any]", document)
                case _:
                    raise TypeError(f"the source gave {_type(item)}, not a pair of (name, document)")


def _named_plainly(function: Callable[[str, Any], object], wants: Callable[[str, Any], bool] | None = None) -> Sink:
    def named(name: str, document: dict[str, Any]) -> object:
        name = plain_name(name)
        return function(name, document) if wants is None or wants(name, document) else None

    named.__wrapped__ = function  # pyright: ignore[reportFunctionMemberAccess] - as functools.wraps does
    return named


def _path(path: str | os.PathLike[str]) -> Path:
    if "://" in os.fspath(path):
        raise TypeError(f"{path!r} is an address, not a path: open it, and give what that returns")
    return Path(path).expanduser()


def _recorded(path: Path) -> Iterable[Pair]:
    if not path.is_dir():
        return Recording(path)
    recordings = Recording.find(path)
    if not recordings:
        raise FileNotFoundError(f"no recording in {path}")
    return _Source(lambda: chain.from_iterable(recordings))


def _documents(documents: Callable[..., Any]) -> Iterator[Any]:
    # Never filled: stages read images by their references. That is the default; only the runs of databroker 1 by way
    # of `v2` have none, and are told "no".
    fill = inspect.signature(documents).parameters.get("fill")
    for name, document in documents() if fill is None or fill.default is not fill.empty else documents(fill="no"):
        if document or plain_name(name) != "stop":
            yield name, document


def is_broker(thing: object) -> bool:
    """Whether this is a Broker of databroker, or its like."""
    return callable(thing) and callable(getattr(thing, "insert", None)) and not isinstance(thing, MutableSequence)


def _needs_nothing(function: Callable[..., object]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # some builtins have no signature
        return False
    return all(p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)


def _type(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"
