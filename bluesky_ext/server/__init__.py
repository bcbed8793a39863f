"""Analyses as servers, and stored runs played again: documents from 0MQ or a store, to a pipeline or any callbacks."""

from typing import TYPE_CHECKING

from bluesky_ext._lazy import lazy

if TYPE_CHECKING:
    from bluesky_ext.server.filling import Filling, filled
    from bluesky_ext.server.pipeline import Pipeline, Site
    from bluesky_ext.server.playback import replay
    from bluesky_ext.server.redone import Redone, redo
    from bluesky_ext.server.serving import serve

__all__ = ["Filling", "Pipeline", "Redone", "Site", "filled", "redo", "replay", "serve"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "bluesky_ext.server.filling": ("Filling", "filled"),
        "bluesky_ext.server.pipeline": ("Pipeline", "Site"),
        "bluesky_ext.server.playback": ("replay",),
        "bluesky_ext.server.redone": ("Redone", "redo"),
        "bluesky_ext.server.serving": ("serve",),
    },
)
