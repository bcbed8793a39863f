"""Analyses as servers: documents from 0MQ, a pipeline by name, settings from a file."""

from typing import TYPE_CHECKING

from bluesky_ext._lazy import lazy

if TYPE_CHECKING:
    from bluesky_ext.server.pipeline import Pipeline, Site
    from bluesky_ext.server.serving import serve

__all__ = ["Pipeline", "Site", "serve"]

__getattr__, __dir__ = lazy(
    __name__, {"bluesky_ext.server.pipeline": ("Pipeline", "Site"), "bluesky_ext.server.serving": ("serve",)}
)
