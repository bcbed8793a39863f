"""The masks that are in a catalogue: what they are known by, and how their content is read."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from bluesky_ext.masks.arrays import mask_sha256
from bluesky_ext.masks.errors import MaskDamaged, MaskNotFound, in_a_line, is_status

log = logging.getLogger(__name__)

#: By these a mask is found. They are the keys of the registry of the CHX beamline, whose client reads our masks too:
#: an array that has ``spec`` with this value is a mask.
SPEC, MASK = "spec", "mask"
#: What is being written has another one, and is no mask for anyone.
DRAFT = "mask_draft"
#: Only our masks have it: detector, name and version in one, which one request lists for all of them. What else is ours
#: has it empty: where a child of a container has none, there may be masks of other programs.
IDENT = "mask_ident"
#: The host of catalogues in this process.
EMBEDDED = "local-tiled-app"
#: Servers on these hosts are in this process or beside it.
THIS_MACHINE = (EMBEDDED, "localhost", "127.0.0.1", "::1")
#: The mask of a detector that nobody named.
ANY = "any"


#: The keys that Tiled makes up, and we: no two masks have the same. Others may be there in several containers.
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def uid_of(path: Sequence[str]) -> str:
    """The uid of a mask by its keys from the catalogue's root: the last one, or all of them if that is not a UUID."""
    return path[-1] if _UUID.fullmatch(path[-1]) else "/".join(path)


class Entry(NamedTuple):
    """A mask in a catalogue: its metadata, and the client of its array."""

    metadata: Mapping[str, Any]
    node: Any

    @property
    def uid(self) -> str:
        """Its uid."""
        return uid_of([key for key in self.node.path_parts if key])

    @property
    def detector(self) -> str:
        """The detector that it is for."""
        return self.metadata.get("detector", ANY)

    @property
    def name(self) -> str:
        """Its name."""
        return self.metadata.get("name", "")

    @property
    def version(self) -> Any:
        """Its version: a number, unless other code has written something else."""
        return self.metadata.get("version")

    @property
    def sha256(self) -> str | None:
        """What its content has, if that was kept."""
        return self.metadata.get("sha256")

    def lazy(self) -> Any:
        """Its content as a dask array of bool, read, and checked against its sha256, when it is computed."""
        import dask  # pyright: ignore[reportMissingImports]
        import dask.array  # pyright: ignore[reportMissingImports]

        read = dask.delayed(read_content, pure=False, traverse=False)  # pyright: ignore[reportPrivateImportUsage]
        content = read(self.node, str(self), self.sha256)
        return dask.array.from_delayed(content, tuple(self.node.shape), bool)  # pyright: ignore

    def read(self) -> np.ndarray:
        """Its content, checked against its sha256."""
        return read_content(self.node, str(self), self.sha256)

    def __str__(self) -> str:
        return f"{self.name!r} of detector {self.detector!r}, version {self.version!r} (uid {self.uid})"


def read_content(node: Any, what: str, sha256: str | None) -> np.ndarray:
    """The content of a mask's array, bool; a module's own function, so that dask can send it to processes."""
    with in_a_line(f"reading mask {what}"):
        try:
            content = _fetch(node)
        except Exception as error:
            if is_status(error, 404):
                raise MaskNotFound(f"mask {what} was deleted after it had been looked up: get it again") from error
            raise
    mask = np.asarray(content)
    if mask.dtype != np.bool_:  # other code may have written zeros and ones
        mask = mask != 0
    if sha256 is not None and (found := mask_sha256(mask)) != sha256:
        raise MaskDamaged(
            f"mask {what} has sha256 {found[:12]}..., and {sha256[:12]}... was registered: its file was changed or is "
            "not whole; delete it and register it again"
        )
    return mask


def _fetch(node: Any) -> Any:
    """The content of an array."""
    from tiled.client.utils import handle_error, retry_context  # pyright: ignore[reportMissingImports]

    shape, dtype = tuple(node.shape), np.dtype(node.dtype)
    if urlsplit(node.uri).hostname not in THIS_MACHINE or not 0 < node.nbytes <= node.RESPONSE_BYTESIZE_LIMIT:
        content = node.read()
        # In this thread: this may run inside a worker of dask, which must not wait for another one.
        return content.compute(scheduler="synchronous") if hasattr(content, "compute") else content
    # As `read` asks for it, but that nothing is compressed: here that takes longer than it saves.
    headers = {"Accept": "application/octet-stream", "Accept-Encoding": "identity"}
    params = {"expected_shape": ",".join(map(str, shape)) or "scalar"}
    for attempt in retry_context():
        with attempt:
            link = node.item["links"]["full"]
            answer: Any = handle_error(node.context.http_client.get(link, headers=headers, params=params))
            return np.frombuffer(answer.read(), dtype).reshape(shape)
    raise AssertionError("a context of tries ends with a result or an error")


def find(root: Any, *queries: Any, **equal: Any) -> Iterator[Entry]:
    """The masks at any depth below a container whose metadata have these values."""
    from tiled.queries import Key, StructureFamilyQuery  # pyright: ignore[reportMissingImports]

    conditions = [Key(SPEC) == MASK, StructureFamilyQuery("array"), *queries]
    wanted = {key: value.item() if isinstance(value, np.generic) else plain(value) for key, value in equal.items()}
    # Servers fail on lists, dicts and None, again and again until the client gives up.
    conditions += [Key(key) == value for key, value in wanted.items() if isinstance(value, str | int | float)]
    for _, node in search(root, conditions):
        # Stores compare 1, 1.0 and true in ways of their own.
        if all(_is(_at(node.metadata, key), value) for key, value in wanted.items()):
            yield Entry(node.metadata, node)


def plain(metadata: Any) -> Any:
    """Metadata as dicts and lists."""
    if isinstance(metadata, Mapping):
        return {key: plain(value) for key, value in metadata.items()}
    if isinstance(metadata, Sequence) and not isinstance(metadata, str | bytes):
        return [plain(value) for value in metadata]
    return metadata


def _at(metadata: Any, key: str) -> Any:
    """The value of a key, or of keys in one another with dots between; ... if it is not there."""
    for part in key.split("."):
        if not isinstance(metadata, Mapping) or part not in metadata:
            return ...
        metadata = metadata[part]
    return plain(metadata)


def _is(value: Any, wanted: Any) -> bool:
    return bool(value == wanted) and isinstance(value, bool) == isinstance(wanted, bool)


def search(root: Any, conditions: list[Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Paths and clients of what meets the conditions, at any depth below a container."""
    try:
        found = root.search_deep(*conditions)
    except NotImplementedError:
        log.warning("this Tiled server is too old to search at depth: only masks directly in %s are seen", root.uri)
        for condition in conditions:
            root = root.search(condition)
        yield from (((key,), node) for key, node in iter(root.items()))
        return
    yield from iter(found.items())
