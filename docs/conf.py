"""The site of the documentation: ``sphinx-build -W --keep-going docs docs/_build``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import generated_pages
from sphinx.application import Sphinx

from bluesky_ext import __version__

project = "bluesky-ext"
author = "the bluesky-ext developers"
copyright = f"2026, {author}"
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build"]

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
myst_url_schemes = ["http", "https", "mailto"]

default_role = "code"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings have the types that a user needs
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_preprocess_types = False
napoleon_use_param = False  # the sections as they are written: no names to look up
napoleon_use_rtype = False
napoleon_use_ivar = True

copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = f"bluesky-ext {release}"
html_theme_options = {"navigation_with_keys": False, "show_toc_level": 2, "secondary_sidebar_items": ["page-toc"]}
html_show_sourcelink = False


suppress_warnings = ["ref.python"]  # a type is a short name, which several packages may have


def setup(app: Sphinx) -> None:
    """Make the pages and pictures that come out of the code."""
    generated_pages.write(Path(__file__).parent / "generated")
    app.connect("autodoc-process-docstring", _escape, priority=100)  # before the sections are read


def _escape(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Escape stars, as in the shape ``(n, *image)``, which are no emphasis."""
    for number, line in enumerate(lines):
        parts = re.split("(`+.*?`+)", line)
        parts[::2] = [re.sub(r"(?<![\\*])\*(?=\w)", r"\\*", part) for part in parts[::2]]
        lines[number] = "".join(parts)
