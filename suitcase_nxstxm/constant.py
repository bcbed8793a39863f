"""One number many times, compressed without compressing it: the energy of a million points is one energy."""

from __future__ import annotations

import functools
import zlib

import numpy as np

__all__ = ["constant_chunk"]

_ADLER = 65521
_FINAL = b"\x03\x00"  # an empty last block


def constant_chunk(value: np.generic, number: int) -> bytes:
    """What HDF5's filters shuffle and deflate make of ``number`` times the same value.

    The shuffle puts all first bytes of the numbers first, then all second bytes: runs of one byte each. Deflated
    runs can be put one behind the other (RFC 1951), and their checksum is a sum (RFC 1950).
    """
    a, b = 1, 0
    runs = []
    for byte in value.tobytes():
        runs.append(_run(byte, number))
        b = (b + number * a + byte * number * (number + 1) // 2) % _ADLER
        a = (a + number * byte) % _ADLER
    return b"\x78\x01" + b"".join(runs) + _FINAL + (b << 16 | a).to_bytes(4, "big")


@functools.lru_cache(maxsize=512)
def _run(byte: int, number: int) -> bytes:
    """A run of a byte, deflated, ending at the end of a byte."""
    deflate = zlib.compressobj(1, zlib.DEFLATED, -15)
    return deflate.compress(bytes([byte]) * number) + deflate.flush(zlib.Z_FULL_FLUSH)
