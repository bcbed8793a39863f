"""Maps, points and scans over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import JSONResponse, Response

from bluesky_ext.callbacks.linking import TrackReduce
from bluesky_ext.engine import Stage
from bluesky_ext.view import arrays
from bluesky_ext.view.arrays import finite
from bluesky_ext.view.points.curves import curve, curve_id, curves_of
from bluesky_ext.view.points.images import NOT_KEPT, GoneImageError, image, images_of
from bluesky_ext.view.points.recorder import TABLE, PointRecorder
from bluesky_ext.view.points.scan_record import ScanRecord
from bluesky_ext.view.points.shown_scans import ShownScan, ShownScans
from bluesky_ext.view.requests import refusals

#: So many readings are sent in one answer.
MOST_NAMES = 50

Of = Annotated[str | None, Query(description="The uid of one of the scans that are kept; the latest unless given.")]


def routes(recorder: PointRecorder, shown: ShownScans, stages: Sequence[Stage], names: list[str]) -> APIRouter:
    """The requests about maps and the points of scans."""
    router = APIRouter(prefix="/api/v1", tags=["points"])
    binary: dict[int | str, Any] = {200: {"content": {arrays.BINARY: {}}, "description": "arrays"}}

    def of_scan(uid: str | None) -> ScanRecord:
        try:
            return recorder.of(uid)
        except KeyError:
            raise _no_scan(uid) from None

    def shown_of(uid: str | None) -> ShownScan:
        try:
            return shown.of(uid)
        except KeyError:
            raise _no_scan(uid) from None

    def point_of(scan: ScanRecord, seq_num: str) -> int:
        if seq_num == "latest" and not scan.rows.latest:
            raise HTTPException(204)
        number = scan.rows.latest if seq_num == "latest" else int(seq_num) if seq_num.isdecimal() else 0
        if not number or number not in scan.rows:
            raise HTTPException(404, f"there is no point {seq_num!r:.50} of scan {scan.uid}")
        return number

    @router.get("/runs")
    def get_runs() -> JSONResponse:
        """The last scans that are kept, the latest first."""
        return JSONResponse(finite([scan.told() for scan in recorder.scans]))

    @router.get("/maps", responses=refusals(404))
    def get_maps(of: Of = None) -> JSONResponse:
        """All maps that are shown: each slice of a stack, on a grid, along a line, or of scattered points."""
        one = shown_of(of)
        default = one.default
        told = [a_map.told(default, shown.stage_of(a_map.path)) for a_map in one.maps.values()]
        return JSONResponse(finite({"revision": one.revision, "run": one.uid, "maps": told, "truncated": one.n_more}))

    @router.get(
        "/map",
        responses={**binary, **refusals(204, 404), 304: {"description": "the tag is that of the present revision"}},
        response_class=Response,
    )
    def get_map(request: Request, id: str, of: Of = None) -> Response:
        """A map: values, positions along its axes, and the number of the point in each pixel (-1: none)."""
        one = shown_of(of)
        if request.headers.get("if-none-match") == one.tag:
            return Response(status_code=304, headers={"etag": one.tag})
        a_map = one.maps.get(id)
        if a_map is None and one.scan is not None and one.scan.open:
            raise HTTPException(204)  # it may come
        if a_map is None:
            raise HTTPException(404, f"there is no map {id!r:.200} now")
        told = a_map.told(one.default, shown.stage_of(a_map.path))
        said = {"revision": one.revision, "run": one.uid}
        return arrays.answer(a_map.arrays(one.scan), {"etag": one.tag}, **told, **said)

    @router.get("/scan", responses={**binary, **refusals(204, 404)}, response_class=Response)
    def get_scan(of: Of = None) -> Response:
        """The points of a scan in the order of measuring, and what was planned."""
        scan = of_scan(of)
        seq_nums, positions = scan.positions()
        found = {"seq_num": seq_nums}
        found |= dict(zip(("y", "x")[-len(positions) :] if positions else (), [*positions.values()][-2:], strict=True))
        motors = [{"name": name, "unit": scan.unit_of(name)} for name in positions]
        scalars = [{"name": name, "unit": scan.unit_of(name)} for name in scan.rows.names]
        said = {"motors": motors, "planned": _planned(scan), "scalars": scalars, "left_out": scan.rows.n_gone}
        return arrays.answer(found, **scan.told(), **said)

    @router.get("/scalars", responses={**binary, **refusals(204, 404)}, response_class=Response)
    def get_scalars(
        name: Annotated[list[str], Query(max_length=MOST_NAMES)], of: Of = None, after: int = 0
    ) -> Response:
        """Readings of the points of a scan with higher numbers, in the order of measuring: NaN where there is none."""
        scan = of_scan(of)
        if not scan.rows.latest:
            raise HTTPException(204)
        try:
            seq_nums, columns = scan.rows.read(["time", *name], after)
        except KeyError as error:
            raise HTTPException(404, f"there is no reading {error.args[0]!r:.100} in scan {scan.uid}") from None
        found = dict(zip(["time", *name], columns, strict=True))
        units = {one: scan.unit_of(one) for one in name}
        return arrays.answer({"seq_num": seq_nums, **found}, uid=scan.uid, units=units)

    @router.get("/point/{seq_num}", responses=refusals(204, 404))
    def get_point(seq_num: str, of: Of = None) -> JSONResponse:
        """What was measured at a point, by its number or the ``latest``: its readings, images, peaks and curves."""
        scan = of_scan(of)
        number = point_of(scan, seq_num)
        row = scan.rows.row(number)
        tables = recorder.tables.of(scan.uid, number)
        earlier = (
            recorder.tables.latest(scan.uid, lambda one: one[2] != TABLE)[1] if seq_num == "latest" else {}
        )  # which its own will be like
        images = recorder.images.of(scan.uid, number)
        return JSONResponse(
            finite(
                {
                    "seq_num": number,
                    "uid": scan.uid,
                    "time": row.pop("time"),
                    "position": {motor: row[key] for motor, key in scan.motors.items() if key in row},
                    "row": [{"name": name, "value": value, "unit": scan.unit_of(name)} for name, value in row.items()],
                    "images": images_of(images, scan.images, names),
                    "peaks": _peaks(tables, stages, names, number, scan.uid),
                    "curves": curves_of(tables, stages, names) or curves_of(earlier, stages, names),
                }
            )
        )

    @router.get("/point/{seq_num}/image", responses={**binary, **refusals(204, 404, 410)}, response_class=Response)
    def get_image(seq_num: str, stage: str, key: str = "", kind: str = "taken", of: Of = None) -> Response:
        """An image of a point, in its own dtype; of several frames their mean; the latest that there is of the scan."""
        scan = of_scan(of)
        number = point_of(scan, seq_num)
        known = [one for one in scan.images if one[0] == stage and one[2] == kind and key in ("", one[1])]
        if not known and scan.open:
            raise HTTPException(204)
        if not known:
            raise HTTPException(404, f"{stage!r:.100} has no image {key!r:.100} that it has {kind!r:.20}")
        place = names.index(stage), *known[0][1:]
        kept = recorder.images.of(scan.uid, number)
        if seq_num == "latest" and place not in kept:
            number, kept = recorder.images.latest(scan.uid, lambda one: one == place)
        value = kept.get(place)
        if value is None:
            raise HTTPException(410, f"the image of point {number} is {NOT_KEPT}")
        try:
            pixels, n_frames = image(value)
        except GoneImageError as error:
            raise HTTPException(410, str(error)) from None
        said = {"stage": stage, "key": known[0][1], "kind": kind, "frames": n_frames}
        return arrays.answer({"image": pixels}, seq_num=number, uid=scan.uid, **said)

    @router.get("/point/{seq_num}/curve", responses={**binary, **refusals(204, 404)}, response_class=Response)
    def get_curve(seq_num: str, id: str, of: Of = None) -> Response:
        """A curve of a point: a spectrum with its fit and each line of that, a diffractogram, or another array.

        Of the latest point that has it, where the latest one is asked for.
        """
        scan = of_scan(of)
        number = point_of(scan, seq_num)
        tables = recorder.tables.of(scan.uid, number)
        if seq_num == "latest" and not any(id == curve_id(one, names) for one in tables):
            number, tables = recorder.tables.latest(scan.uid, lambda one: id == curve_id(one, names))
            if not tables and scan.open:
                raise HTTPException(204)
        try:
            one = curve(tables, stages, names, id)
        except KeyError:
            raise HTTPException(404, f"point {number} has no curve {id!r:.200}, or it is not kept any more") from None
        said: dict[str, Any] = {
            "label": one.label,
            "x_label": one.x_label,
            "x_unit": one.x_unit,
            "y_label": one.y_label,
            "log": one.log,
            "first_channel": one.first_channel,
        }
        lines = {f"{name}_" if name == "x" else name: values for name, values in one.lines.items()}
        return arrays.answer({"x": one.x, **lines}, seq_num=number, uid=scan.uid, id=id, **said)

    return router


def _no_scan(uid: str | None) -> HTTPException:
    return HTTPException(204) if uid is None else HTTPException(404, f"scan {uid!r:.100} is not kept: see /api/v1/runs")


def _planned(scan: ScanRecord) -> dict[str, Any] | None:
    planned = scan.planned
    if planned is None:
        return None
    kind = {1: "line", 2: "grid"}.get(len(planned.shape), "grid")
    extents = None if planned.extents is None else np.asarray(planned.extents, float)
    snaked = None if planned.snaking is None else list(map(bool, planned.snaking))
    about = {"shape": list(planned.shape), "extents": extents, "snaked": snaked}
    return {"kind": kind, **about, "relative": planned.is_relative}


def _peaks(tables: Any, stages: Sequence[Stage], names: list[str], number: int, uid: str) -> dict[str, Any]:
    """The tables of peaks of a point by stage; of stages that link them with their tracks."""
    found = {at: value for (at, _, kind), value in tables.items() if kind == TABLE}
    for at, stage in enumerate(stages):
        if isinstance(stage, TrackReduce):
            with suppress(LookupError):  # it has begun another run since
                linked = stage.peaks_of(number, uid)
                found |= {} if linked is None else {at: linked}
    return {names[at]: {"columns": value} for at, value in found.items()}
