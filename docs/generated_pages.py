"""The pages of the documentation that come out of the code: the packages, the command, the requests, a picture."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import urllib.request
from pathlib import Path
from urllib.parse import urljoin

from matplotlib.figure import Figure

from bluesky_ext import CrystalMap, LiveServer
from bluesky_ext.cli.main import parser

PACKAGES = (
    "bluesky_ext.callbacks",
    "bluesky_ext.engine",
    "bluesky_ext.live",
    "bluesky_ext.server",
    "bluesky_ext.transport",
    "bluesky_ext.storage",
    "bluesky_ext.masks",
    "bluesky_ext.view",
    "bluesky_ext.plans",
    "bluesky_ext.stxm",
    "bluesky_ext.images",
    "bluesky_ext.peaks",
    "bluesky_ext.spectra.azimuthal",
    "bluesky_ext.spectra.fluorescence",
    "bluesky_ext.positions",
    "bluesky_ext.plots",
    "bluesky_ext.sim",
    "suitcase_nxstxm",
)


def write(folder: Path) -> None:
    """Write all of them; those that have not changed are left alone, so that they are not built anew."""
    (folder / "api").mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        _write(folder / "api" / f"{package}.md", api(package))
    _write(folder / "command.md", command())
    _write(folder / "requests.md", requests())
    document_flow().savefig(folder / "document-flow.svg", bbox_inches="tight", metadata={"Date": None})


def _write(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text() != text:
        path.write_text(text)


def api(package: str) -> str:
    """What a package has for users."""
    importlib.import_module(package)
    return f"# {package}\n\n```{{eval-rst}}\n.. automodule:: {package}\n```\n"


def command() -> str:
    """The command and all of its parts, as ``--help`` says it."""
    os.environ["COLUMNS"] = "110"  # the width that argparse writes for
    parts = ["# The command\n\n`bluesky-ext COMMAND --help` says the same.\n"]

    def add(each: argparse.ArgumentParser, level: int) -> None:
        parts.append(f"{'#' * level} {each.prog}\n\n```text\n{each.format_help()}```\n")
        for action in each._actions:  # noqa: SLF001 - argparse has no other way to its commands
            if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
                for one in dict.fromkeys(action.choices.values()):
                    add(one, min(level + 1, 4))

    add(parser(), 2)
    return "\n".join(parts)


def requests() -> str:
    """The requests that a live server answers, from its own description of them (OpenAPI)."""
    with LiveServer(CrystalMap(search_range=5)) as server:
        described = json.loads(urllib.request.urlopen(urljoin(server.url, "/api/openapi.json")).read())
    parts = [
        "# Requests to a live server\n",
        "A live server says the same to people at `/api`, and to programs at `/api/openapi.json`.",
        "",
        "| request | what |\n|---|---|",
    ]
    for path, methods in described["paths"].items():
        for method, about in methods.items():
            named = ", ".join(f"`{one['name']}`" for one in about.get("parameters", []) if one["in"] == "query")
            said = " ".join(about.get("description", about.get("summary", "")).split()).replace("|", "\\|")
            parts.append(f"| `{method.upper()} {path}` | {said}{f' Takes {named}.' if named else ''} |")
    return "\n".join(parts) + "\n"


#: Where the boxes of the picture stand, a column after the other.
FLOW = {
    "sources": ("RunEngine", "RemoteDispatcher", "replay of a stored run"),
    "maps": ("ImageProcessor", "PeakTracker"),
    "reduces": ("CrystalMap", "TrackLinker", "your Reducer"),
    "sinks": ("Tiled, databroker", "a suitcase, a recording", "the live page", "the next stage"),
}
SAID = {
    "sources": "documents of the scan",
    "maps": "one event in,\nderived events out",
    "reduces": "all events of a run in,\none result out",
    "sinks": "whatever takes documents",
}


def document_flow() -> Figure:
    """How documents go from sources through maps and reduces to sinks."""
    figure = Figure(figsize=(9, 3.2))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-0.6, 3.6), ylim=(-2.6, 2.1))
    axes.axis("off")
    for column, (kind, names) in enumerate(FLOW.items()):
        axes.text(column, 1.8, kind, ha="center", weight="bold")
        axes.text(column, -2.5, SAID[kind], ha="center", va="bottom", size=8, color="0.35")
        for row, name in enumerate(names):
            height = (len(names) - 1) / 2 - row
            style = {"boxstyle": "round,pad=0.5", "facecolor": f"C{column}", "alpha": 0.25, "edgecolor": "none"}
            axes.text(column, height, name, ha="center", va="center", size=9, bbox=style)
        if column:
            arrow = {"arrowstyle": "-|>", "color": "0.3", "linewidth": 1.5}
            axes.annotate("", (column - 0.42, 0), (column - 0.58, 0), arrowprops=arrow)
    return figure
