"""HDF5 over HTTP, read-only: what h5pyd, and what stands on it, asks of a server of HSDS."""

from __future__ import annotations

import time
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response, StreamingResponse

from bluesky_ext.view.requests import body_of, json_of, refusals
from bluesky_ext.view.selection import TooLarge, fields_of, selected, selected_points
from bluesky_ext.view.snapshot import Dataset, Group, Node, Origin
from bluesky_ext.view.snapshots import Gone, Snapshots
from bluesky_ext.view.values import BLOCK, as_json, blocks, dataspace, datatype, dumped

#: A dataset of more items is not told in JSON: to write it would hold up all else in this process.
MOST_JSON = 100_000

_BINARY = "application/octet-stream"
_LIMITS = {"min_chunk_size": 1 << 20, "max_chunk_size": 4 << 20, "max_request_size": 100 << 20}
_SERVER = {
    "name": "bluesky-ext",
    "about": "what an analysis shows, read-only",
    "greeting": "",
    "state": "READY",
    "hsds_version": "1.0.0",
    "node_count": 1,
    "username": "anonymous",
    "isadmin": False,
}


def told(content: Any) -> Response:
    """Content as JSON."""
    return Response(dumped(content), media_type="application/json")


def routes(snapshots: Snapshots) -> APIRouter:
    """The requests that clients of HDF5 make, on what is shown; ``/`` itself is `domain`'s."""
    router = APIRouter(responses=refusals(400, 404, 410, 413))
    start_time = int(time.time())

    def find(id_: str, kind: type[Node]) -> Any:
        try:
            return snapshots.find(id_, kind)
        except Gone:
            raise HTTPException(410, "this state is not kept any more: reopen the file") from None
        except KeyError:
            raise HTTPException(404, f"there is no {kind.__name__.lower()} {id_!r:.50}") from None

    @router.get("/about")
    @router.get("/info")
    def about() -> Response:
        """What this server is."""
        return told(_SERVER | {"start_time": start_time})

    @router.get("/groups/{id}")
    def group(id: str, include_links: str = "", include_attrs: str = "") -> Response:
        """A group."""
        node: Group = find(id, Group)
        return told(_dated(node.origin) | _described(node, _is_set(include_links), _is_set(include_attrs)))

    @router.get("/groups/{id}/links")
    def links(id: str) -> Response:
        """What is in a group."""
        node: Group = find(id, Group)
        return told({"links": [_link(name, child) for name, child in node.children.items()]})

    @router.get("/groups/{id}/links/{name}")
    def link(id: str, name: str) -> Response:
        """What has a name in a group."""
        node: Group = find(id, Group)
        if name not in node.children:
            raise HTTPException(404, f"there is no {name!r:.100} in {node.path}")
        return told(_dated(node.origin) | {"link": _link(name, node.children[name])})

    @router.get("/datasets/{id}")
    def dataset(id: str, include_attrs: str = "") -> Response:
        """A dataset: its type and shape."""
        node: Dataset = find(id, Dataset)
        return told(_dated(node.origin) | _described(node, False, _is_set(include_attrs)))

    @router.get("/datasets/{id}/shape")
    def shape(id: str) -> Response:
        """The shape of a dataset."""
        node: Dataset = find(id, Dataset)
        return told(_dated(node.origin) | {"shape": dataspace(node.array)})

    @router.get("/datasets/{id}/type")
    def type_(id: str) -> Response:
        """The type of a dataset."""
        node: Dataset = find(id, Dataset)
        return told(_dated(node.origin) | {"type": _type_of(node.array)})

    def value(request: Request, node: Dataset, select: Any, fields: Any, points: np.ndarray | None = None) -> Response:
        array = node.array
        if array is None:
            raise HTTPException(400, f"{node.path} is empty: it has no value")
        if not isinstance(select or "", str) or not isinstance(fields or "", str):
            raise HTTPException(400, "select and fields are texts")
        try:
            if points is not None:
                array = np.asarray(selected_points(array, points))
            elif select and array.ndim:
                array = selected(array, select)
            if fields:
                array = fields_of(array, fields)
        except TooLarge as error:
            raise HTTPException(413, str(error)) from None
        except ValueError as error:
            raise HTTPException(400, str(error)) from None
        if _BINARY in request.headers.get("accept", ""):
            if array.dtype.hasobject or array.nbytes <= BLOCK:
                return Response(b"".join(blocks(array)), media_type=_BINARY)
            length = {"content-length": str(array.nbytes)}
            return StreamingResponse(blocks(array), headers=length, media_type=_BINARY)
        if array.size > MOST_JSON:
            raise HTTPException(413, f"{array.size} items are too many for JSON: accept {_BINARY}, or select a part")
        return told({"value": as_json(array)})

    @router.get("/datasets/{id}/value")
    def get_value(
        request: Request,
        id: str,
        select: Annotated[str, Query(max_length=10_000)] = "",
        fields: Annotated[str, Query(max_length=10_000)] = "",
        query: str = "",
    ) -> Response:
        """The items of a dataset, or those that are selected: as bytes, or in JSON."""
        if query:
            raise HTTPException(400, "query is not known here: read the dataset, and search in that")
        return value(request, find(id, Dataset), select, fields)

    @router.post("/datasets/{id}/value")
    async def post_value(request: Request, id: str) -> Response:
        """The items of a dataset by a selection in JSON, or at points: little-endian unsigned 64-bit integers."""
        node = await run_in_threadpool(find, id, Dataset)
        kind, body = await body_of(request, "application/json", _BINARY, "")  # h5pyd sends JSON without saying so
        if kind == _BINARY:
            if len(body) % 8:
                raise HTTPException(400, f"{len(body)} bytes are no 64-bit integers")
            return await run_in_threadpool(value, request, node, None, None, np.frombuffer(body, "<u8"))
        said = json_of(body)
        if not isinstance(said, dict):
            raise HTTPException(400, 'give an object, as {"select": "[0:2]"}')
        points = None
        if "points" in said:
            points = _points(said["points"])
        return await run_in_threadpool(value, request, node, said.get("select"), said.get("fields"), points)

    for collection, kind in (("groups", Group), ("datasets", Dataset)):
        _add_attributes(router, collection, kind, find)
    return router


