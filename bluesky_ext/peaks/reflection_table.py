"""Peaks as a reflection table of DIALS: a file of msgpack."""

from __future__ import annotations

import msgpack
import numpy as np
import pandas as pd

#: DIALS reads versions 1 and 2, which differ in shoeboxes alone; its older releases read only the first.
VERSION = 1
#: The bit of ``flags`` that all spots of a spot finder have.
STRONG = 1 << 5
_TYPES = {"int": "<i4", "std::size_t": "<u8", "double": "<f8", "vec3<double>": "<f8"}


def reflection_table(peaks: pd.DataFrame, t_column: str = "frame") -> bytes:
    """What the ``.refl`` file of these peaks has in it, as ``dials.find_spots`` would have it of its own.

    The columns are ``xyzobs.px.value`` and ``.variance``, ``intensity.sum.value`` and ``.variance``, ``panel``, ``id``
    and ``flags`` (strong); ``d`` in angstrom, if it is known; and integer columns of the peaks such as ``particle``
    under their own names. The middle of the first pixel is (0.5, 0.5) there and (0, 0) here; z is the number of the
    image, whose middle is a half.

    Parameters
    ----------
    peaks : pandas.DataFrame
        A row a peak: x, y and ``mass``, the number of the frame from 1, and ``raw_mass``, ``ep`` and ``d`` (in nm) if
        they are known.
    t_column : str
        Column of the numbers of the frames.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    missing = [name for name in ("x", "y", "mass", t_column) if name not in peaks]
    if missing:
        raise ValueError(f"the peaks have no column {missing[0]!r}, only {list(peaks)}")
    z = peaks[t_column] - 1
    error = np.square(peaks["ep"].to_numpy(float)) if "ep" in peaks else np.zeros(len(peaks))
    known = np.where(np.isfinite(error) & (error > 0), error, 1 / 12)  # of a place that is known to a pixel
    columns = {
        "xyzobs.px.value": ("vec3<double>", np.column_stack([peaks["x"] + 0.5, peaks["y"] + 0.5, z + 0.5])),
        "xyzobs.px.variance": ("vec3<double>", np.column_stack([known, known, np.full(len(peaks), 1 / 12)])),
        "intensity.sum.value": ("double", peaks["mass"]),
        "intensity.sum.variance": ("double", peaks["raw_mass" if "raw_mass" in peaks else "mass"]),
        "panel": ("std::size_t", np.zeros(len(peaks))),
        "id": ("int", np.zeros(len(peaks))),
        "flags": ("std::size_t", np.full(len(peaks), STRONG)),
    }
    if "d" in peaks:
        columns["d"] = "double", 10 * peaks["d"]
    own = [name for name in peaks.select_dtypes("integer") if name not in (*columns, t_column)]
    columns |= {str(name): ("int", peaks[name]) for name in own}
    data = {
        name: [kind, [len(peaks), np.ascontiguousarray(values, _TYPES[kind]).tobytes()]]
        for name, (kind, values) in columns.items()
    }
    table = ["dials::af::reflection_table", VERSION, {"identifiers": {}, "nrows": len(peaks), "data": data}]
    return bytes(msgpack.Packer().pack(table))
