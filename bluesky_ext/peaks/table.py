"""Tables of peaks, in the form of `trackpy.locate` or with columns that don't depend on the image."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bluesky_ext.peaks.parameters import LocateParameters
from bluesky_ext.peaks.search import Found

#: What a peak has once the geometry of its detector is known: the scattering vector, the angle from the beam, the
#: azimuth and the d-spacing, with their units.
SCATTERING = {"q": "1/nm", "two_theta": "deg", "chi": "deg", "d": "nm"}
#: The columns that have units.
UNITS = {"y": "px", "x": "px", **SCATTERING}


def _values(found: Found, parameters: LocateParameters) -> np.ndarray:
    """The values of `parameters.peak_columns`."""
    if not parameters.characterize:
        return found.peaks[:, :3]
    return np.delete(found.peaks, 4, axis=1) if parameters.round_peak else found.peaks  # one size or two


def trackpy_table(found: Found, parameters: LocateParameters) -> pd.DataFrame:
    """The table as trackpy returns it.

    Without peaks it has no position errors. Errors of two axes are attached by number, and not by the
    index: after a filter they stand in other rows, and rows of their own appear. So it is in trackpy 0.7.
    """
    columns = pd.Index(parameters.peak_columns)
    if found.total == 0:
        return pd.DataFrame(columns=columns)
    table = pd.DataFrame(_values(found, parameters), columns=columns, index=found.index)
    if found.errors is None:
        return table
    if found.errors.ndim == 1:
        table["ep"] = found.errors
        return table
    return pd.concat(
        [table, pd.DataFrame(found.errors, columns=pd.Index(parameters.error_columns))], axis=1, sort=False
    )


def constant_table(found: Found, parameters: LocateParameters) -> pd.DataFrame:
    """The table with all its columns in float64 and the index 0, 1, 2, ..., whether there are peaks or not."""
    values = _values(found, parameters)
    if parameters.characterize:
        errors = found.errors if found.errors is not None else np.empty((0, len(parameters.error_columns)))
        values = np.column_stack([values, errors])
    return pd.DataFrame(values, columns=pd.Index(parameters.peak_columns + parameters.error_columns))
