"""The forms that the classes of dranspose users want: its own, where its package is installed and they import it.

Nothing of its server, redis or event loop is used.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any

from bluesky_ext.live.events import Event, Forms
from bluesky_ext.live.parameters import (
    BinaryParameter,
    BoolParameter,
    FloatParameter,
    IntParameter,
    Parameter,
    Parameters,
    Setting,
    StrParameter,
)

_OF_DTYPE = {
    "int": IntParameter,
    "float": FloatParameter,
    "str": StrParameter,
    "bool": BoolParameter,
    "binary": BinaryParameter,
}


def forms_in_use() -> Forms:
    """The forms of dranspose, if something has imported that: call it when the classes of the user are there."""
    return DransposeForms() if "dranspose" in sys.modules else Forms()


class DransposeForms(Forms):
    """Events of captures, results, parameters and states as dranspose's classes; what is of documents stays ours."""

    def __init__(self) -> None:
        event: Any = importlib.import_module("dranspose.event")
        protocol: Any = importlib.import_module("dranspose.protocol")
        self._event, self._stream, self._result = event.EventData, event.StreamData, event.ResultData
        self._parameter = protocol.WorkParameter
        self._worker_state, self._reducer_state = protocol.WorkerState, protocol.ReducerState

    def described(self, user: type) -> list[Parameter]:
        """The parameters that a class describes, with the classes of dranspose or ours."""
        describe = getattr(user, "describe_parameters", None)
        found = [] if describe is None else list(describe())
        return [one if isinstance(one, Parameter) else parameter_of(one, user) for one in found]

    def event(self, event: Event) -> Any:
        """An event of a capture; one of documents is ours."""
        if not event.is_captured:
            return event
        made = self._stream
        streams = {
            name: made(typ=part.typ, frames=list(map(bytes, part.frames))) for name, part in event.streams.items()
        }
        return self._event(event_number=event.event_number, streams=streams)

    def result(self, number: int, stream: str, payload: Any, worker: str, parameters_hash: str) -> Any:
        """The result of an event."""
        return self._result(event_number=number, worker=worker, parameters_hash=parameters_hash, payload=payload)

    def parameters(self, parameters: Parameters) -> Any:
        """The parameters by name."""
        made = self._parameter
        return {name: made(name=name, value=said.value, data=_written(said)) for name, said in parameters.items()}

    def state(self, name: str, versions: Mapping[str, str]) -> Any:
        """Who a worker or a reducer is."""
        if name == "reducer":
            return self._reducer_state(url="tcp://localhost:10200")  # where dranspose's own replay says that it is
        return self._worker_state(name=name)


def parameter_of(described: Any, user: type) -> Parameter:
    """One of our parameters, of one that is described with a class of dranspose."""
    ours = _OF_DTYPE.get(getattr(described, "dtype", ""))
    if ours is None:
        kind = type(described).__name__
        raise TypeError(f"{user.__name__}.describe_parameters() has a {kind}: give an IntParameter or its like")
    return ours(described.name, described.default, described.description or "")


def _written(setting: Setting) -> bytes:
    return str(setting.value).encode() if isinstance(setting.value, bool) else setting.data  # True, and not true
