"""The version of the package; it goes into the provenance of every derived run."""

__version__ = "0.1.0"
