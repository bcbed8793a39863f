"""The kinds of scan that an STXM makes, by the names and numbers in use at beamlines."""

from __future__ import annotations

from enum import IntEnum

from suitcase_nxstxm.errors import UnknownScanTypeError


class scan_types(IntEnum):  # noqa: N801 - the name under which programs import it from this suitcase
    """The scan types, and the other names that some of them go by."""

    DETECTOR_IMAGE = 0
    OSA_IMAGE = 1
    OSA_FOCUS = 2
    SAMPLE_FOCUS = 3
    SAMPLE_POINT_SPECTRA = 4
    SAMPLE_LINE_SPECTRA = 5
    SAMPLE_IMAGE = 6
    SAMPLE_IMAGE_STACK = 7
    GENERIC_SCAN = 8
    COARSE_IMAGE_SCAN = 9
    COARSE_GONI_SCAN = 10
    TOMOGRAPHY_SCAN = 11
    PATTERN_GEN_SCAN = 12
    PTYCHOGRAPHY_SCAN = 13

    SAMPLE_POINT_SPECTRUM = 4
    SAMPLE_LINE_SPECTRUM = 5
    COARSE_IMAGE = 9
    COARSE_GONI = 10
    TOMOGRAPHY = 11
    PATTERN_GEN = 12
    PTYCHOGRAPHY = 13


# By value, as programs compare them with the number in a start document; a member equals its value.
two_posner_scans = [0, 1, 9, 10, 6, 8]
single_entry_scans = [0, 1, 2, 3, 5, 6, 9, 10, 8]
multi_entry_scans = [7, 4, 11]
single_2d_scans = [0, 1, 9, 10]
focus_scans = [3, 2]
single_image_scans = [6]
stack_type_scans = [7, 11]
spectra_type_scans = [4, 8]
line_spec_scans = [5]

STACKS = frozenset({scan_types.SAMPLE_IMAGE_STACK, scan_types.TOMOGRAPHY_SCAN, scan_types.PTYCHOGRAPHY_SCAN})
"""The scan types that have a plane for each energy."""

SPECTRA = frozenset({scan_types.SAMPLE_POINT_SPECTRA, scan_types.SAMPLE_LINE_SPECTRA})

_LABELS = {
    scan_types.COARSE_IMAGE_SCAN: scan_types.SAMPLE_IMAGE,
    scan_types.COARSE_GONI_SCAN: scan_types.SAMPLE_IMAGE,
    scan_types.TOMOGRAPHY_SCAN: scan_types.SAMPLE_IMAGE_STACK,
    scan_types.PATTERN_GEN_SCAN: scan_types.SAMPLE_IMAGE,
    scan_types.PTYCHOGRAPHY_SCAN: scan_types.SAMPLE_IMAGE_STACK,
}
"""What the definition has no word for is called by what its data are."""


def label(scan_type: scan_types) -> str:
    """The word that ``stxm_scan_type`` has for a scan type: of the definition, and no other.

    https://manual.nexusformat.org/classes/applications/NXstxm.html
    """
    return _LABELS.get(scan_type, scan_type).name.lower().replace("_", " ").replace("spectra", "spectrum")


def as_scan_type(value: object) -> scan_types:
    """The scan type that a number, a name or an alias stands for."""
    try:
        if isinstance(value, str):
            name = value.strip()
            return scan_types(int(name)) if name.lstrip("-").isdigit() else scan_types[name.upper().replace(" ", "_")]
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return scan_types(value)
    except (KeyError, ValueError):
        pass
    raise UnknownScanTypeError(
        f"scan type {value!r} is unknown: it is a number from 0 to {max(scan_types)} or a name such as "
        f"{scan_types.SAMPLE_IMAGE.name}"
    )
