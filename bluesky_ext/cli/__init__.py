"""The command ``bluesky-ext``."""

from bluesky_ext.cli.main import main

__all__ = ["main"]
