"""Pipelines: an analysis as a server runs it, whole, from a file of settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from bluesky_ext.documents import Lanes, as_sink

#: What a pipeline is given and gives: a stage, or any other callback of Bluesky's.
Callback = Callable[[str, Any], object]


@dataclass(frozen=True)
class Site:
    """Where a pipeline works: what it computes on, and where what it makes goes.

    Parameters
    ----------
    executor : concurrent.futures.Executor or Lanes, optional
        Where the events are worked on; inline unless given.
    catalog : Tiled container, optional
        The home of masks, and of the runs that are made.
    sinks : tuple
        Who gets the runs that are made: anything that `bluesky_ext.as_sink` takes.
    """

    executor: Executor | Lanes | None = None
    catalog: Any = None
    sinks: tuple[Any, ...] = ()

    def keep(self, *stages: Any) -> None:
        """Have the sinks get the runs of these stages."""
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

    def build(self, site: Site) -> Callback:
        """Return the callback that does the analysis; if it has a ``close``, a server calls it before it ends."""
        raise TypeError(f"{type(self).__name__} has no build(site): a pipeline is what that returns")


def build_plain(factory: Callable[..., Callback], settings: Mapping[str, Any], site: Site) -> Callback:
    """Return the callback of a plain function, which is called with the settings as keywords."""
    callback = factory(**settings)
    if not callable(callback):
        raise TypeError(f"{factory!r} returned {callback!r}: a pipeline is a callback of (name, document)")
    if hasattr(callback, "subscribe"):
        site.keep(callback)
    return callback
