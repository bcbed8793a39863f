"""The documents of a run in a catalogue, again."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bluesky_ext.storage.log import CONTAINER, TOKEN, Entry, read_log
from bluesky_ext.storage.rebuilt import rebuilt
from bluesky_ext.storage.rows import BLOCK_BYTES, fetch

__all__ = ["documents", "entries", "is_run", "run_of"]

#: How the versions of the layout begin that runs in MongoDB have; those of Tiled's own catalogue begin with 3.
_OF_MONGODB = ("1", "2")


def documents(run: Any, streams: Callable[[str], object] | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the documents of a run as ``(name, document)``, its images as ndarray.

    Of a run that `save` saved, they are those that it was given, in their order, with their uids, types and dtypes: any
    analysis gives what it gave when they were new. A run without a stop ends without one.

    Of a run that another writer saved, as `bluesky_tiled_plugins.TiledWriter`, they are put together from its metadata,
    tables and arrays, in order of time across its streams; what is in files comes as arrays too. Such a run has
    no uids of events any more, and the types of its scalars are those of its table.

    Of a run that databroker 2 keeps in MongoDB, they are those that it has: what is in files stays a reference.

    Images are read in blocks of up to 64 MiB for each data key; rows of a block are windows on it, which keep it
    alive. They are read-only, as large arrays of recordings are: copy one that is to be changed in place.

    Parameters
    ----------
    run : client or header
        The client of a run in a catalogue, also of one that databroker 2 opened, or a header of databroker 2.
    streams : callable, optional
        Of which streams, by name, events are wanted; the others have no events and no images are read for them.

    Raises
    ------
    TypeError
        If this is no run.
    """
    run = _known(run)
    left_out: set[str] = set()
    blocks: dict[tuple[str, str], _Blocks] = {}
    for name, document, places in entries(run):
        if streams is not None and name == "descriptor" and not streams(document.get("name", "primary")):
            left_out.add(document["uid"])
        if left_out and document.get("descriptor") in left_out:
            continue
        if places:
            data = dict(document["data"])
            for key, kind, stream, first, count in places:
                if (stream, key) not in blocks:
                    blocks[stream, key] = _Blocks(array_of(run, stream, key))
                rows = blocks[stream, key].rows(first, count)
                if kind == "number":  # of a fly scan, which is a reading like others
                    data[key] = rows.reshape(-1)[0].item()
                else:
                    data[key] = rows[0] if kind == "event" else list(rows) if kind == "list" else rows
            document = {**document, "data": data}
        yield name, document


def entries(run: Any) -> Iterable[Entry]:
    """Return the documents of a run, and where their images are."""
    run = _known(run)
    if (_layout(run) or "").startswith(_OF_MONGODB):
        return _of_mongodb(run)
    log = _log_of(run)
    logged = iter(()) if log is None else read_log(log)
    # Of a writer that was killed at its first flush there are arrays, and a log with nothing in it.
    first = next(logged, None)
    return rebuilt(run) if first is None else itertools.chain([first], logged)


def is_run(thing: object) -> bool:
    """Whether this is the client of a run, or a header of databroker 2."""
    return run_of(thing) is not None


def run_of(thing: object) -> Any:
    """Return the client of a run that shows how it is stored, of one that databroker 2 opened too; None if it is none.

    ``db.v2[uid]`` shows a run as it would be in MongoDB, and a header of databroker 2 has such a client.
    """
    run: Any = getattr(thing, "v2", thing)
    layout = _layout(run)
    return None if layout is None else run if layout.startswith(_OF_MONGODB) else getattr(run, "v3", run)


def _known(thing: object) -> Any:
    run = run_of(thing)
    if run is None:
        name = f"{type(thing).__module__}.{type(thing).__qualname__}"
        raise TypeError(f"{name} is no run of a catalogue: give catalog[uid]")
    return run


def _layout(thing: object) -> str | None:
    """The version of the layout of a run; None if this is none."""
    specs = getattr(thing, "specs", ())
    return next((spec.version or "" for spec in specs if getattr(spec, "name", None) == "BlueskyRun"), None)


def _of_mongodb(run: Any) -> Iterator[Entry]:
    for name, document in run.documents():
        if document or name != "stop":  # of a run without one it is empty
            yield Entry(name, dict(document), [])


def array_of(run: Any, stream: str, key: str) -> Any:
    """Return the client of an array of a run, whatever clients it is opened with."""
    from tiled.client import from_context  # pyright: ignore[reportMissingImports]

    return from_context(run.context, "numpy", [*run.path_parts, stream, key], include_data_sources=True)


def _log_of(run: Any) -> Any:
    from tiled.client import from_context  # pyright: ignore[reportMissingImports]
    from tiled.client.utils import ClientError  # pyright: ignore[reportMissingImports]

    *above, key = run.path_parts
    try:
        log = from_context(run.context, "numpy", [*above, CONTAINER, key], include_data_sources=True)
    except ClientError as error:
        if error.response.status_code != 404:
            raise
        return None
    # It may be of a run that was deleted, and that another writer saved again.
    return log if log.metadata.get(TOKEN) == run.metadata.get(TOKEN) else None


class _Blocks:
    """The rows of an array, read in blocks as they are asked for in order."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._count = max(1, BLOCK_BYTES // max(1, int(np.prod(node.shape[1:])) * node.dtype.itemsize))
        self._block: NDArray[Any] = np.empty(0)
        self._from = 0

    def rows(self, first: int, count: int) -> NDArray[Any]:
        if first < self._from or first + count > self._from + len(self._block):
            stop = min(self._node.shape[0], first + max(count, self._count))
            self._block, self._from = fetch(self._node, first, stop), first
        return self._block[first - self._from : first - self._from + count]
