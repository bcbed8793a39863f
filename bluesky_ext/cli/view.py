"""``bluesky-ext view``: what a live server shows, in a window, in a browser or in a file."""

from __future__ import annotations

import argparse
import os
import sys
import threading
import webbrowser
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bluesky_ext.cli.usage import UsageError

#: With ``--watch`` it is read again after so many seconds.
EVERY = 1.0

_DESCRIPTION = """\
Look at a dataset of a live server while it grows: in a window of silx, if that
and Qt are installed here and there is a screen, else on the page of the server
in a browser; or draw it into a file. Windows and files work with other servers
of HDF5 over HTTP too, such as the reducer of dranspose."""
_EPILOG = """\
examples:
  bluesky-ext view http://127.0.0.1:8888/
  bluesky-ext view beamline-3:8888 "map/massfractions/W L" --watch
  bluesky-ext view beamline-3:8888 CrystalMap/maps/maps --png maps.png

exit codes: 0 it was shown; 1 there is no such server or dataset, or it can't be
drawn; 2 the command was not understood."""


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "view",
        help="look at what a live server shows",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", metavar="URL", help="the address that the server said, as http://127.0.0.1:8888/")
    parser.add_argument(
        "path",
        metavar="PATH",
        nargs="?",
        help="what to look at, as CrystalMap/maps/maps; what the server says is to be plotted unless given",
    )
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw it into this file; it takes no screen")
    parser.add_argument(
        "--watch",
        action="store_true",
        help=f"read it again every {EVERY:g} s, until the window is closed or Ctrl-C; a browser does so anyway",
    )
    parser.add_argument("--browser", action="store_true", help="open the page in a browser, also where there is silx")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Show it."""
    if options.png is not None and options.browser:
        raise UsageError("--png and --browser are two ways to look: give one")
    from bluesky_ext.view import window
    from bluesky_ext.view.remote import Remote

    try:
        remote = Remote(options.url)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if options.png is not None:
        return _draw(options, remote)
    if not options.browser and window.has_windows():
        window.show(remote, options.path, EVERY if options.watch else None, _say)
        return 0
    remote.read(options.path)  # so that an error is told here
    url = remote.url + (f"?path={quote(options.path, safe='/')}" if options.path else "")
    if not webbrowser.open(url):
        raise OSError(f"there is no browser here: open {url} in one, or give --png FILE")
    print(url)
    return 0


def _draw(options: argparse.Namespace, remote: Any) -> int:
    """Draw what is shown into a file; again and again, if it is watched."""
    before: bytes | None = None
    trouble = ""
    while True:
        try:
            name, tree = remote.read(options.path)
            picture = _png_of(name, tree)
            if picture != before:
                _write(options.png, picture)
                print(options.png, flush=True)
            before, trouble = picture, ""
        except (OSError, LookupError, ValueError) as error:
            if not options.watch or before is None:
                raise
            if str(error) != trouble:
                _say(str(error))
            trouble = str(error)  # it may come back
        if not options.watch:
            return 0
        threading.Event().wait(EVERY)


def _png_of(name: str, tree: dict[str, Any]) -> bytes:
    from bluesky_ext.view.picture import dataset_of, png_of
    from bluesky_ext.view.snapshot import Snapshot

    snapshot = Snapshot(tree, 0)
    return png_of(snapshot, dataset_of(snapshot, name))


def _write(path: Path, picture: bytes) -> None:
    """Write a file that is whole whenever somebody looks at it."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(picture)
        unfinished.replace(path)
    except OSError as error:
        raise OSError(f"{path} can't be written: {error.strerror}; give another file") from None
    finally:
        unfinished.unlink(missing_ok=True)


def _say(text: str) -> None:
    print(f"bluesky-ext view: {text}", file=sys.stderr, flush=True)
