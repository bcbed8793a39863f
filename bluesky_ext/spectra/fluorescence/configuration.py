"""The content of a .cfg of PyMca, checked: what is wrong with it is said in one line."""

from __future__ import annotations

import configparser
import io
import math
from typing import Any

#: What a configuration may ask for, which may have come from a network.
MOST_CHANNELS, MOST_ORDERS = 2**20, 50
#: PyMca makes nothing of two or three.
FEWEST_CHANNELS = 10


def parsed(cfg: bytes) -> dict[str, Any]:
    """The sections of a configuration as PyMca reads them, a dict each.

    Raises
    ------
    ValueError
        If it can't be read, or lacks what a fit needs; the message names the line, or the section and its entry.
    """
    from PyMca5.PyMcaIO.ConfigDict import ConfigDict

    try:
        text = cfg.decode()
    except UnicodeDecodeError as error:
        line = cfg[: error.start].count(b"\n") + 1
        raise ValueError(f"the .cfg is no text, line {line}: give the content of a configuration of PyMca") from error
    sections = ConfigDict()
    try:
        sections.read_file(io.StringIO(text))
    except configparser.ParsingError as error:  # a missing header of a section too
        errors = getattr(error, "errors", None)
        number = errors[0][0] if errors else getattr(error, "lineno", 1)
        line = text.splitlines()[number - 1].strip()
        raise ValueError(f"the .cfg can't be read, line {number}: {line[:60]!r}") from error
    except configparser.InterpolationError as error:
        said = " ".join(str(error).split())
        raise ValueError(f"[{error.section}] of the .cfg has a {error.option} that can't be read: {said}") from error
    except configparser.Error as error:
        number = getattr(error, "lineno", None)
        where = "" if number is None else f", line {number}"
        raise ValueError(f"the .cfg can't be read{where}: {' '.join(str(error).split())}") from error
    _check(sections)
    return sections


def _check(sections: dict[str, Any]) -> None:
    from PyMca5.PyMcaPhysics.xrf import Elements

    for name in ("fit", "peaks", "detector", "attenuators", "peakshape", "concentrations"):
        if not isinstance(sections.get(name), dict):
            raise ValueError(f"the .cfg has no section [{name}]: give a configuration of PyMca")
    for name, what in (("zero", "the energy of channel 0"), ("gain", "the energy of a channel")):
        value = _number(sections["detector"].get(name))
        if value is None or (name == "gain" and value <= 0):
            raise ValueError(
                f"[detector] of the .cfg has {name} = {sections['detector'].get(name)}: give {what}, in keV"
            )
    first, last = (_number(sections["fit"].get(name)) for name in ("xmin", "xmax"))
    if first is None or last is None or not 0 <= first <= last - FEWEST_CHANNELS + 1:
        limits = f"xmin = {sections['fit'].get('xmin')} and xmax = {sections['fit'].get('xmax')}"
        raise ValueError(
            f"[fit] of the .cfg has {limits}: give the channels that are fitted, {FEWEST_CHANNELS} or more"
        )
    if last >= MOST_CHANNELS:
        raise ValueError(f"[fit] of the .cfg has xmax = {last:g}: no spectrum has more than {MOST_CHANNELS} channels")
    if (
        sections["fit"].get("continuum")
        and not 0 <= (_number(sections["fit"].get("linpolorder", 0)) or 0) <= MOST_ORDERS
    ):
        raise ValueError(f"[fit] of the .cfg has linpolorder = {sections['fit']['linpolorder']}: at most {MOST_ORDERS}")
    for section, name, least in (("fit", "stripflag", 0), ("detector", "noise", 0), ("detector", "fano", 0)):
        value = _number(sections[section].get(name))
        if value is None or value < least:
            raise ValueError(f"[{section}] of the .cfg has {name} = {sections[section].get(name)}: give a number")
    width = _number(sections["fit"].get("snipwidth"))
    if sections["fit"]["stripflag"] and (width is None or width < 1):
        raise ValueError(f"[fit] of the .cfg has snipwidth = {sections['fit'].get('snipwidth')}: at least 1 channel")
    seconds = sections["concentrations"].get("time", 1.0)
    if (_number(seconds) or 0) <= 0:
        raise ValueError(f"[concentrations] of the .cfg has time = {seconds}: give a time above 0, in s")
    if sections["concentrations"].get("usexrfmc"):  # who sends a configuration does not start programs here
        raise ValueError("[concentrations] of the .cfg has usexrfmc = 1: no program is run for it, set it to 0")
    if not sections["peaks"]:
        raise ValueError("[peaks] of the .cfg is empty: give elements, as in Fe = K")
    for element in sections["peaks"]:
        if Elements.getz(element) is None:
            raise ValueError(f"[peaks] of the .cfg has {element!r}, which is no element that PyMca knows")
        if not sections["peaks"][element]:
            raise ValueError(f"[peaks] of the .cfg has no lines of {element}: give some, as in {element} = K")


def unused(sections: dict[str, Any], *, has_live_time: bool) -> list[str]:
    """What a configuration asks for and a fit here does not do, as ``name = value``."""
    asked = {name: sections["fit"].get(name) for name in ("fitweight", "sumflag", "strategyflag")}
    if not has_live_time:
        asked["useautotime"] = sections["concentrations"].get("useautotime")
    return [f"{name} = {value}" for name, value in asked.items() if value]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
