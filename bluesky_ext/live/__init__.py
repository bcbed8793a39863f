"""One's own live analysis: a worker for events and a reducer for results, with parameters that change while it runs."""

from bluesky_ext.live.files import read_parameters
from bluesky_ext.live.parameters import (
    BinaryParameter,
    BoolParameter,
    FloatParameter,
    IntParameter,
    Parameter,
    Parameters,
    StrParameter,
)

__all__ = [
    "BinaryParameter",
    "BoolParameter",
    "FloatParameter",
    "IntParameter",
    "Parameter",
    "Parameters",
    "StrParameter",
    "read_parameters",
]
