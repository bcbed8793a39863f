"""Contracts of import-linter that count a string with the name of a module as an import of it.

``import_module("package.module")`` and the tables of names that are imported when they are first used are imports
that import-linter does not see. These contracts stand in for its own of the same types, see pyproject.toml.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from grimp import ImportGraph
from importlinter import Contract
from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.contracts.layers import LayersContract
from importlinter.domain.contract import ContractCheck


class _StringsCount(Contract):
    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Check the imports with those by strings among them."""
        for importer in sorted(graph.modules):
            for string in _strings(importer):
                imported, _, _ = string.value.partition(":")  # as entry points are written: module:name
                if imported in graph.modules and imported != importer:
                    graph.add_import(
                        importer=importer,
                        imported=imported,
                        line_number=string.line,
                        line_contents=f'"{string.value}"',
                    )
        return super().check(graph, verbose)  # pyright: ignore[reportAbstractUsage]


class Layers(_StringsCount, LayersContract):
    """Layers between which strings count as imports."""


class Forbidden(_StringsCount, ForbiddenContract):
    """Forbidden imports, of which strings are some."""


class _String(NamedTuple):
    value: str
    line: int


@cache
def _strings(module: str) -> list[_String]:
    """The strings of a module that could be names of modules: the name of a package alone is also said otherwise."""
    path = _file(module)
    return list(_found(ast.parse(path.read_text(), str(path)))) if path is not None else []


def _found(tree: ast.AST) -> Iterator[_String]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"\w+\.[\w.:]+", node.value):
            yield _String(node.value, node.lineno)


def _file(module: str) -> Path | None:
    """The file of a module, which is not imported for it; None of a folder without one."""
    root, *below = module.split(".")
    spec = find_spec(root)
    for folder in (spec and spec.submodule_search_locations) or ():
        place = Path(folder, *below)
        for path in (place / "__init__.py", place.with_suffix(".py")):
            if path.is_file():
                return path
    return None
