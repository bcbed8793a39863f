"""``bluesky-ext demo``: simulated beamlines, scanned and analysed live."""

from bluesky_ext.cli.demo.command import add_to

__all__ = ["add_to"]
