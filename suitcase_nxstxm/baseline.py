"""What the baseline of a run says of the microscope: where the sample is, the energy, the ring current."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from suitcase_nxstxm.devices import Devices, mended_units
from suitcase_nxstxm.metadata import as_number
from suitcase_nxstxm.readings import owners

__all__ = ["of_roles"]


def of_roles(
    descriptor: Mapping[str, Any], data: Mapping[str, Any], devices: Devices
) -> dict[str, tuple[float, str | None]]:
    """The value and the unit that each role has; of several devices for one role those of the first by its name."""
    found: dict[str, tuple[int, float, str | None]] = {}
    for key, device in owners(descriptor).items():
        role, value = devices.role_of(device), as_number(data.get(key))
        if role is None or value is None or key.endswith("setpoint"):
            continue
        units = mended_units(role, descriptor["data_keys"][key].get("units"))
        rank = 2 * devices.rank(role, device) + (key != device)
        if role not in found or rank < found[role][0]:
            found[role] = (rank, value, units)
    return {role: (value, units) for role, (_, value, units) in found.items()}
