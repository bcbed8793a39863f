"""Draw the pictures of the documentation anew: ``python docs/draw_pictures.py [PAGE ...]``.

The code of a page is run as its tests run it. Where an image follows a block, as ``![...](pictures/name.png)``, the
block's ``figure`` is saved there.
"""

from __future__ import annotations

import doctest
import os
import re
import sys
import tempfile
from pathlib import Path

import matplotlib as mpl

DOCS = Path(__file__).parent
_BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n!\[[^\]]*\]\((pictures/[\w-]+\.png)\))?", re.MULTILINE | re.DOTALL)


def draw(page: Path) -> list[Path]:
    """Run the code of a page, and save its pictures; their paths."""
    runner, names, drawn = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS), {}, []
    for code, picture in _BLOCK.findall(page.read_text()):
        test = doctest.DocTestParser().get_doctest(code, names, page.name, str(page), 0)
        runner.run(test, clear_globs=False)
        names = test.globs
        if picture:
            path = page.parent / picture
            path.parent.mkdir(exist_ok=True)
            names["figure"].savefig(path, dpi=90, bbox_inches="tight", metadata={"Software": None})
            drawn.append(path)
    if runner.failures:
        raise SystemExit(f"{page} does not run as it is written")
    return drawn


if __name__ == "__main__":
    mpl.use("agg")
    pages = [Path(name).resolve() for name in sys.argv[1:]] or sorted(DOCS.rglob("*.md"))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # pages write files
        for page in pages:
            if "](pictures/" in page.read_text():
                for path in draw(page):
                    sys.stdout.write(f"{path}\n")
