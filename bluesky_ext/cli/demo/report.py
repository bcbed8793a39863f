"""What the demonstration says: what it does, from the first second on, and at the end what there is of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


class Report:
    """Lines on stdout: each step when it begins, what came of it, and a summary of steps and files."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._steps: list[tuple[str, float]] = []
        self._written: dict[Path, str] = {}

    def say(self, *lines: str) -> None:
        """Write lines, at once also where stdout is a file."""
        for line in lines:
            print(line, flush=True)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Say what is done now, and keep how long it takes."""
        self.say(name)
        began = time.monotonic()
        yield
        self._steps.append((name, time.monotonic() - began))

    def wrote(self, files: Mapping[Path, str]) -> None:
        """Keep what was written, and what it is: files, and directories with all that is in them."""
        self._written |= files

    def summary(self) -> None:
        """Say how long each step took, and what is where."""
        whole = time.monotonic() - self._began
        self.say("", *(f"{seconds:7.1f} s  {name}" for name, seconds in [*self._steps, ("all of it", whole)]), "")
        width = max(map(len, self._written.values()))
        self.say(*(f"{what:<{width}}  {_size(path):>8}  {path}" for path, what in self._written.items()))


def _size(path: Path) -> str:
    """The size of a file, or of all files in a directory."""
    files = path.rglob("*") if path.is_dir() else [path]
    size = sum(file.stat().st_size for file in files if file.is_file())
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
