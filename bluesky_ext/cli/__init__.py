"""The command ``bluesky-ext``."""

from bluesky_ext.cli.main import main, program

__all__ = ["main", "program"]
