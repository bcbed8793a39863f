"""Parameters over HTTP: what they are, and setting them, checked by the analysis that has them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from fastapi import APIRouter, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from bluesky_ext.live import LiveAnalysis
from bluesky_ext.view.requests import body_of, json_of, refusals
from bluesky_ext.view.values import text_of

_BINARY, _TEXT, _JSON = "application/octet-stream", "text/plain", "application/json"


class _Owner(NamedTuple):
    """A stage whose parameters can be set, and its name."""

    name: str
    stage: LiveAnalysis

    def told(self, name: str) -> dict[str, Any]:
        """What there is to know of a parameter; of bytes how many they are, and their sha256."""
        value = self.stage.settings[name].value
        about: dict[str, Any] = {"name": name, "stage": self.name}
        if isinstance(value, bytes):
            about |= {"value": None, "size": len(value), "sha256": hashlib.sha256(value).hexdigest()}
        else:
            about["value"] = value if isinstance(value, int | float | bool | None) else text_of(str(value))
        described = self.stage.settings.described.get(name)
        for key in ("kind", "default", "description", "unit"):
            said = getattr(described, key, None)
            about[key] = None if isinstance(said, bytes) else said
        for key in ("limits", "choices"):
            said = getattr(described, key, None)
            about[key] = None if said is None else list(said)
        return about


def routes(names: Sequence[str], stages: Sequence[Any]) -> APIRouter:
    """The requests about the parameters of some stages, which have these names."""
    router = APIRouter(prefix="/api/v1", tags=["parameters"])
    owners = [_Owner(name, one) for name, one in zip(names, stages, strict=True) if isinstance(one, LiveAnalysis)]

    def owner_of(name: str, stage: str) -> _Owner:
        having = [one for one in owners if name in one.stage.settings and stage in ("", one.name)]
        if not having:
            raise HTTPException(404, f"there is no parameter {name!r:.100}")
        if len(having) > 1:
            there = ", ".join(one.name for one in having)
            raise HTTPException(409, f"{name!r:.100} is a parameter of {there}: give ?stage=")
        return having[0]

    @router.get("/parameters")
    def parameters() -> list[dict[str, Any]]:
        """All parameters, with what they are and what they are set to."""
        return [one.told(name) for one in owners for name in one.stage.settings]

    @router.get("/parameter/{name:path}", responses=refusals(404, 409))
    def parameter(request: Request, name: str, stage: str = "") -> Response:
        """A parameter; its value as it is written, in UTF-8 or as bytes, if octets are accepted."""
        owner = owner_of(name, stage)
        if _BINARY in request.headers.get("accept", ""):
            return Response(owner.stage.settings[name].data, media_type=_BINARY)
        return Response(json.dumps(owner.told(name)), media_type=_JSON)

    @router.put("/parameter/{name:path}", responses=refusals(400, 403, 404, 409, 413, 415, 422))
    async def set_parameter(request: Request, name: str, stage: str = "") -> dict[str, Any]:
        """Set a parameter: a value in JSON, a text, or the content of a file as octets."""
        owner = owner_of(name, stage)
        kind, body = await body_of(request, _JSON, _TEXT, _BINARY)
        value: Any = body
        try:
            if kind == _JSON:
                value = json_of(body)
            elif kind == _TEXT:
                value = body.decode()
        except UnicodeDecodeError:
            raise HTTPException(400, "the body is no text in UTF-8") from None
        if isinstance(value, list | dict):
            raise HTTPException(422, "a parameter is a number, a text, true or false: no list and no object")
        if isinstance(value, str) and text_of(value) != value:
            raise HTTPException(422, "the text has a half of a character, which UTF-8 can't hold")
        try:
            await run_in_threadpool(owner.stage.set_parameters, {name: value})
        except (ValueError, TypeError) as error:
            raise HTTPException(422, " ".join(str(error).split())) from None
        return owner.told(name)

    return router
