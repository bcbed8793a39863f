"""``bluesky-ext masks``: the masks of detectors, from the command line."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

#: Where the catalogue is, if it is not told: this variable of the environment, or else a directory of the user's own.
VARIABLE, KEY_VARIABLE = "BLUESKY_EXT_CATALOG", "TILED_API_KEY"


def default_catalog() -> str:
    """The catalogue that is used unless one is named."""
    of_user = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return os.environ.get(VARIABLE) or str(Path(of_user).expanduser() / "bluesky-ext" / "catalog")


_EPILOG = f"""\
The catalogue is a directory (with a slash in its name), the address of a Tiled server, or the name of a profile of
Tiled. If --catalog is not given it is ${VARIABLE}, and else $XDG_DATA_HOME/bluesky-ext/catalog
(~/.local/share/bluesky-ext/catalog), which is made when a mask is first registered. The key for a server is read from
${KEY_VARIABLE}.

examples:
  bluesky-ext masks register mask.npy --detector eiger4m --name beamstop
  bluesky-ext masks register hot.npy --pixels --detector eiger4m --name hot --version next
  bluesky-ext masks list --catalog https://tiled.site.org/api/v1/metadata/masks
  bluesky-ext masks get eiger4m beamstop --output mask.npy
  bluesky-ext masks show eiger4m beamstop --output mask.png

