"""Parameters over HTTP: what they are, and setting them, checked by the analysis that has them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote

from fastapi import APIRouter, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from bluesky_ext.engine.documents.printable import printable
from bluesky_ext.live.parameters import Parameters
from bluesky_ext.view.arrays import finite
from bluesky_ext.view.changes import Changes
from bluesky_ext.view.requests import body_of, json_of, refusals
from bluesky_ext.view.saved import Saved
from bluesky_ext.view.values import text_of

log = logging.getLogger(__name__)

#: How much of the name of a client is told.
LONGEST = 100

_BINARY, _TEXT, _JSON = "application/octet-stream", "text/plain", "application/json"


class Settable(Protocol):
    """A stage whose parameters can be set while it works: a `LiveAnalysis`, or `RegionMaps`."""

    @property
    def settings(self) -> Parameters:
        """The parameters and their values."""
        ...

    def set_parameters(self, values: Mapping[str, Any]) -> None:
        """Set parameters, by name; ValueError says which value can't be, and nothing is changed."""
        ...


class _Owner(NamedTuple):
    """A stage whose parameters can be set, and its name."""

    name: str
    stage: Settable

    def tag(self, name: str) -> str:
        """Another one whenever the value of a parameter is another."""
        return hashlib.sha256(self.stage.settings[name].data).hexdigest()[:16]

    def told(self, name: str) -> dict[str, Any]:
        """What there is to know of a parameter; of bytes how many they are, and their sha256."""
        value = self.stage.settings[name].value
        about: dict[str, Any] = {"name": name, "stage": self.name, "tag": self.tag(name)}
        if isinstance(value, bytes):
            about |= {"value": None, "size": len(value), "sha256": hashlib.sha256(value).hexdigest()}
        else:
            about["value"] = as_json(value)
        described = self.stage.settings.described.get(name)
        for key in ("kind", "default", "description", "unit"):
            said = getattr(described, key, None)
            about[key] = None if isinstance(said, bytes) else as_json(said)
        for key in ("of", "kinds"):
            if (said := getattr(described, key, None)) is not None:
                about[key] = as_json(said)
        for key in ("limits", "choices"):
            said = getattr(described, key, None)
            about[key] = None if said is None else list(said)
        return about


def routes(names: Sequence[str], stages: Sequence[Any], saved: Saved, changes: Changes) -> APIRouter:
    """The requests about the parameters of some stages, which have these names; what was set before is set again."""
    router = APIRouter(prefix="/api/v1", tags=["parameters"])
    owners = [_Owner(name, one) for name, one in zip(names, stages, strict=True) if hasattr(one, "settings")]
    for owner in owners:
        _set_again(owner, saved, changes)
    setting, set_by = asyncio.Lock(), dict[tuple[str, str], str]()

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

    @router.put("/parameter/{name:path}", responses=refusals(400, 403, 404, 409, 412, 413, 415, 422))
    async def set_parameter(request: Request, name: str, stage: str = "") -> dict[str, Any]:
        """Set a parameter: a value in JSON, a text, or the content of a file as octets.

        With ``If-Match: "TAG"`` only if its ``tag`` is that still: nobody has set it since it was read.
        """
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
        if isinstance(value, list | dict) and not hasattr(owner.stage.settings.described.get(name), "kinds"):
            raise HTTPException(422, "a parameter is a number, a text, true or false: no list and no object")
        if isinstance(value, str) and text_of(value) != value:
            raise HTTPException(422, "the text has a half of a character, which UTF-8 can't hold")
        named = unquote(request.headers.get("x-user", ""))  # a header holds no letters but those of ASCII
        who = printable(named or (request.client.host if request.client else "?"), LONGEST)
        wanted = request.headers.get("if-match", "*").strip()
        async with setting:
            if wanted not in ("*", f'"{owner.tag(name)}"'):
                other = set_by.get((owner.name, name), "somebody")
                raise HTTPException(412, f"{other} has set {name!r:.100} since you read it: look at it, and try again")
            try:
                await run_in_threadpool(owner.stage.set_parameters, {name: value})
            except (ValueError, TypeError) as error:
                raise HTTPException(422, " ".join(str(error).split())) from None
            set_by[owner.name, name] = who
            said = owner.told(name)
        changes.tell("parameter", {**said, "who": who})
        changes.notifications.add("parameter", f"{owner.name}: {name} = {_short(said)}, by {who}", who=who)
        kept = saved.content.get(owner.name, {})
        await run_in_threadpool(saved.put, owner.name, {**kept, name: _written(owner.stage.settings[name].value)})
        return said

    return router


def as_json(value: Any) -> Any:
    """A value as JSON has it."""
    plain = getattr(value, "plain", value)  # of regions
    return finite(plain) if isinstance(plain, list | tuple | int | float | bool | None) else text_of(str(plain))


def _short(said: Mapping[str, Any]) -> str:
    return f"{said['size']} bytes" if "size" in said else printable(json.dumps(said["value"]), 100)


def _written(value: Any) -> Any:
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else as_json(value)


def _set_again(owner: _Owner, saved: Saved, changes: Changes) -> None:
    """Set what was set before the server was started; what can't be any more is said, and forgotten."""
    kept = saved.content.get(owner.name, {})
    for name, written in list(kept.items() if isinstance(kept, dict) else ()):
        try:
            if name not in owner.stage.settings:
                raise ValueError("there is no such parameter any more")
            value = base64.b64decode(written["base64"]) if isinstance(written, dict) else written
            owner.stage.set_parameters({name: value})
        except (ValueError, TypeError, KeyError) as error:
            said = f"{owner.name}: {name} is not set to what it was before: {error}"
            log.warning("%s", said)
            changes.notifications.add("warning", said)
            saved.put(owner.name, {key: one for key, one in saved.content[owner.name].items() if key != name})
        else:
            changes.notifications.add("parameter", f"{owner.name}: {name} is set to what it was before")
