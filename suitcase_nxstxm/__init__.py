"""NXstxm files from Bluesky documents: the suitcase of STXM beamlines.

Importable as ``suitcase_nxstxm`` and, beside the other suitcases, as ``suitcase.nxstxm``.
"""

from suitcase_nxstxm.export import Serializer, export, export_scan, finish_export
from suitcase_nxstxm.scan_types import (
    focus_scans,
    line_spec_scans,
    multi_entry_scans,
    scan_types,
    single_2d_scans,
    single_entry_scans,
    single_image_scans,
    spectra_type_scans,
    stack_type_scans,
    two_posner_scans,
)
from suitcase_nxstxm.writer import NXstxmWriter

__all__ = [
    "NXstxmWriter",
    "Serializer",
    "export",
    "export_scan",
    "finish_export",
    "focus_scans",
    "line_spec_scans",
    "multi_entry_scans",
    "scan_types",
    "single_2d_scans",
    "single_entry_scans",
    "single_image_scans",
    "spectra_type_scans",
    "stack_type_scans",
    "two_posner_scans",
]