def domain(snapshots: Snapshots, getobjs: str) -> Response:
    """What is at ``/``: the root group of the present snapshot, and all of it in one answer if that is asked for.

    Functions are called when they are read. Where there are some, only who asks for what is ``known`` gets the others.
    """
    snapshot = snapshots.newest(opened=True)
    content = _dated(snapshot.origin) | {
        "root": snapshot.root.id,
        "class": "domain",
        "owner": "admin",
        "version": _SERVER["hsds_version"],
        "limits": _LIMITS,
        "compressors": [],
    }
    known = [node for node in snapshot.nodes.values() if not isinstance(node, Dataset) or node.is_known]
    # h5pyd before 1.0 wants all objects or none.
    if getobjs == "known" or (_is_set(getobjs) and len(known) == len(snapshot.nodes)):
        same = _dated(snapshot.origin)
        content["domain_objs"] = {node.id: same | _described(node, True, True) for node in known}
    return told(content)


def _points(said: Any) -> np.ndarray:
    try:
        points = np.asarray(np.zeros(0, int) if said == [] else said)
        if points.dtype.kind in "iu" and points.min(initial=0) >= 0:
            return points.astype(np.uint64)
    except (ValueError, TypeError):
        pass
    raise HTTPException(400, "points are lists of whole numbers, 0 or more")


def _add_attributes(router: APIRouter, collection: str, kind: type[Node], find: Any) -> None:
    @router.get(f"/{collection}/{{id}}/attributes")
    def attributes(id: str, IncludeData: str = "") -> Response:  # noqa: N803 - its name in the protocol
        """The attributes of a group or a dataset."""
        node: Node = find(id, kind)
        names = node.attributes
        return told({"attributes": [{"name": name} | _attribute(node, name, _is_set(IncludeData)) for name in names]})

    @router.get(f"/{collection}/{{id}}/attributes/{{name:path}}")
    def attribute(id: str, name: str) -> Response:
        """An attribute of a group or a dataset."""
        node: Node = find(id, kind)
        if name not in node.attributes:
            raise HTTPException(404, f"there is no attribute {name!r:.100} of {node.path}")
        return told(_dated(node.origin) | {"name": name} | _attribute(node, name))


def _is_set(flag: str) -> bool:
    return flag.lower() not in ("", "0", "f", "false")


def _dated(origin: Origin) -> dict[str, Any]:
    return {"root": origin.root, "domain": "/", "created": origin.time, "lastModified": origin.time}


def _described(node: Node, with_links: bool, with_attributes: bool) -> dict[str, Any]:
    content: dict[str, Any] = {"id": node.id, "attributeCount": len(node.attributes)}
    if isinstance(node, Group):
        content["linkCount"] = len(node.children)
        if with_links:
            content["links"] = {name: _link(name, child) for name, child in node.children.items()}
    elif isinstance(node, Dataset):
        content |= {"shape": dataspace(node.array), "type": _type_of(node.array)}
        content["creationProperties"] = {"layout": {"class": "H5D_CONTIGUOUS"}}
    if with_attributes:
        content["attributes"] = {name: _attribute(node, name) for name in node.attributes}
    return content


def _link(name: str, child: Node) -> dict[str, Any]:
    created = child.origin.time
    kind = {"class": "H5L_TYPE_HARD", "collection": child.collection}
    return {"title": name, "id": child.id, "created": created, **kind}


def _attribute(node: Node, name: str, with_value: bool = True) -> dict[str, Any]:
    array = node.attributes[name]
    content = {"type": _type_of(array), "shape": dataspace(array), "created": node.origin.time}
    return content | {"value": as_json(array)} if with_value else content


def _type_of(array: np.ndarray | None) -> dict[str, Any]:
    return datatype(np.dtype(object) if array is None else array.dtype)
