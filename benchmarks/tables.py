"""The figures of the benchmarks in one file, and the tables of them in the documentation.

A page has a table where it says so: everything from ``<!-- benchmarks: SECTION -->`` to ``<!-- end -->`` is written
anew by ``python -m benchmarks``, and by ``python -m benchmarks.tables`` from the file alone. Behind the section may
stand a pattern that the names of the figures match: ``<!-- benchmarks: masks: Sparsifier.* -->``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from benchmarks.runner import Figure

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs" / "explanations" / "benchmarks.json"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
_PLACE = re.compile(r"(<!-- benchmarks: ([\w, ]+?)(?:: (.*?))? -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def keep(section: str, figures: Iterable[Figure], machine: Mapping[str, str]) -> None:
    """Put the figures of a section into the file, in place of those that it has of it."""
    kept = json.loads(FILE.read_text()) if FILE.is_file() else {}
    kept[section] = {**machine, "figures": [asdict(figure) for figure in figures]}
    FILE.write_text(json.dumps(kept, indent=1) + "\n")


def write() -> None:
    """Write the tables of all pages anew."""
    for page in PAGES:
        page.write_text(filled(page.read_text()))


def filled(text: str) -> str:
    """The text of a page with its tables as the file has them."""
    kept = json.loads(FILE.read_text())

    def table(place: re.Match[str]) -> str:
        begin, sections, pattern, _, end = place.groups()
        rows = [
            figure
            for section in sections.split(", ")
            for figure in (Figure(**each) for each in kept.get(section, {"figures": ()})["figures"])
            if re.fullmatch(pattern or ".*", figure.what)
        ]
        return f"{begin}\n{markdown(rows)}\n\n{end}"

    return _PLACE.sub(table, text)


def markdown(figures: list[Figure]) -> str:
    """A table, with the columns that there is something in."""
    if not figures:
        return "*Not measured yet.*"
    columns = {
        "what": [figure.what for figure in figures],
        "ours": [figure.sides[0] for figure in figures],
        "theirs": [figure.sides[1] for figure in figures],
        "measured": [figure.said for figure in figures],
        "target": [figure.promised + (f" ({figure.verdict})" if figure.margin < 1 else "") for figure in figures],
    }
    columns = {name: cells for name, cells in columns.items() if any(cells)}
    rows = [[*columns], ["---"] * len(columns), *zip(*columns.values(), strict=True)]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)


if __name__ == "__main__":
    write()
