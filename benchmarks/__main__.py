"""``python -m benchmarks [NAME ...]``: measure, print one table, and write it where the documentation has it.

Each section runs in a process of its own, so that what it finds, its memory too, does not depend on those before it.
The exit code is 1 if a figure is more than 20 % short of its target, or if a section did not run to its end. A
simulated day at a beamline is apart, as it takes hours: ``python -m benchmarks.day``.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict
from datetime import date
from pathlib import Path

from benchmarks import tables
from benchmarks.runner import Figure

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
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n\n")[2])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all if none is given")
    parser.add_argument("--dry", action="store_true", help="leave the documentation as it is")
    parser.add_argument("--figures", metavar="FILE", help=argparse.SUPPRESS)  # of one section, in this process
    options = parser.parse_args()
    for name in options.names:
        if name not in NAMES:
            parser.error(f"no benchmark is named {name!r}: there are {', '.join(NAMES)}")
    if options.figures:
        return _section(options.names[0], Path(options.figures))
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}")
    found, broken = {}, []
    with tempfile.TemporaryDirectory() as directory:
        for name in options.names or NAMES:
            path = Path(directory, f"{name}.json")
            print(f"\n{name}", flush=True)
            command = [sys.executable, "-m", "benchmarks", name, "--figures", str(path)]
            if subprocess.run(command).returncode:
                broken.append(name)
            else:
                found[name] = [Figure(**each) for each in json.loads(path.read_text())]
                if not options.dry:
                    tables.keep(name, found[name], _machine())
    print("\n\nTargets\n")
    promised = [figure for figures in found.values() for figure in figures if figure.target is not None]
    print(*promised, sep="\n")
    missed = [figure for figure in promised if figure.verdict == "MISSED"]
    close = sum(figure.verdict == "close" for figure in promised)
    print(f"\n{len(promised)} targets: {len(missed)} are missed, {close} by less than 20 %")
    if broken:
        print(f"not measured to the end: {', '.join(broken)}")
    if not options.dry:
        tables.write()
    return 1 if missed or broken else 0


def _section(name: str, path: Path) -> int:
    """Run one section here, say each figure when it is there, and write them."""
    figures = []
    for figure in importlib.import_module(f"benchmarks.{name}").main():
        print(figure, flush=True)
        figures.append(asdict(figure))
    path.write_text(json.dumps(figures, default=float))  # numbers of numpy too
    return 0


def _machine() -> dict[str, str]:
    """What the figures are of."""
    version = platform.python_version()
    load = f"{os.getloadavg()[2]:.1f}"
    return {"date": date.today().isoformat(), "python": version, "cores": str(os.cpu_count()), "load": load}


if __name__ == "__main__":
    raise SystemExit(main())
