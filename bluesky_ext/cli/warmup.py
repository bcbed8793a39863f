"""``bluesky-ext warmup``: the kernels of the stages compiled before a scan needs them."""

from __future__ import annotations

import argparse
import logging
import time
from typing import Any

from bluesky_ext.cli.usage import Defaults, UsageError


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "warmup",
        help="compile the kernels of the stages, so that the first one that is made does not have to",
        description="""Compile the kernels that stages need, on all cores, and keep them on disk. They are compiled once
            for each version of Python, numba and bluesky-ext, and each kind of processor: by this command after an
            installation, or else when a stage is made that needs them. Run it as the user that runs the scans.""",
        epilog="The kernels are kept beside the package or, if that cannot be written, in the cache of the user. The "
        "variable NUMBA_CACHE_DIR names another folder.",
        formatter_class=Defaults,
    )
    parser.add_argument("stages", nargs="*", metavar="STAGE", help="such as PeakTracker; all stages if none is given")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Compile the kernels of some stages or of all, and say how long that took."""
    from bluesky_ext import callbacks
    from bluesky_ext._compile import compile_kernels
    from bluesky_ext._kernel import NOT_KEPT

    stages = {name: getattr(callbacks, name) for name in callbacks.__all__}
    kernels = {name: stage.kernels for name, stage in stages.items() if getattr(stage, "kernels", ())}
    logging.getLogger("bluesky_ext._compile").setLevel(logging.INFO)
    for name in options.stages or kernels:
        if name not in kernels:
            raise UsageError(f"{name!r} is no stage with kernels: give one of {', '.join(kernels)}")
    for name in options.stages or kernels:
        began = time.monotonic()
        compile_kernels(*kernels[name])
        print(f"{name}: ready after {time.monotonic() - began:.1f} s")
    return 1 if NOT_KEPT else 0
