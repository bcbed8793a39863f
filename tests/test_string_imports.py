"""What may import what: a string that names a module counts as an import of it."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("importlinter")

ROOT = Path(__file__).parent.parent
CONFIGURATION = """
[tool.importlinter]
root_packages = ["house"]
contract_types = ["layers: string_imports.Layers", "forbidden: string_imports.Forbidden"]

[[tool.importlinter.contracts]]
name = "floors"
type = "layers"
layers = ["house.roof", "house.cellar"]

[[tool.importlinter.contracts]]
name = "apart"
type = "forbidden"
source_modules = ["house.cellar"]
forbidden_modules = ["house.roof"]
"""


@pytest.mark.parametrize(
    ("line", "broken"),
    [
        ("import_module('house.roof.tiles')", 2),
        ("__getattr__, __dir__ = lazy(__name__, {'house.roof': ('Tile',)})", 2),
        ("POINT = 'house.roof.tiles:Tile'", 2),
        ("logger = getLogger('house.attic')", 0),
        ("'''The cellar of house.roof.'''", 0),
    ],
)
def test_a_string_that_breaks_a_floor_fails(line, broken, tmp_path):
    (tmp_path / "pyproject.toml").write_text(CONFIGURATION)
    for name in ("house", "house/roof", "house/cellar"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    (tmp_path / "house/roof/tiles.py").write_text("Tile = 'house.cellar.wine'\n")
    (tmp_path / "house/cellar/wine.py").write_text(f"{line}\n")
    program = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    ran = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(ROOT)!r}]; {program}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == (1 if broken else 0), ran.stdout + ran.stderr
    assert f"{2 - broken} kept, {broken} broken" in ran.stdout
    assert ("house.cellar.wine -> house.roof" in ran.stdout) == bool(broken)
