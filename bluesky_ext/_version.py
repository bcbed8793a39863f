"""The version of the package, which goes into the record of every derived run: that of the tag that was installed."""

from importlib.metadata import version

__version__ = version("bluesky-ext")
