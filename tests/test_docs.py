"""The documentation: its commands parse, and its tables are those of the file. Its code runs as doctests."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import tables
from benchmarks.runner import Figure, at_least, at_most, is_so
from bluesky_ext.cli.main import parser

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *(page for page in sorted((ROOT / "docs").rglob("*.md")) if "generated" not in page.parts)]


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """The code of a page: fences with their language, and what is indented."""
    text = page.read_text()
    yield from re.findall(r"^```([\w{}]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for indented in re.findall(r"(?:(?<=\n\n)|\A)((?:    .*\n)(?:(?:    .*)?\n)*)", outside):
        yield "", re.sub(r"^    ", "", indented, flags=re.MULTILINE)


def commands(code: str) -> Iterator[list[str]]:
    """The words of each command of ours, also behind another one; those that go on in the next line are one."""
    for line in code.replace("\\\n", " ").splitlines():
        found = re.match(r"(?:\w+=\S*|podman run .*|ExecStart=\S*/bin/)?\s*(?<![\w-])bluesky-ext (.*)", line)
        if found and not re.match(r"[\w -]+: ", found[1]):  # which is what the command says
            yield shlex.split(found[1].partition(" #")[0])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_is_typed_can_be_typed(page):
    for language, code in blocks(page):
        if language == "toml":
            tomllib.loads(code)
        elif language == "python" and ">>>" not in code:
            compile(code, page.name, "exec")
        for words in commands(code):
            try:
                parser().parse_args(["..." if word == "PIPELINE" else word for word in words])
            except SystemExit as end:
                assert end.code == 0, words  # noqa: PT017 - argparse ends the program


def test_commands_are_found_in_all_forms():
    said = [
        "bluesky-ext proxy  # a word",
        "LOG=1 bluesky-ext masks \\",
        "  list",
        "bluesky-ext serve masks: stopped: 2 came",
    ]
    said += [
        "podman build -t bluesky-ext .",
        "podman run -v a bluesky-ext demo",
        "ExecStart=/opt/bin/bluesky-ext record",
    ]
    assert list(commands("\n".join(said))) == [["proxy"], ["masks", "list"], ["demo"], ["record"]]


def test_tables_are_those_of_the_benchmarks():
    filled = {page: tables.filled(page.read_text()) for page in PAGES}
    assert [page for page, text in filled.items() if text != page.read_text()] == []
    performance = (ROOT / "docs" / "explanations" / "performance.md").read_text()
    assert performance.count("| target |") >= 10


def test_a_figure_is_held_to_its_target():
    verdicts = [
        (at_least("as fast", 10.0, "x", 10.0), "holds"),
        (at_least("as fast", 8.0, "x", 10.0), "close"),
        (at_least("as fast", 7.9, "x", 10.0), "MISSED"),
        (at_most("memory", 100.0, "MB", 100.0), "holds"),
        (at_most("memory", 125.0, "MB", 100.0), "close"),
        (at_most("memory", 126.0, "MB", 100.0), "MISSED"),
        (at_most("torn", 0.0, "reads", 0.0), "holds"),
        (at_most("torn", 1.0, "reads", 0.0), "MISSED"),
        (is_so("identical", True), "holds"),
        (is_so("identical", False), "MISSED"),
        (Figure("a time", 1.0, "ms"), ""),
    ]
    assert [figure.verdict for figure, _ in verdicts] == [expected for _, expected in verdicts]
    assert tables.markdown([at_least("as fast", 8.0, "x", 10.0, ours=0.001, theirs=0.008)]) == (
        "| what | ours | theirs | measured | target |\n| --- | --- | --- | --- | --- |\n"
        "| as fast | 1 ms | 8 ms | 8 x | 10 x (close) |"
    )
