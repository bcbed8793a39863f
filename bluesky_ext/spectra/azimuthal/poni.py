"""The geometry of a detector from the bytes of a .poni file."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pyFAI.integrator.azimuthal import AzimuthalIntegrator

#: The file is refused beyond that: one with a detector of its own takes some hundred bytes.
LARGEST = 2**20
_NUMBERS = (
    "poni_version",
    "distance",
    "poni1",
    "poni2",
    "rot1",
    "rot2",
    "rot3",
    "wavelength",
    "pixelsize1",
    "pixelsize2",
)
_NEEDED = ("distance", "poni1", "poni2")


def poni_bytes(poni: Any) -> bytes:
    """The bytes of a .poni: of the file with this path, or its content as bytes, an array of uint8 or lines of text."""
    if isinstance(poni, np.ndarray):
        if poni.dtype != np.uint8 or poni.ndim != 1:
            raise TypeError(f"poni is an array of {poni.dtype}, {poni.shape}: give the path of a .poni, or its bytes")
        return poni.tobytes()
    if isinstance(poni, bytes | bytearray):
        return bytes(poni)
    if isinstance(poni, str) and "\n" in poni:
        return poni.encode()
    if isinstance(poni, str | os.PathLike):
        with Path(poni).open("rb") as file:
            return file.read(LARGEST + 1)
    raise TypeError(f"poni={poni!r:.100}: give the path of a .poni file, or its bytes")


def read_poni(poni: bytes) -> AzimuthalIntegrator:
    """The integrator of pyFAI with the geometry of a .poni.

    A .poni that names files (of a spline, or a NeXus detector) is refused, since it may come from anyone.

    Raises
    ------
    ValueError
        If it is none; the error names the line.
    """
    from pyFAI.integrator.azimuthal import AzimuthalIntegrator
    from pyFAI.io.ponifile import PoniFile

    entries = _entries(poni)
    for name in _NEEDED:
        if name not in entries:
            raise ValueError(f"the .poni has no line {name.capitalize()!r}: give a file as pyFAI-calib2 saves it")
    said = {name: text for name, (_, text) in entries.items()}
    _check_detector(entries)
    try:
        return AzimuthalIntegrator().set_config(PoniFile(said).as_dict())
    except (ValueError, TypeError, KeyError, NotImplementedError, RuntimeError, AttributeError) as error:
        where = ", ".join(f"line {entries[name][0]}" for name in ("detector", "detector_config") if name in entries)
        raise ValueError(f"the .poni describes no detector that pyFAI knows ({where or 'no line'}): {error}") from error


def _entries(poni: bytes) -> dict[str, tuple[int, str]]:
    """The lines of a .poni by their names in small letters: the number of each, and its text. The last one counts."""
    if len(poni) > LARGEST:
        raise ValueError(f"the .poni has more than {LARGEST} bytes: give a file as pyFAI-calib2 saves it")
    entries: dict[str, tuple[int, str]] = {}
    try:
        lines = poni.decode().splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"the .poni is no text (byte {error.start}): give a file as pyFAI-calib2 saves it") from error
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        name, colon, text = (part.strip() for part in line.partition(":"))
        if not colon:
            raise ValueError(f"line {number} of the .poni is {line!r:.80}: it has no 'name: value'")
        if name.lower() in _NUMBERS and text.lower() != "none":
            try:
                value = float(text)
            except ValueError:
                value = math.nan
            is_length = name.lower() in ("distance", "wavelength", "pixelsize1", "pixelsize2")
            if not math.isfinite(value) or (is_length and value <= 0):
                raise ValueError(f"line {number} of the .poni is {line!r:.80}: give a number{' above 0' * is_length}")
        entries[name.lower()] = number, text
    return entries


def _check_detector(entries: dict[str, tuple[int, str]]) -> None:
    """Refuse a detector that pyFAI would read from a file, and a configuration that is no JSON."""
    from pyFAI.detectors import Detector

    number, name = entries.get("detector", (0, "detector"))
    names = {name.lower(), name.lower().replace(" ", "_")}
    known = {*Detector.registry, *(one.__name__.lower() for one in Detector.registry.values())}
    if not names & known:
        raise ValueError(f"line {number} of the .poni names the detector {name!r:.80}, which pyFAI doesn't know")
    number, text = entries.get("detector_config", (0, "{}"))
    try:
        config = json.loads(text)
    except ValueError as error:
        raise ValueError(f"line {number} of the .poni is no configuration of a detector: {error}") from error
    splines = [one for one in ("splinefile",) if entries.get(one, (0, "none"))[1].lower() != "none"]
    files = [key for key in config if "file" in key.lower() and config[key]] if isinstance(config, dict) else []
    if files or splines or names & {"nexus_detector", "nexusdetector"}:
        raise ValueError(
            f"the .poni describes its detector by a file ({(files or splines or [name])[0]}), which is not read"
        )
