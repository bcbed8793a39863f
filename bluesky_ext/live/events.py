"""What the classes of a user are given: events, results, and who they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from types import MappingProxyType
from typing import Any, Self, TypeAlias

import numpy as np

from bluesky_ext.engine.documents.digest import as_array
from bluesky_ext.live.parameters import Parameter, Parameters

#: The documents of what has none.
NOTHING: Mapping[str, Any] = MappingProxyType({})
Documents: TypeAlias = Mapping[str, Mapping[str, Any]]  # descriptors by uid


#: Types of readings that are as they are.
_NUMBERS = frozenset((int, float, bool, str, *np.sctypeDict.values()))


class Filled(Mapping[str, Any]):
    """The data of an event with arrays for all frames, which can't be written to.

    Those in files are read when they are looked at, and once.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = dict(data)
        self._seen: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        value = self._data[key]
        if type(value) not in _NUMBERS and key not in self._seen:
            self._seen.add(key)
            if isinstance(value, list):
                array = as_array(value)
                value = value if array is None else array
            elif hasattr(value, "read"):
                value = value.read()
            if isinstance(value, np.ndarray):  # others have it too
                value = value.view()
                value.flags.writeable = False
            self._data[key] = value
        return value

    @property
    def known(self) -> Mapping[str, Any]:
        """The data as far as it was read."""
        return self._data

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __repr__(self) -> str:
        return repr(self._data)


@dataclass(slots=True)
class Stream:
    """What an event has of one stream: ``data`` and ``timestamps`` by key, frames as arrays; and its descriptor."""

    data: Mapping[str, Any]
    timestamps: Mapping[str, Any]
    descriptor: Any


class Event:
    """An event as a worker is given it.

    Parameters
    ----------
    event_number : int
        Its number: that of the point of the scan (``seq_num``).
    stream : str
        The stream that it is of.
    data, timestamps : mapping
        Its readings, and when each was read in s since 1970, by key. Images are arrays.
    descriptor : mapping
        The descriptor document; on the way to a worker, its uid.
    streams : dict, optional
        Where streams are joined, what it has of each, by name: `Stream`; those of a capture have what was captured.
    tick : bool
        Whether it is a tick: see ``get_tick_interval``.

    Attributes
    ----------
    start : mapping
        The start document.
    """

    __slots__ = ("_streams", "data", "descriptor", "event_number", "start", "stream", "tick", "timestamps")

    def __init__(
        self,
        event_number: int,
        stream: str,
        data: Mapping[str, Any],
        timestamps: Mapping[str, Any],
        descriptor: Any = None,
        streams: dict[str, Any] | None = None,
        tick: bool = False,
    ) -> None:
        self.event_number = event_number
        self.stream = stream
        self.data = data
        self.timestamps = timestamps
        self.descriptor = descriptor
        self._streams = streams
        self.tick = tick
        self.start: Mapping[str, Any] = NOTHING

    @classmethod
    def captured(cls, event_number: int, streams: Mapping[str, Any]) -> Self:
        """The event of a capture: what was captured of each stream, by name."""
        return cls(event_number, next(iter(streams), ""), {}, {}, {}, dict(streams))

    @classmethod
    def joined(cls, events: Sequence[Event]) -> Self:
        """The event that these, each of another stream, are together."""
        first = events[0]
        streams = {one.stream: Stream(one.data, one.timestamps, one.descriptor) for one in events}
        return cls(first.event_number, first.stream, first.data, first.timestamps, first.descriptor, streams)

    @property
    def streams(self) -> dict[str, Any]:
        """What it has of each stream."""
        if self._streams is None:
            self._streams = {self.stream: Stream(self.data, self.timestamps, self.descriptor)}
        return self._streams

    @property
    def is_single(self) -> bool:
        """Whether it is of one stream, as far as that was asked."""
        return self._streams is None or len(self._streams) == 1

    @property
    def is_captured(self) -> bool:
        """Whether it is of a capture: its streams are what was captured."""
        return not self.descriptor

    def arrived(self, start: Mapping[str, Any], descriptors: Documents) -> Self:
        """The event with its documents; frames in files are read when they are looked at."""
        self.start = start
        if type(self.descriptor) is str:
            self.descriptor = descriptors.get(self.descriptor, NOTHING)
            for value in self.data.values():
                if type(value) not in _NUMBERS:
                    self.data = Filled(self.data)
                    break
            if self._streams is not None:
                for name, stream in self._streams.items():
                    data = self.data if name == self.stream else Filled(stream.data)
                    self._streams[name] = Stream(data, stream.timestamps, descriptors.get(stream.descriptor, NOTHING))
        return self

    def again(self) -> Event:
        """The same for another worker, which is told of no tick."""
        streams = None if self._streams is None else dict(self._streams)
        return Event(self.event_number, self.stream, dict(self.data), self.timestamps, self.descriptor, streams)

    def with_arrays(self, arrays: Mapping[tuple[str, str], Any]) -> Self:
        """The event with its large arrays, which came apart, by stream and key."""
        streams = self.streams
        for (name, key), array in arrays.items():
            streams[name].data[key] = array  # it is a copy, that of `without_arrays`
        self.data = streams[self.stream].data
        return self

    def without_arrays(self) -> tuple[Event, dict[tuple[str, str], Any]]:
        """The event without its arrays, and these, by stream and key."""
        arrays: dict[tuple[str, str], Any] = {}
        streams = {}
        for name, stream in self.streams.items():
            arrays |= {(name, key): value for key, value in stream.data.items() if hasattr(value, "nbytes")}
            data = {key: None if (name, key) in arrays else value for key, value in stream.data.items()}
            streams[name] = Stream(data, stream.timestamps, stream.descriptor)
        own = streams[self.stream]
        number, stream = self.event_number, self.stream
        return Event(number, stream, own.data, own.timestamps, own.descriptor, streams, self.tick), arrays

    def __reduce__(self) -> Any:
        given = (self.event_number, self.stream, self.data, self.timestamps, self.descriptor, self._streams, self.tick)
        return type(self), given

    def __repr__(self) -> str:
        return f"event_number={self.event_number} streams={self.streams!r}"


