"""The site of the documentation: ``sphinx-build -W --keep-going docs docs/_build``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import generated_pages

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
napoleon_use_param = False  # the sections Parameters and Attributes as they are written: no names to look up
napoleon_use_rtype = False
napoleon_use_ivar = False

copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = f"bluesky-ext {release}"
html_theme_options = {"navigation_with_keys": False, "show_toc_level": 2, "secondary_sidebar_items": ["page-toc"]}
html_show_sourcelink = False


def setup(app: object) -> None:
    """Make the pages and pictures that come out of the code."""
    generated_pages.write(Path(__file__).parent / "generated")
