"""Datasets of a server of HDF5 over HTTP: of a live server of ours, or of another one such as dranspose's reducer."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import numpy as np

from bluesky_ext.view.picture import PANELS

#: For so long an answer is waited for, in s.
PATIENCE = 20.0
_BINARY = "application/octet-stream"


class Remote:
    """Reads datasets from a server.

    Parameters
    ----------
    url : str
        Its address, as ``http://127.0.0.1:8888/``, also without the ``http://``.
    """

    def __init__(self, url: str) -> None:
        whole = url if "://" in url else f"http://{url}"
        if urlsplit(whole).scheme not in ("http", "https") or not urlsplit(whole).netloc:
            raise ValueError(f"{url!r:.200} is no address of a server: give one as http://127.0.0.1:8888/")
        self.url = f"{whole.rstrip('/')}/"
        handlers = [ProxyHandler({})] if urlsplit(whole).hostname in ("localhost", "127.0.0.1", "::1") else []
        self._opener = build_opener(*handlers)

    def read(self, path: str | None = None, images: int = PANELS) -> tuple[str, dict[str, Any]]:
        """A dataset, of a stack so many images: its name, and the tree of its group with its axes.

        Without a path it is what is to be plotted, as the attributes ``default`` and ``signal`` say; so it is in a
        group. LookupError if there is none, ValueError if it can't be drawn, OSError if the server can't be reached.
        """
        path = path or self._default()
        parts = [part for part in (path or "").split("/") if part]
        link = {"collection": "groups", "id": self._get("", Accept="application/json")["root"], "title": "/"}
        group, attributes = link, {}
        while link["collection"] == "groups":
            group, attributes = link, self._attributes(link["id"])
            said = attributes.get("default", attributes.get("signal"))
            name = parts.pop(0) if parts else said
            if not isinstance(name, str):
                raise LookupError(f"{path or 'the file'} has nothing to plot: give one of {self._names(link['id'])}")
            link = self._link(link["id"], name, path)
        if parts:
            raise LookupError(f"{path!r:.200}: {link['title']} is a dataset, and has nothing in it")
        name = str(link["title"])
        tree: dict[str, Any] = {"_attrs": attributes, name: self._array(link["id"], path or name, images)}
        for axis in np.atleast_1d(attributes.get("axes", [])).tolist():
            self._add_axis(tree, group["id"], str(axis))
        return name, tree

    def _default(self) -> str | None:
        """What a server of ours plots."""
        try:
            return self._get("api/v1/paths")["default"]
        except (LookupError, OSError):
            return None

    def _add_axis(self, tree: dict[str, Any], group: str, name: str) -> None:
        if name in tree:
            return
        try:
            link = self._link(group, name, name)
            tree[name] = self._array(link["id"], name)
            tree[f"{name}_attrs"] = self._attributes(link["id"], "datasets")
        except (LookupError, ValueError):
            return  # an axis without numbers

    def _link(self, group: str, name: str, path: str | None) -> dict[str, Any]:
        try:
            return {"title": name, **self._get(f"groups/{group}/links/{quote(name, safe='')}")["link"]}
        except LookupError:
            there = self._names(group)
            raise LookupError(f"there is no {name!r:.100} in {path or 'the file'!r:.200}: there are {there}") from None

    def _names(self, group: str) -> str:
        names = [str(link["title"]) for link in self._get(f"groups/{group}/links")["links"]]
        return ", ".join(names[:20]) or "none"

    def _attributes(self, id_: str, collection: str = "groups") -> dict[str, Any]:
        said = self._get(f"{collection}/{id_}/attributes?IncludeData=1")["attributes"]
        return {one["name"]: one["value"] for one in said if "value" in one}

    def _array(self, id_: str, path: str, images: int = PANELS) -> np.ndarray:
        about = self._get(f"datasets/{id_}")
        dtype, shape = _dtype_of(about["type"]), tuple(about["shape"].get("dims", ()))
        if dtype is None or not shape or not all(shape):
            raise ValueError(f"{path!r:.200} is nothing to draw: give a dataset of numbers with a length")
        if len(shape) > 2:  # the first images
            shape = (*[1] * (len(shape) - 3), min(shape[-3], images), *shape[-2:])
        select = quote(f"[{','.join(f'0:{length}' for length in shape)}]")
        answer = self._ask(f"datasets/{id_}/value?select={select}", Accept=_BINARY)
        if isinstance(answer, bytes):
            return np.frombuffer(answer, dtype).reshape(shape)
        return np.array(answer["value"], dtype).reshape(shape)

    def _get(self, place: str, **headers: str) -> dict[str, Any]:
        answer = self._ask(place, **headers)
        if not isinstance(answer, Mapping):
            raise ConnectionError(f"{self.url} is no server of HDF5 over HTTP: give the address that it said")
        return dict(answer)

    def _ask(self, place: str, **headers: str) -> Any:
        mark = "&" if "?" in place else "?"
        request = Request(f"{self.url}{place}{mark}domain=/", headers=headers)
        try:
            with self._opener.open(request, timeout=PATIENCE) as answer:
                body = answer.read()
                if answer.headers.get_content_type() == _BINARY:
                    return body
                return json.loads(body)
        except HTTPError as error:
            with error:
                said = " ".join(error.read(500).decode("utf-8", "replace").split())
            if error.code in (404, 410):
                raise LookupError(f"{self.url}{place}: {error.reason}") from None
            raise ConnectionError(f"{self.url} refuses it ({error.code}): {said}") from None
        except (URLError, TimeoutError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            said = getattr(reason, "strerror", None) or reason
            raise ConnectionError(f"no server answers at {self.url} ({said}): give the address that it said") from None
        except ValueError:
            raise ConnectionError(f"{self.url} is no server of HDF5 over HTTP: give the address that it said") from None


def _dtype_of(told: Any) -> np.dtype | None:
    """The dtype of a type of HDF5 that numbers have, as JSON has it; None of others."""
    kind = told.get("class") if isinstance(told, Mapping) else None
    base = told.get("base") if isinstance(told, Mapping) else None
    if kind == "H5T_ENUM" and isinstance(base, Mapping):
        return _dtype_of(base)
    if kind not in ("H5T_FLOAT", "H5T_INTEGER") or not isinstance(base, str):
        return None
    tail = base.rpartition("_")[2]  # as F64LE
    order = {"LE": "<", "BE": ">"}.get(tail[-2:])
    letter, bits = tail[:1].lower(), tail[1:-2]
    if order is None or letter not in "fiu" or not bits.isdecimal() or int(bits) not in (8, 16, 32, 64):
        return None
    return np.dtype(f"{order}{letter}{int(bits) // 8}")