@dataclass(slots=True)
class Result:
    """What a worker made of an event, as a reducer is given it.

    ``parameters_hash`` is the sha256 of the parameters that it was made with.
    """

    event_number: int
    stream: str
    payload: Any
    worker: str
    parameters_hash: str


@dataclass(frozen=True)
class State:
    """Which worker or reducer this is, and the versions that are at work."""

    name: str
    versions: Mapping[str, str] = field(default_factory=dict)


def events_of(stream: str, page: Mapping[str, Any]) -> list[Event]:
    """The events of an event_page."""
    numbers, uid = page["seq_num"], page["descriptor"]
    data, timestamps = (_rows(page[part], len(numbers)) for part in ("data", "timestamps"))
    rows = zip(numbers, data, timestamps, strict=True)
    return [Event(number, stream, row, stamps, uid) for number, row, stamps in rows]


def _rows(columns: Mapping[str, Sequence[Any]], count: int) -> Iterator[dict[str, Any]]:
    rows = zip(*columns.values(), strict=True) if columns else repeat((), count)
    return map(dict, map(zip, repeat(tuple(columns)), rows))


class Forms:
    """In which form the classes of a user are given things; another library's classes want its own."""

    #: The result of an event, called as that.
    result: Callable[..., Any] = Result

    def described(self, user: type) -> list[Parameter]:
        """The parameters that a class describes."""
        describe = getattr(user, "describe_parameters", None)
        found = [] if describe is None else describe()
        if not isinstance(found, list | tuple):
            raise TypeError(
                f"{user.__name__}.describe_parameters() returned {found!r:.100}: return a list of parameters"
            )
        for one in found:
            if not isinstance(one, Parameter):
                kind = type(one).__name__
                raise TypeError(f"{user.__name__}.describe_parameters() has a {kind}: give an IntParameter, ...")
        return list(found)

    def event(self, event: Event) -> Any:
        """An event."""
        return event

    def parameters(self, parameters: Parameters) -> Any:
        """The parameters."""
        return parameters

    def state(self, name: str, versions: Mapping[str, str]) -> Any:
        """Who a worker or a reducer is."""
        return State(name, versions)
