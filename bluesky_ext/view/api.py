"""What an analysis says of itself over HTTP, for pages, scripts and monitors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import PlainTextResponse, Response, StreamingResponse

from bluesky_ext.engine import Stage, metrics
from bluesky_ext.engine.documents.live_runs import live_streams
from bluesky_ext.engine.documents.printable import printable
from bluesky_ext.view.changes import Changes
from bluesky_ext.view.log_lines import LogLines
from bluesky_ext.view.picture import NoPicture, Pictures
from bluesky_ext.view.requests import body_of, json_of, refusals
from bluesky_ext.view.shown import Shown
from bluesky_ext.view.snapshots import Snapshots
from bluesky_ext.view.status import LONGEST, Status


def routes(
    status: Status,
    lines: LogLines,
    shown: Shown,
    snapshots: Snapshots,
    stages: Sequence[Stage],
    others: Sequence[Any],
    changes: Changes,
) -> APIRouter:
    """The requests about the status."""
    router = APIRouter()
    pictures = Pictures(snapshots, shown.is_running)

    @router.get("/api/v1/status", tags=["status"])
    async def get_status() -> dict[str, Any]:
        """The state (ON, RUNNING, CLOSE), the scan, and all that works on it."""
        return status.whole()

    @router.get("/api/v1/progress", tags=["status"])
    async def get_progress() -> dict[str, Any]:
        """How far the scan is: events completed and in total, lost and failed, rate, lag, and age of the data."""
        return status.progress()

    @router.get("/api/v1/load", tags=["status"])
    async def get_load() -> dict[str, Any]:
        """How busy the workers of live analyses are, over 1 s, 10 s and the scan: share of the time, and events/s."""
        return status.load()

    @router.get("/api/v1/events", tags=["status"])
    def get_events() -> dict[str, Any]:
        """The last events of each worker, to look for a mistake: what they had, and why they failed."""
        return status.last_events()

    @router.get("/api/v1/live", tags=["live"])
    async def get_live() -> list[dict[str, Any]]:
        """The streams of live runs (for alignment), each of a detector: whether they are on, and what was skipped."""
        return status.live()

    @router.put("/api/v1/live/{stream:path}", tags=["live"], responses=refusals(400, 403, 404, 413, 415, 422))
    async def switch(request: Request, stream: str) -> dict[str, Any]:
        """Switch a stream of live runs on or off: true or false. A plan `live_view` in this process follows."""
        _, body = await body_of(request, "application/json")
        is_on = json_of(body)
        if not isinstance(is_on, bool):
            raise HTTPException(422, "give true or false")
        try:
            live_streams.switch(stream, is_on)
        except LookupError as error:
            raise HTTPException(404, str(error.args[0])) from None
        return next(one for one in status.live() if one["stream"] == printable(stream, LONGEST))

    @router.get("/api/v1/deployedVersions", tags=["status"])
    async def get_versions() -> dict[str, Any]:
        """Versions: of this package, its commit, and the sha256 of the files with stages of others."""
        return status.versions

    @router.get("/api/v1/log", tags=["status"])
    async def get_log(after: int = 0) -> list[dict[str, Any]]:
        """The latest lines of the log, those with a higher number."""
        return lines.after(after)

    @router.get("/api/v1/paths", tags=["data"])
    def get_paths() -> dict[str, Any]:
        """The paths of all that is shown, and the one to plot."""
        snapshot = snapshots.newest()
        default = snapshot.default
        return {"default": None if default is None else default.path, "paths": list(snapshot.paths)}

    @router.get("/api/v1/picture", tags=["data"], responses=refusals(404), response_class=Response)
    async def get_picture(path: str | None = None) -> Response:
        """A picture of what is at a path, or of what is to be plotted, as PNG."""
        try:
            return Response(await pictures.png(path), media_type="image/png")
        except NoPicture as error:
            raise HTTPException(404, str(error)) from None

    @router.get("/api/v1/changes", tags=["status"], response_class=StreamingResponse)
    async def get_changes(request: Request) -> Response:
        """Server-sent events: status, revision, parameter, layout and notification when there is another, and log."""
        kind = "text/event-stream"
        if "is_head" in request.scope:
            return Response(media_type=kind)
        return StreamingResponse(changes.listen(), media_type=kind)

    @router.get("/api/v1/notifications", tags=["status"])
    async def get_notifications(after: int = 0) -> list[dict[str, Any]]:
        """The last notifications with a higher number: runs, parameters that were set and by whom, losses, errors."""
        return changes.notifications.after(after)

    @router.post("/api/v1/stop", tags=["status"], responses=refusals(403))
    def stop() -> dict[str, Any]:
        """Close the open runs as incomplete, as of a scan that was cut off and has no stop document."""
        closed = 0
        for stage in sorted(stages, key=_depth):  # each closes those that it feeds
            closed += len(stage.open_runs)
            stage.close_stale(0)
        return {"closed": closed}

    @router.get("/metrics", tags=["status"], response_class=PlainTextResponse)
    async def get_metrics() -> PlainTextResponse:
        """All counts, as Prometheus reads them."""
        return PlainTextResponse(metrics(*stages, *others) + _gauges(status, snapshots))

    return router


def _depth(stage: Stage) -> int:
    """How many stages are before it, in the runs that it has open."""
    return max((len(one.start.get("analysis", {}).get("upstream", ())) for one in stage.progress()), default=0)


def _gauges(status: Status, snapshots: Snapshots) -> str:
    progress = status.progress()
    values = {
        "running": int(status.state == "RUNNING"),
        "completed_events": progress["completedEvents"],
        "total_events": progress["totalEvents"],
        "lag_events": progress["lag"],
        "lag_seconds": progress["lagSeconds"],
        "skipped_events": progress["skipped"],
        "rate_events_per_second": progress["rate"],
        "age_seconds": progress["age"],
        "snapshot_bytes": snapshots.n_bytes,
    }
    known = {f"bluesky_ext_live_{name}": value for name, value in values.items() if value is not None}
    return "".join(f"# TYPE {name} gauge\n{name} {value}\n" for name, value in known.items())
