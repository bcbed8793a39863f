"""``bluesky-ext recover``: runs into a catalogue that are only in backup files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from bluesky_ext.cli.site import opened
from bluesky_ext.cli.usage import Defaults


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "recover",
        help="save runs that a failure left in backup files",
        description="""Save the runs whose backup files were left by a process that was killed, a full disk or a server
            that was gone. What a failure left of them in the catalogue is replaced. A backup file is deleted when all
            of its documents are in the catalogue; those that are being written are left alone.""",
        epilog="Exit codes: 0 there is no backup left; 1 a run could not be saved; 2 wrong usage.",
        formatter_class=Defaults,
    )
    parser.add_argument(
        "--catalog",
        metavar="CATALOG",
        required=True,
        help="""where runs go: the directory of a catalogue (with a slash: ./runs), the address of a Tiled server (with
            its key in TILED_API_KEY), or a profile of Tiled""",
    )
    parser.add_argument(
        "--backup", type=Path, metavar="DIRECTORY", help="where the backup files are: that of save() by default"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Save the runs one after another, and say what became of each."""
    from bluesky_ext.storage.backups import backups_in, recover, state_directory
    from bluesky_ext.storage.destination import Destination

    directory = options.backup or state_directory()
    paths = backups_in(directory)
    if not paths:
        print(f"no backup in {directory}")
        return 0
    failed = 0
    with opened(options.catalog) as catalog:
        destination = Destination(catalog, replace_incomplete=True)
        for n, path in enumerate(paths, start=1):
            try:
                uid, count, there = recover(path, destination)
            except Exception as error:
                # Of whatever is wrong with one file, or the catalogue: the others are tried too.
                failed += 1
                said = " ".join(str(error).split())[:300] or type(error).__name__
                print(f"bluesky-ext recover: {path} stays ({said})", file=sys.stderr)
            else:
                what = "was in the catalogue already" if there else "is saved"
                print(f"{n}/{len(paths)}: run {uid} of {count} documents {what}", flush=True)
    return 1 if failed else 0
