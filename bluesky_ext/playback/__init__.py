"""Stored runs played again: into stages, sinks and servers, as fast as they take them or as fast as they were."""

from bluesky_ext.playback.filled import Filling, filled
from bluesky_ext.playback.replay import replay

__all__ = ["Filling", "filled", "replay"]
