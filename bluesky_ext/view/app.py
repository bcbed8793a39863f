"""The application of a live server: all that it answers."""

from __future__ import annotations

import asyncio
import html
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from bluesky_ext._version import __version__
from bluesky_ext.engine import Stage
from bluesky_ext.view import api, hdf5, layouts, parameters
from bluesky_ext.view.changes import Changes
from bluesky_ext.view.log_lines import LogLines
from bluesky_ext.view.points import routes as points
from bluesky_ext.view.points.recorder import PointRecorder
from bluesky_ext.view.points.shown_scans import ShownScans
from bluesky_ext.view.requests import Guard
from bluesky_ext.view.saved import Saved
from bluesky_ext.view.shown import Shown
from bluesky_ext.view.snapshots import Snapshots
from bluesky_ext.view.status import Status

#: The page, where the packages that it is made of could be had when this one was built, and the one that needs none.
BUILT, PLAIN = Path(__file__).with_name("page"), Path(__file__).with_name("plain")


def application(
    stages: Sequence[Stage],
    others: Sequence[Any],
    lines: LogLines,
    closing: asyncio.Event,
    *,
    keep: int,
    directory: Path | None,
    names: Collection[str],
    token: str | None,
    is_local: bool,
) -> tuple[ASGIApp, PointRecorder]:
    """Everything that is answered, behind the `Guard` that refuses the rest, and is told the last three."""
    shown = Shown(tuple(stages))
    snapshots = Snapshots(shown, shown.is_running)
    status = Status(shown, stages, others, lines, takes_token=token is not None or not is_local)
    changes = Changes(status, lines, closing)

    recorder = PointRecorder(stages, shown.names, keep, changes.touch, changes.run)
    scans = ShownScans(snapshots, recorder, stages, shown.names)
    changes.follow(scans, recorder)
    recorder.watch()
    app = FastAPI(
        title="bluesky-ext",
        version=__version__,
        description="What an analysis shows, live: HDF5 over HTTP, its status, and its parameters.",
        openapi_url="/api/openapi.json",
        docs_url=None,  # they come from a CDN
        redoc_url=None,
        redirect_slashes=False,
    )
    app.mount("/page", StaticFiles(directory=BUILT, check_dir=False))
    app.mount("/plain", StaticFiles(directory=PLAIN))
    opening = asyncio.Lock()

    @app.get("/", tags=["data"], response_class=Response)
    async def root(request: Request, getobjs: str = "") -> Response:
        """The page, for a browser; for others the root of HDF5 over HTTP, as it is now."""
        if "text/html" in request.headers.get("accept", ""):
            built, plain = BUILT / "page.html", PLAIN / "plain.html"
            return HTMLResponse((built if built.is_file() else plain).read_text(encoding="utf-8"))
        async with opening:  # one after another, so that a stage that is busy holds up no other requests
            return await run_in_threadpool(hdf5.domain, snapshots, getobjs)

    @app.get("/api", include_in_schema=False)
    def description() -> HTMLResponse:
        return HTMLResponse(_table(app.openapi()))

    app.include_router(api.routes(status, lines, shown, snapshots, stages, others, changes))
    app.include_router(parameters.routes(shown.names, stages, Saved(directory, "parameters"), changes))
    app.include_router(layouts.routes(Saved(directory, "layouts"), changes))
    app.include_router(points.routes(recorder, scans, stages, shown.names))
    app.include_router(hdf5.routes(snapshots), tags=["data"])
    return Guard(app, names=names, token=token, is_local=is_local), recorder


def _table(openapi: dict[str, Any]) -> str:
    """The description of the API as a page."""
    rows = [
        f"<tr><td>{method.upper()}</td><td><code>{html.escape(path)}</code></td>"
        f"<td>{html.escape(said.get('description', ''))}</td></tr>"
        for path, methods in sorted(openapi["paths"].items())
        for method, said in methods.items()
    ]
    return (
        '<!doctype html><meta charset="utf-8"><title>bluesky-ext: API</title>'
        '<link rel="stylesheet" href="/plain/plain.css">'
        f'<h1>API</h1><p><a href="/api/openapi.json">OpenAPI</a></p><table>{"".join(rows)}</table>'
    )
