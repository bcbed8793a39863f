"""Parameters of an analysis: described once, checked whenever they are set, known by the sha256 of their content."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from bluesky_ext.images.regions import KINDS, Kind, Regions, regions_of

_TRUE, _FALSE = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})


@dataclass(frozen=True)
class Parameter(ABC):
    """What a parameter is: its name, its default, and which values it may have.

    Parameters
    ----------
    name : str
        By which the analysis finds it.
    default : value, optional
        What it is unless it is set.
    description, unit : str
        For those who set it.
    choices : collection, optional
        The values that it may have.
    """

    name: str
    default: Any = None
    description: str = ""
    unit: str = ""
    choices: Collection[Any] | None = field(default=None, kw_only=True)

    #: What a value is called in a message.
    kind: ClassVar[str] = ""
    #: What it is unless there is a default.
    empty: ClassVar[Any] = None

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.default is None:
            object.__setattr__(self, "default", self.empty if self.choices is None else next(iter(self.choices)))
        if isinstance(self.choices, str):
            raise TypeError(f"{self.name}: choices={self.choices!r}: give a list of values")
        object.__setattr__(self, "default", self.checked(self.default))

    def checked(self, given: Any) -> Any:
        """The value that was given, as text, bytes or itself; ValueError says why it can't be.

        Examples
        --------
        >>> IntParameter("till_x", 2, limits=(0, 10)).checked("3")
        3
        """
        try:
            value = self._parsed(given.decode() if isinstance(given, bytes) and self.kind != "bytes" else given)
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"{self.name} = {given!r:.100} is no {self.kind}") from error
        if self.choices is not None and value not in self.choices:
            raise ValueError(f"{self.name} = {value!r:.100}: it is one of {', '.join(map(repr, self.choices))}")
        return value

    @abstractmethod
    def _parsed(self, given: Any) -> Any:
        """The value; ValueError if it is none."""


@dataclass(frozen=True)
class _Number(Parameter):
    """A number; it lies within the ``limits``, both included, None for none."""

    limits: tuple[float | None, float | None] = field(default=(None, None), kw_only=True)

    def checked(self, given: Any) -> Any:
        """The number that was given, as text or itself."""
        value = super().checked(given)
        low, high = self.limits
        if (low is not None and value < low) or (high is not None and value > high):
            bounds = f"{'' if low is None else f'{low} <= '}{self.name}{'' if high is None else f' <= {high}'}"
            unit = f" {self.unit}" if self.unit else ""
            raise ValueError(f"{self.name} = {value!r}{unit} is out of its limits: {bounds}")
        return value


@dataclass(frozen=True)
class IntParameter(_Number):
    """A whole number."""

    kind = "whole number"
    empty = 0

    def _parsed(self, given: Any) -> int:
        value = int(given)
        if isinstance(given, bool | np.bool_) or (not isinstance(given, str) and value != given):
            raise ValueError
        return value


@dataclass(frozen=True)
class FloatParameter(_Number):
    """A finite number."""

    kind = "number"
    empty = 0.0

    def _parsed(self, given: Any) -> float:
        if isinstance(given, bool | np.bool_) or not math.isfinite(value := float(given)):
            raise ValueError
        return value


@dataclass(frozen=True)
class StrParameter(Parameter):
    """A text."""

    kind = "text"
    empty = ""

    def _parsed(self, given: Any) -> str:
        if not isinstance(given, str):
            raise TypeError
        return given


@dataclass(frozen=True)
class BoolParameter(Parameter):
    """Yes or no: true, yes, on, 1 or false, no, off, 0 as text."""

    kind = "yes or no"
    empty = False

    def _parsed(self, given: Any) -> bool:
        if isinstance(given, bool | np.bool_) or (isinstance(given, int) and given in (0, 1)):
            return bool(given)
        if isinstance(given, str) and given.lower() in _TRUE | _FALSE:
            return given.lower() in _TRUE
        raise ValueError


@dataclass(frozen=True)
class BinaryParameter(Parameter):
    """Bytes, such as the content of a file."""

    kind = "bytes"
    empty = b""

    def _parsed(self, given: Any) -> bytes:
        if isinstance(given, str):
            return given.encode()
        if not isinstance(given, bytes | bytearray | memoryview):
            raise TypeError
        return bytes(given)


@dataclass(frozen=True)
class RegionsParameter(Parameter):
    """Regions of an image or of a spectrum, as a list in JSON; drawn on the page of the live server.

    Its value is a tuple of `bluesky_ext.images.Region`, each with ``mask(shape)`` and ``slice(axis)``.

    Parameters
    ----------
    of : str
        The key of the image or the spectrum on which they are drawn.
    kinds : tuple of {"rectangle", "polygon", "range"}
        Which regions there may be.

    Examples
    --------
    >>> spots = RegionsParameter("spots", of="dexela_image", kinds=("rectangle",))
    >>> spots.checked([{"name": "a", "type": "rectangle", "x": [3, 5], "y": [0, 9]}])[0].name
    'a'
    """

    of: str = field(default="", kw_only=True)
    kinds: tuple[Kind, ...] = field(default=KINDS, kw_only=True)

    kind = "list of regions"
    empty = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "kinds", tuple(self.kinds))
        if not self.kinds or not set(self.kinds) <= set(KINDS):
            raise ValueError(f"{self.name}: kinds={self.kinds!r}: give some of {', '.join(KINDS)}")
        super().__post_init__()

    def checked(self, given: Any) -> Regions:
        """The regions that were given, as such, as dicts, or as JSON."""
        try:
            return regions_of(given, self.kinds)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from error

    def _parsed(self, given: Any) -> Regions:
        return regions_of(given, self.kinds)


@dataclass(frozen=True)
class Setting:
    """What a parameter is set to: its ``value``, and its ``data``, the same as bytes."""

    value: Any

    @property
    def data(self) -> bytes:
        """The value as it is written: text in UTF-8, bytes as they are."""
        if isinstance(self.value, bytes):
            return self.value
        return (str(self.value).lower() if isinstance(self.value, bool) else str(self.value)).encode()


class Parameters(Mapping[str, Setting]):
    """The settings of the parameters of an analysis, by name; they never change: `changed` makes new ones.

    Names that nobody described pass through, as they were given.

    Parameters
    ----------
    described : iterable of Parameter
        Those that are known; one that is described twice must be the same.

    Examples
    --------
    >>> parameters = Parameters([IntParameter("till_x", 2), FloatParameter("scale", 1.0)])
    >>> parameters.changed({"till_x": "3"})["till_x"].value
    3
    >>> parameters.changed({"till_x": "rubbish"})
    Traceback (most recent call last):
    ValueError: till_x = 'rubbish' is no whole number
    """

    def __init__(self, described: Iterable[Parameter] = ()) -> None:
        self.described: dict[str, Parameter] = {}
        for one in described:
            if self.described.setdefault(one.name, one) != one:
                raise ValueError(f"the parameter {one.name!r} is described twice, and not alike")
        self._settings = {name: Setting(one.default) for name, one in self.described.items()}

    def changed(self, values: Mapping[str, Any]) -> Parameters:
        """Parameters with these values and else the same; ValueError says which value can't be, and none is changed."""
        checked = {}
        for name, value in values.items():
            one = self.described.get(name)
            checked[name] = Setting(_plain(name, value) if one is None else one.checked(value))
        made = Parameters(self.described.values())
        made._settings = {**self._settings, **checked}
        return made

    def unknown(self, names: Iterable[str]) -> str:
        """What to say of names that nobody described, where others are; an empty text if there is nothing to say."""
        others = [name for name in names if name not in self.described]
        if not others or not self.described:
            return ""
        said = ", ".join(map(repr, others))
        return f"nobody describes a parameter {said}: it is handed on (described: {', '.join(self.described)})"

    @cached_property
    def sha256(self) -> str:
        """The sha256 of names and values, whatever their order."""
        whole = hashlib.sha256()
        for name, setting in sorted(self._settings.items()):
            for part in (name.encode(), type(setting.value).__name__.encode(), setting.data):
                whole.update(b"%d:" % len(part) + part)
        return whole.hexdigest()

    def __getitem__(self, name: str) -> Setting:
        return self._settings[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._settings)

    def __len__(self) -> int:
        return len(self._settings)

    def __repr__(self) -> str:
        return f"Parameters({', '.join(f'{name}={said.value!r:.50}' for name, said in self.items())})"


def check_name(name: Any) -> None:
    """Refuse what can't be the name of a parameter: it is a key in documents, and a place in files."""
    if not isinstance(name, str) or not name or any(mark in name for mark in "./") or name.startswith("$"):
        raise ValueError(f"a parameter is named {name!r:.100}: give a word, without . and / in it")


def _plain(name: Any, value: Any) -> Any:
    """The value of a parameter that nobody described, if it is one that can be written down."""
    check_name(name)
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, list | tuple):
        return [_plain(name, one) for one in value]
    if value is not None and not isinstance(value, str | bytes | bool | int | float):
        kind = type(value).__name__
        raise ValueError(f"{name} is a {kind}, and nobody describes it: give text, a number, bytes or a list of these")
    return value
