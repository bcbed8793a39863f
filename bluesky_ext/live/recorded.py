"""Parameters and routes as the record of a run has them, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bluesky_ext.live.parameters import Parameters
from bluesky_ext.live.routes import ByKey


def recorded(parameters: Parameters) -> dict[str, Any]:
    """The values of parameters as a record has them, bytes as an array, which is stored apart."""
    values = {name: getattr(setting.value, "plain", setting.value) for name, setting in parameters.items()}
    return {name: np.frombuffer(value, np.uint8) if type(value) is bytes else value for name, value in values.items()}


def values_of(said: Mapping[str, Any]) -> dict[str, Any]:
    """The values of parameters that a record says."""
    return {name: value.tobytes() if isinstance(value, np.ndarray) else value for name, value in said.items()}


def plain_route(route: Any) -> Any:
    """A route, or the routes of streams, as a record has them."""
    if isinstance(route, dict):
        return {stream: plain_route(one) for stream, one in route.items()}
    return {"by_key": route.key} if isinstance(route, ByKey) else route


def route_of(said: Any) -> Any:
    """The route, or the routes, that a record says."""
    if not isinstance(said, dict):
        return said
    if said.keys() == {"by_key"}:
        return ByKey(said["by_key"])
    return {stream: route_of(one) for stream, one in said.items()}