exit codes: 0 done; 1 failed, with one line that says why; 2 not asked for rightly
"""


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "masks",
        help="list, register, get, delete and show masks of detectors",
        description="The registry of masks in a Tiled catalogue: bool arrays by detector, name and version.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    of_all = argparse.ArgumentParser(add_help=False)
    where = f"directory, address or profile (default: ${VARIABLE}, or a directory of the user's own)"
    # Before the action or after it: the second, where it is not given, leaves alone what the first has set.
    parser.add_argument("--catalog", default=None, metavar="WHERE", help=where)
    of_all.add_argument("--catalog", default=argparse.SUPPRESS, metavar="WHERE", help=where)

    def action(name: str, run: Any, about: str) -> argparse.ArgumentParser:
        added = actions.add_parser(name, parents=[of_all], help=about, description=f"{about[0].upper()}{about[1:]}.")
        added.set_defaults(run=run)
        return added

    listing = action("list", list_masks, "list the masks, a line each: detector, name, version")
    listing.add_argument("--detector", help="only those of this detector")
    listing.add_argument("--name", help="only those of this name")
    listing.add_argument("--json", action="store_true", help="as JSON, with uid, sha256 and what else is known")

    registering = action("register", register, "register a mask, and print its uid")
    registering.add_argument("file", type=Path, help="a .npy, .tif, .edf or HDF5 file: a bool array, False is masked")
    registering.add_argument("--detector", required=True, help="the detector that it is for")
    registering.add_argument("--name", required=True, help="any text")
    registering.add_argument("--version", type=_version, default=0, help="a number from 0, or 'next' (default: 0)")
    registering.add_argument(
        "--shape", type=_shape, metavar="NYxNX", help="the shape of the detector's images, if it is not a known one"
    )
    registering.add_argument(
        "--pixels", action="store_true", help="the file is a list of masked pixels, as numbers in the flattened image"
    )
    registering.add_argument("--nonzero", action="store_true", help="the file has numbers: zero is masked")
    registering.add_argument(
        "--metadata", type=_metadata, default={}, metavar="JSON", help='more to find it by, as in \'{"sample": "Ni"}\''
    )

    getting = action("get", get, "write a mask to a file")
    _add_mask(getting)
    getting.add_argument("-o", "--output", type=Path, required=True, help="a .npy file, or a .tif one with 0 and 255")

    deleting = action("delete", delete, "delete a mask")
    _add_mask(deleting, version_required=True)

    showing = action("show", show, "draw a mask, to a PNG file or the terminal")
    _add_mask(showing)
    showing.add_argument("-o", "--output", type=Path, help="a .png file, white where pixels are used")
    showing.add_argument("--width", type=_width, default=64, help="characters a line in the terminal (default: 64)")


def _add_mask(parser: argparse.ArgumentParser, *, version_required: bool = False) -> None:
    parser.add_argument("detector")
    parser.add_argument("name")
    what = "a number" if version_required else "a number (default: the highest)"
    parser.add_argument("--version", type=_number, required=version_required, help=what)


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no version: give a whole number from 0")
    return int(text)


def _version(text: str) -> int | str:
    return text if text == "next" else _number(text)


def _shape(text: str) -> tuple[int, ...]:
    lengths = text.lower().split("x")
    if not all(length.isdecimal() and int(length) for length in lengths):
        raise argparse.ArgumentTypeError(f"{text!r} is no shape: give numbers above 0, such as 2167x2070")
    return tuple(map(int, lengths))


def _width(text: str) -> int:
    if not text.isdecimal() or not 8 <= int(text) <= 500:
        raise argparse.ArgumentTypeError(f"{text!r} is no width: give a number of characters from 8 to 500")
    return int(text)


def _metadata(text: str) -> dict[str, Any]:
    try:
        metadata = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON: {error}") from None
    if not isinstance(metadata, dict):
        raise argparse.ArgumentTypeError(f'{text!r} is no JSON object: give one, as in {{"sample": "Ni"}}')
    return metadata


def _open(options: argparse.Namespace) -> Any:
    """The registry. For those who only read, the directory must be there: a mistyped one is not made."""
    from bluesky_ext.masks import DETECTOR_SHAPES, DetectorShapes, MaskClient

    where = options.catalog or default_catalog()
    is_directory = "://" not in where and ("/" in where or where.startswith((".", "~")))
    if is_directory and options.action != "register" and not Path(where).expanduser().exists():
        raise FileNotFoundError(f"there is no catalogue at {where}: give another --catalog, or register a mask there")
    shapes = DetectorShapes(DETECTOR_SHAPES)
    if getattr(options, "shape", None):
        shapes.add(options.detector, options.shape)
    return MaskClient.open(where, detector_shapes=shapes)


def list_masks(options: argparse.Namespace) -> int:
    """Print the masks."""
    with _open(options) as masks:
        wanted = {key: value for key in ("detector", "name") if (value := getattr(options, key)) is not None}
        if options.json:
            found = [{"uid": uid, **metadata} for uid, metadata in masks.search(**wanted).items()]
            print(json.dumps(found, indent=2, ensure_ascii=False))
            return 0
        for detector, name, version in masks.list_masks():
            if wanted.get("detector", detector) == detector and wanted.get("name", name) == name:
                # Names may have any character; a tab and a line's end would make the list unreadable for scripts.
                print("\t".join(_one_line(part) for part in (detector, name, version)))
    return 0


def _one_line(part: Any) -> str:
    text = str(part)
    return text if text.isprintable() else json.dumps(text, ensure_ascii=True)


def register(options: argparse.Namespace) -> int:
    """Register the mask in a file."""
    from bluesky_ext.masks import list_to_mask, load_array_from_file

    array = load_array_from_file(options.file)
    with _open(options) as masks:
        if options.pixels:
            shape = masks.detector_shapes.get(options.detector)
            if shape is None:
                raise ValueError(f"detector {options.detector!r} is not known: give the --shape of its images")
            array = list_to_mask(array, shape)
        elif options.nonzero:
            array = array != 0
        elif array.dtype != bool:
            raise ValueError(
                f"{options.file} has an array of dtype {array.dtype}, not bool: give --nonzero if zero is masked, or "
                "--pixels if these are the masked pixels"
            )
        elif options.detector not in masks.detector_shapes:
            raise ValueError(
                f"detector {options.detector!r} is not known: give the --shape of its images, as in --shape "
                f"{'x'.join(map(str, array.shape))}"
            )
        print(masks.register_mask(options.detector, options.name, array, options.version, options.metadata))
    return 0


def get(options: argparse.Namespace) -> int:
    """Write a mask to a file."""
    import numpy as np

    if options.output.suffix.lower() not in (".npy", ".tif", ".tiff"):
        raise ValueError(f"{options.output}: masks are written to .npy, .tif and .tiff files; give such a name")
    with _open(options) as masks:
        uid, mask = masks.get_mask(options.detector, options.name, options.version)
        content = mask.compute()
    if options.output.suffix.lower() == ".npy":
        np.save(options.output, content)
    else:
        import tifffile

        tifffile.imwrite(options.output, content.astype(np.uint8) * 255)
    print(uid)
    return 0


def delete(options: argparse.Namespace) -> int:
    """Delete a mask."""
    with _open(options) as masks:
        masks.delete_mask(options.detector, options.name, options.version)
    return 0


def show(options: argparse.Namespace) -> int:
    """Draw a mask."""
    if options.output is not None and options.output.suffix.lower() != ".png":
        raise ValueError(f"{options.output}: masks are drawn to .png files; give such a name")
    with _open(options) as masks:
        entry = masks.entry(options.detector, options.name, options.version)
        content = entry.read()
    if content.ndim != 2:
        raise ValueError(f"mask {options.name!r} has shape {content.shape}: only those of two dimensions can be drawn")
    share = 100 * (content.size - int(content.sum())) / content.size
    ny, nx = content.shape
    print(f"{entry.detector} {entry.name} {entry.version}: {ny} x {nx} pixels, {share:.3g} % masked, uid {entry.uid}")
    if options.output is None:
        print(drawn(content, options.width, sys.stdout.encoding or "ascii"))
    else:
        from matplotlib.image import imsave

        imsave(options.output, content, cmap="gray", vmin=0, vmax=1)
        print(options.output)
    return 0


def drawn(mask: Any, width: int, encoding: str = "utf-8") -> str:
    """The mask in characters: blank where all pixels are used, darker the more of them are masked.

    A character stands for twice as many rows as columns, as it is twice as high as wide. Where a single pixel is masked
    the character is not blank.

    Examples
    --------
    >>> import numpy as np
    >>> mask = np.ones((4, 8), bool)
    >>> mask[:2, :2] = mask[3, 7] = False
    >>> print(drawn(mask, 10, "ascii"))
    +--------+
    |##      |
    |       %|
    +--------+
    """
    import numpy as np

    try:
        shades = "░▒▓█"
        shades.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        shades = ".+%#"
    ny, nx = mask.shape
    columns = min(width - 2, nx)
    rows = max(1, min(ny, round(ny * columns / nx / 2)))
    y, x = (np.linspace(0, length, count + 1).astype(int) for length, count in ((ny, rows), (nx, columns)))
    masked = np.add.reduceat(np.add.reduceat(~mask, y[:-1], axis=0, dtype=np.int64), x[:-1], axis=1)
    share = masked / np.outer(np.diff(y), np.diff(x))
    level = np.minimum((share * len(shades)).astype(int), len(shades) - 1)
    lines = [
        "".join(shades[level[row, column]] if masked[row, column] else " " for column in range(columns))
        for row in range(rows)
    ]
    edge = f"+{'-' * columns}+"
    return "\n".join([edge, *(f"|{line}|" for line in lines), edge])
