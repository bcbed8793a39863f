"""Layouts of the page over HTTP: by name, the same for all browsers."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from bluesky_ext.view.arrays import finite
from bluesky_ext.view.changes import Changes
from bluesky_ext.view.requests import body_of, json_of, refusals
from bluesky_ext.view.saved import Saved

#: So many layouts are kept, each of so many bytes of JSON, with a name of so many characters.
MOST, LARGEST, LONGEST = 100, 64 << 10, 100


def routes(saved: Saved, changes: Changes) -> APIRouter:
    """The requests about layouts."""
    router = APIRouter(prefix="/api/v1", tags=["layouts"])

    @router.get("/layouts")
    def get_layouts() -> JSONResponse:
        """All layouts by name: each the object that a page has put, and its revision."""
        return JSONResponse(finite(saved.content))

    @router.put("/layouts/{name:path}", responses=refusals(400, 403, 409, 413, 415, 422))
    async def put_layout(request: Request, name: str) -> dict[str, Any]:
        """Keep a layout under a name: an object in JSON, of 64 KiB at most."""
        _, body = await body_of(request, "application/json")
        if len(body) > LARGEST:
            raise HTTPException(413, f"a layout has at most {LARGEST} bytes")
        layout = finite(json_of(body))
        if not isinstance(layout, dict):
            raise HTTPException(422, "a layout is an object")
        if not 0 < len(name) <= LONGEST or not name.isprintable():
            raise HTTPException(422, f"the name of a layout has 1 to {LONGEST} printable characters")
        before = saved.content
        if name not in before and len(before) >= MOST:
            raise HTTPException(409, f"there are {MOST} layouts already: delete one")
        revision = before.get(name, {}).get("revision", 0) + 1
        await run_in_threadpool(saved.put, name, {"layout": layout, "revision": revision})
        changes.tell("layout", {"name": name, "revision": revision})
        return {"name": name, "revision": revision}

    @router.delete("/layouts/{name:path}", responses=refusals(403, 404))
    async def delete_layout(name: str) -> dict[str, Any]:
        """Forget a layout."""
        try:
            await run_in_threadpool(saved.remove, name)
        except KeyError:
            raise HTTPException(404, f"there is no layout {name!r:.100}") from None
        changes.tell("layout", {"name": name, "revision": None})
        return {"name": name, "revision": None}

    return router
