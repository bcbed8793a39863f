"""NXstxm files from Bluesky documents: the suitcase of STXM beamlines.

Importable as ``suitcase_nxstxm`` and, beside the other suitcases, as ``suitcase.nxstxm``.
"""
