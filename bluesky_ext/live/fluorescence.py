"""Element maps as a worker and a reducer, for those who come with parameters: ``mca_config`` is the .cfg."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import numpy as np

from bluesky_ext.callbacks.spectra.fluorescence_fit import FluorescenceFit
from bluesky_ext.callbacks.spectra.fluorescence_map import FluorescenceMap
from bluesky_ext.engine.documents.complaints import Complaints
from bluesky_ext.live.events import Event, Result
from bluesky_ext.live.parameters import BinaryParameter, Parameter, Parameters, StrParameter

#: What a reading is that says where a point was.
_SCALARS = (str, bool, int, float, np.generic)
_OBJECT = "fluorescence"


class FluorescenceWorker:
    """The areas of fluorescence lines in the spectra of each event, by the .cfg that the parameters have at present.

    Without an ``mca_config`` it makes nothing of an event. See `bluesky_ext.FluorescenceFit` for what it makes.
    """

    def __init__(self) -> None:
        self._complaints = Complaints(logging.getLogger(__name__))
        self._told: tuple[str, Any] = ("", None)

    @staticmethod
    def describe_parameters() -> list[Parameter]:
        """The .cfg, and the keys of spectra and of what they are normalised by."""
        return [
            BinaryParameter("mca_config", description="The content of a .cfg of PyMca."),
            StrParameter("data_key", description="The key of the spectra."),
            StrParameter("live_time", description="The key of the live times, in s; empty for none."),
            StrParameter("monitor", description="The key of the incoming intensity; empty for none."),
        ]

    def process_event(self, event: Event, parameters: Parameters) -> dict[str, Any] | None:
        """The readings of an event with what was found in its spectra; and once what describes them."""
        said = {name: parameters[name].value for name in ("mca_config", "data_key", "live_time", "monitor")}
        if not said["mca_config"]:
            return None
        if said["data_key"] not in event.data:
            if event.stream != "primary":  # such as a baseline
                return None
            self._complaints(
                f"{event.descriptor.get('uid')} {said['data_key']}",
                "an event has no %r, which is data_key, but %s: nothing is made of it",
                *(said["data_key"], ", ".join(map(str, event.data))),
            )
            return None
        fit, by = _fit(said["mca_config"], said["data_key"], said["live_time"], said["monitor"])
        changes = fit.kernel(dict(event.data), event.event_number)
        readings = {key: value for key, value in event.data.items() if isinstance(value, _SCALARS)}
        payload = {"data_key": said["data_key"], "by": by, "data": {**readings, **changes}}
        descriptor = dict(event.descriptor)
        if (about := (by, descriptor.get("uid"))) != self._told:  # each worker: any of them may be the first
            self._told = about
            fit.describe(None, descriptor := {**descriptor, "configuration": {}})
            told = descriptor["configuration"][fit.name]["data"]
            payload |= {"start": dict(event.start), "descriptor": descriptor, "told": told}
        return payload


class FluorescenceReducer:
    """Element maps of what `FluorescenceWorker` makes, with the tree that a `bluesky_ext.FluorescenceMap` publishes.

    When the .cfg or another parameter changes, the maps begin anew.
    """

    def __init__(self) -> None:
        self._maps: FluorescenceMap | None = None
        self._by = ""
        self._start: dict[str, Any] = {}
        self._descriptor: dict[str, Any] = {}
        self._told: dict[str, Any] = {}

    @property
    def publish(self) -> Mapping[str, Any]:
        """The maps so far."""
        published = None if self._maps is None else self._maps.publish()
        return {} if published is None else published.tree

    def process_result(self, result: Result) -> None:
        """Take what was found in an event."""
        payload = result.payload
        if "descriptor" in payload:
            self._start, self._descriptor, self._told = (payload[name] for name in ("start", "descriptor", "told"))
        if payload["by"] != self._by:
            self._begin(payload)
        event = {"uid": f"event {result.event_number}", "descriptor": self._descriptor["uid"], "time": 0.0}
        event |= {"seq_num": result.event_number, "data": payload["data"], "timestamps": {}, "filled": {}}
        if self._maps is not None:
            self._maps("event", event)

    def _begin(self, payload: Mapping[str, Any]) -> None:
        key, self._by = payload["data_key"], payload["by"]
        self._maps = FluorescenceMap(key, on_error="raise")
        self._maps("start", {"uid": "run", "time": 0.0, **self._start})
        made = {
            name: {"source": _OBJECT, "dtype": "array", "shape": list(np.shape(value))}
            for name, value in payload["data"].items()
            if name.startswith(key)
        }
        descriptor = {
            **{"name": "primary", "time": 0.0, **self._descriptor, "run_start": self._start.get("uid", "run")},
            "data_keys": {**self._descriptor.get("data_keys", {}), **made},
            "object_keys": {**self._descriptor.get("object_keys", {}), _OBJECT: list(made)},
            "configuration": {_OBJECT: {"data": self._told, "timestamps": {}, "data_keys": {}}},
        }
        self._maps("descriptor", descriptor)


@functools.lru_cache(maxsize=8)
def _fit(cfg: bytes, data_key: str, live_time: str, monitor: str) -> tuple[FluorescenceFit, str]:
    """The fit by some parameters, and their hash."""
    by = sha256(repr((cfg, data_key, live_time, monitor)).encode()).hexdigest()
    return FluorescenceFit(data_key, cfg, live_time=live_time or None, monitor=monitor or None, name=_OBJECT), by
