"""Pipelines: an analysis as a server runs it, whole, from a file of settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

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
