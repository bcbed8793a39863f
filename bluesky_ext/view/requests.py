"""Requests: what their bodies may be, and which are refused before anything is done for them."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Collection
from contextlib import suppress
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Bytes of a body, at most: files are parameters too. To read as much JSON would hold up the scan.
LARGEST_BODY, LARGEST_TEXT = 16 << 20, 1 << 20

_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; "  # a page makes pictures of itself
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_REASONS = {
    204: "there is nothing of it yet: ask again when something changed",
    400: "the request makes no sense, and the detail says why",
    403: "the request comes from another site, or has not the token",
    404: "there is no such thing",
    409: "several stages have it: say which one; or there are too many already",
    410: "the state is not kept any more: reopen the file",
    412: "somebody has set it since: read it again",
    413: "it is too large",
    415: "the content type is none that is read here",
    422: "the value can't be, and the detail says why",
}


def refusals(*codes: int) -> dict[int | str, dict[str, Any]]:
    """What the description of the API says of answers with these codes."""
    return {code: {"description": _REASONS[code]} for code in codes}


async def body_of(request: Request, *kinds: str) -> tuple[str, bytes]:
    """The content type of a request, which is one of these, and its body."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in kinds:
        raise HTTPException(415, f"content type {kind!r:.100}: send {' or '.join(filter(None, kinds))}")
    body = await request.body()
    if kind != "application/octet-stream" and len(body) > LARGEST_TEXT:
        raise HTTPException(413, f"a body of this kind has at most {LARGEST_TEXT} bytes: send octets")
    return kind, body


def json_of(body: bytes) -> Any:
    """What a body says in JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is no JSON") from None


class Guard:
    """Lets through what its owner wants: requests to this server by one of its names, from no page of another site.

    Parameters
    ----------
    app : ASGI application
        What gets the requests.
    names : collection of str
        The names by which the server is called, beside localhost and addresses.
    token : str, optional
        What changes something needs it, as ``Authorization: Bearer TOKEN``.
    is_local : bool
        Whether this machine alone reaches the server: then changes need no token, if there is none.
    """

    def __init__(self, app: ASGIApp, *, names: Collection[str], token: str | None, is_local: bool) -> None:
        self._app = app
        self._names = {"localhost", *(name.lower() for name in names)}
        self._is_local = is_local
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += [(name.encode(), text.encode()) for name, text in _HEADERS.items()]
            await send(message)

        headers = {name.decode("latin-1").lower(): text.decode("latin-1") for name, text in scope["headers"]}
        code, reason = self._refusal(scope["method"], scope["path"], headers)
        if code:
            await PlainTextResponse(f"{reason}\n", code)(scope, receive, answer)
        else:
            with suppress(ClientDisconnect):  # before its body was whole
                if scope["method"] == "HEAD":  # answered as GET; the server leaves the body away
                    scope = {**scope, "method": "GET", "is_head": True}
                await self._app(scope, _Bounded(receive), answer)

    def _refusal(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        host = headers.get("host", "")
        if not self._knows(host):
            return 403, f"this server is not called {host!r:.100}: give it the name (hosts=), or use its address"
        if method in ("GET", "HEAD"):
            return 0, ""
        origin = headers.get("origin")
        is_own = origin is None or origin.lower() in (f"http://{host}".lower(), f"https://{host}".lower())
        if not is_own or headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return 403, "requests of pages of other sites are refused"
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > LARGEST_BODY:
            return 413, f"a body has at most {LARGEST_BODY} bytes"
        if path.startswith("/api/") and not self._may_change(headers.get("authorization", "")):
            return 403, "changes need the token that this server was started with: Authorization: Bearer TOKEN"
        return 0, ""

    def _knows(self, host: str) -> bool:
        """Whether this is a name of this server, and not one of a stranger that leads here (DNS rebinding)."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        try:
            address = ip_address(name)
        except ValueError:
            return name in self._names
        return address.is_loopback or not self._is_local

    def _may_change(self, authorization: str) -> bool:
        if self._token is None:
            return self._is_local
        return secrets.compare_digest(authorization.encode(), f"Bearer {self._token}".encode())


class _Bounded:
    """What receives the body of a request, as far as it may go; its sender need not say how long it is."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._length = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._length += len(message.get("body", b""))
        if self._length > LARGEST_BODY:
            raise HTTPException(413, f"a body has at most {LARGEST_BODY} bytes")
        return message


def own_names() -> set[str]:
    """The names of this machine, with its domain and without."""
    names = socket.gethostname(), socket.getfqdn()
    return {*names, *(name.partition(".")[0] for name in names)}
