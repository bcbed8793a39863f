"""Pipelines: an analysis as a server runs it, whole, from a file of settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, create_model

from bluesky_ext.engine.executors import ExecutorLike
from bluesky_ext.storage import as_sink

#: What `Pipeline.build` returns: a stage, or any other callback of Bluesky's.
Callback = Callable[[str, Any], object]


@dataclass(frozen=True)
class Site:
    """Where a pipeline works: what it computes on, and where what it makes goes."""

    #: Where the events are worked on, as `bluesky_ext.engine.Map` takes it; inline unless given.
    executor: ExecutorLike | None = None
    #: The home of masks.
    catalog: Any = None
    #: Who gets the runs that are made: anything that `bluesky_ext.storage.as_sink` takes.
    sinks: tuple[Any, ...] = ()
    #: Those whose runs are kept, as far as the pipeline has said so.
    stages: list[Any] = field(default_factory=list, init=False, compare=False)

    def keep(self, *stages: Any) -> None:
        """Have the sinks get the runs of these stages."""
        self.stages.extend(stages)
        for sink in map(as_sink, self.sinks):
            for stage in stages:
                stage.subscribe(sink)


class Pipeline(BaseModel):
    """The settings of an analysis, and by `build` the analysis: the base of all pipelines.

    A field is a key of the TOML file; its description is the comment above it in the template. A package makes its own
    pipelines known by entry points of the group ``bluesky_ext.pipelines``.

    Examples
    --------
    >>> from pydantic import Field
    >>> from bluesky_ext import ImageProcessor
    >>> class Mean(Pipeline):
    ...     '''Mean images.'''
    ...
    ...     data_key: str = Field(description="The key of the image.")
    ...
    ...     def build(self, site):
    ...         stage = ImageProcessor(self.data_key, executor=site.executor)
    ...         site.keep(stage)
    ...         return stage
    >>> Mean(data_key="camera_image").build(Site()).data_key
    'camera_image'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: Whether it works on an executor, if there is one.
    distributes: ClassVar[bool] = True

    def build(self, site: Site) -> Callback:
        """Return the callback that does the analysis; if it has a ``close``, a server calls it before it ends."""
        raise TypeError(f"{type(self).__name__} has no build(site): a pipeline is what that returns")


def of_factory(factory: Callable[..., Any], name: str) -> type[Pipeline]:
    """Return the pipeline of a plain function, or of the class of a stage: its settings are their keywords.

    They are checked against annotations of what TOML has: numbers, strings, booleans, lists and tables of these. If one
    of them is ``executor``, that is the site's and no setting. What the stage that it returns makes is kept.
    """
    types = _types(factory)
    fields: dict[str, Any] = {}
    extra: Literal["allow", "forbid"] = "forbid"
    takes_executor = False
    for key, parameter in _parameters(factory).items():
        if parameter.kind is parameter.VAR_KEYWORD:
            extra = "allow"
        elif key == "executor":
            takes_executor = True
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            fields[key] = (types.get(key, Any), ... if parameter.default is parameter.empty else parameter.default)

    class OfFactory(Pipeline):
        distributes: ClassVar[bool] = takes_executor

        def build(self, site: Site) -> Callback:
            settings: dict[str, Any] = {key: getattr(self, key) for key in self.model_fields_set}
            if takes_executor and site.executor is not None:
                settings["executor"] = site.executor
            callback = factory(**settings)
            if not callable(callback):
                raise TypeError(f"{name} returned {callback!r}: a pipeline is a callback of (name, document)")
            if hasattr(callback, "subscribe"):
                site.keep(callback)
            return callback

    OfFactory.__doc__ = (factory.__doc__ or "").partition("\n\n")[0]
    OfFactory.model_config["extra"] = extra
    return create_model(name, __base__=OfFactory, __doc__=OfFactory.__doc__, **fields)


def _parameters(factory: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(factory).parameters
    except ValueError as error:
        raise TypeError(f"{factory!r} does not say what it takes: give a function of Python") from error


def _types(factory: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of parameters that a file of settings can be checked against."""
    try:
        hints = get_type_hints(factory.__init__ if isinstance(factory, type) else factory)
    except (AttributeError, NameError, TypeError):  # names that are there for type checkers only
        return {}
    return {key: hint for key, hint in hints.items() if _is_plain(hint)}


def _is_plain(hint: Any) -> bool:
    """Whether a type is one of what TOML has, or of paths; or made of such."""
    if get_origin(hint) is Literal:
        return True
    if parts := get_args(hint):
        origin = get_origin(hint)
        return origin in (Union, UnionType, list, tuple, dict, Sequence, Mapping) and all(map(_is_plain, parts))
    return hint in (bool, int, float, str, Path, list, dict, NoneType, Ellipsis)
