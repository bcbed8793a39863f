"""Nodes of a catalogue that a run is written to: by requests to a server, or within an embedded catalogue at once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from bluesky_ext.storage.requests import PendingRequests

__all__ = ["Node", "NodeExistsError", "node_of", "replaced"]


class NodeExistsError(FileExistsError):
    """There is a node of this key already."""


class Node(Protocol):
    """A node of a catalogue."""

    def create(self, key: str, metadata: Mapping[str, Any], specs: Sequence[Any] = (), source: Any = None) -> Node:
        """Return a new child, an array or a table if there is a data source; raise NodeExistsError if there is one."""
        ...

    def child(self, key: str) -> Node | None:
        """Return the child of that key, if there is one."""
        ...

    def delete(self) -> None:
        """Delete it, with what is in it and in storage of the catalogue itself."""
        ...

    def update(self, metadata: Mapping[str, Any]) -> None:
        """Give it metadata beside, or instead of, those that it has."""
        ...

    def tell(self, source: Any) -> None:
        """Replace what is known of its data source, which is the only one."""
        ...

    def write_partition(self, number: int, part: Any) -> None:
        """Write a part of a table."""
        ...

    def extend(self, rows: Any, offset: tuple[int, ...]) -> None:
        """Write rows of an array that a server keeps, at an offset that may be beyond its end."""
        ...


def node_of(client: Any) -> Node:
    """Return the node of which this is a client."""
    send = client.context.http_client.send
    if not isinstance(send, PendingRequests):
        return _ServerNode(client)
    return _EmbeddedNode(send, [part for part in client.path_parts if part])


def replaced(parent: Node, key: str, metadata: Mapping[str, Any], source: Any) -> Node:
    """Return a new array of a container; one that is there is of a run that was deleted, and is deleted too."""
    try:
        return parent.create(key, metadata, source=source)
    except NodeExistsError:
        if (there := parent.child(key)) is not None:
            there.delete()
        return parent.create(key, metadata, source=source)


class _ServerNode:
    """A node of a server, by its client, which tries again when the server is busy."""

    def __init__(self, client: Any) -> None:
        self._client = getattr(client, "base", client)
        self._number: int | None = None

    def create(self, key: str, metadata: Mapping[str, Any], specs: Sequence[Any] = (), source: Any = None) -> Node:
        from tiled.client.utils import ClientError  # pyright: ignore[reportMissingImports]

        try:
            if source is None:
                made = self._client.create_container(key, metadata=dict(metadata), specs=[*specs])
            else:
                made = self._client.new(source.structure_family, [source], key=key, metadata=dict(metadata))
        except ClientError as error:
            if error.response.status_code != 409:
                raise
            raise NodeExistsError(f"there is a node {key!r} already") from error
        return _ServerNode(made)

    def child(self, key: str) -> Node | None:
        return _ServerNode(self._client[key]) if key in self._client else None

    def delete(self) -> None:
        self._client.delete(recursive=True, external_only=False)

    def update(self, metadata: Mapping[str, Any]) -> None:
        self._client.update_metadata(dict(metadata), drop_revision=True)

    def tell(self, source: Any) -> None:
        from tiled.client.utils import handle_error, retry_context  # pyright: ignore[reportMissingImports]
        from tiled.utils import safe_json_dump  # pyright: ignore[reportMissingImports]

        if self._number is None:
            self._number = self._client.data_sources()[0].id
        source.id = self._number
        body = safe_json_dump({"data_source": source})
        address = self._client.uri.replace("/metadata/", "/data_source/", 1)
        for attempt in retry_context():
            with attempt:
                handle_error(self._client.context.http_client.put(address, content=body))

    def write_partition(self, number: int, part: Any) -> None:
        self._client.write_partition(number, part)

    def extend(self, rows: Any, offset: tuple[int, ...]) -> None:
        self._client.patch(rows, offset=offset, extend=True)


class _EmbeddedNode:
    """A node of an embedded catalogue, by Tiled's own adapter of it: a request to its app takes four times as long."""

    def __init__(self, app: PendingRequests, path: list[str], adapter: Any = None) -> None:
        self._app, self._path, self._adapter = app, path, adapter

    def create(self, key: str, metadata: Mapping[str, Any], specs: Sequence[Any] = (), source: Any = None) -> Node:
        from tiled.catalog.adapter import Collision  # pyright: ignore[reportMissingImports]
        from tiled.structures.core import StructureFamily  # pyright: ignore[reportMissingImports]

        family = StructureFamily.container if source is None else source.structure_family
        sources = [] if source is None else [source]

        async def create() -> Any:
            parent = await self._found()
            return await parent.create_node(family, _as_sent(metadata), key, [*specs], sources)

        try:
            made = self._app.call(create)
        except Collision as error:
            raise NodeExistsError(f"there is a node {key!r} already") from error
        return _EmbeddedNode(self._app, [*self._path, key], made)

    def child(self, key: str) -> Node | None:
        from tiled.server.core import NoEntry  # pyright: ignore[reportMissingImports]

        async def find() -> Any:
            return await (await self._found()).lookup_adapter([key])

        try:
            return _EmbeddedNode(self._app, [*self._path, key], self._app.call(find))
        except NoEntry:
            return None

    def delete(self) -> None:
        async def delete() -> None:
            await (await self._found()).delete(recursive=True, external_only=False)

        self._app.call(delete)

    def update(self, metadata: Mapping[str, Any]) -> None:
        async def update() -> None:
            now = await self._app.tree.lookup_adapter(self._path)  # others may have added to it
            await now.replace_metadata({**now.metadata(), **_as_sent(metadata)}, drop_revision=True)

        self._app.call(update)

    def tell(self, source: Any) -> None:
        async def tell() -> None:
            node = await self._found()
            source.id = node.node.data_sources[0].id
            await node.put_data_source(source, None)

        self._app.call(tell)

    def write_partition(self, number: int, part: Any) -> None:
        async def write() -> None:
            adapter = await (await self._found()).get_adapter()
            adapter.write_partition(number, part.to_pandas())

        self._app.call(write)

    def extend(self, rows: Any, offset: tuple[int, ...]) -> None:
        raise NotImplementedError("the arrays of an embedded catalogue are in files")

    async def _found(self) -> Any:
        if self._adapter is None:
            self._adapter = await self._app.tree.lookup_adapter(self._path)
        return self._adapter


def _as_sent(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as they come out of a request: what JSON does not have, as NaN, is null."""
    from tiled.utils import safe_json_dump  # pyright: ignore[reportMissingImports]

    return json.loads(safe_json_dump(dict(metadata)))
