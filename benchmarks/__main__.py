"""``python -m benchmarks [NAME ...]``: run the benchmarks, all of them unless some are named."""

from __future__ import annotations

import argparse
import importlib
import os
import platform

NAMES = (
    "startup",
    "cold",
    "stages",
    "engine",
    "provenance",
    "executors",
    "live",
    "peaks",
    "maps",
    "pictures",
    "spectra",
    "masks",
    "storage",
    "nxstxm",
    "transport",
    "hostile",
    "view",
    "page",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all if none is given")
    names = parser.parse_args().names or NAMES
    for name in names:
        if name not in NAMES:
            parser.error(f"no benchmark is named {name!r}: there are {', '.join(NAMES)}")
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}")
    good = True
    for name in names:
        print(f"\n{name}")
        good &= importlib.import_module(f"benchmarks.{name}").main()
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
