"""Pipelines by name: those of this package, of others, and of a module at hand."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from bluesky_ext.server.config import read_config, validated
from bluesky_ext.server.pipeline import Callback, Pipeline, Site, build_plain

GROUP = "bluesky_ext.pipelines"


class UnknownPipeline(LookupError):  # noqa: N818 - what was asked for is unknown
    """A name that no pipeline has."""


def names() -> list[str]:
    """The names of the pipelines that are installed."""
    return sorted(_installed())


def find(name: str) -> type[Pipeline] | Callable[..., Callback]:
    """Return a pipeline: a `Pipeline`, or a function that returns a callback.

    Parameters
    ----------
    name : str
        The name of an entry point of the group ``bluesky_ext.pipelines``, or ``module:factory``; the module may lie
        in the working directory.
    """
    module, colon, attribute = name.partition(":")
    if colon:
        return _named(module, attribute)
    installed = _installed()
    if name not in installed:
        raise UnknownPipeline(f"no pipeline {name!r}: there are {', '.join(sorted(installed))}, or give module:factory")
    try:
        return installed[name].load()
    except (ImportError, AttributeError) as error:
        raise UnknownPipeline(f"pipeline {name!r} ({installed[name].value}) can't be loaded: {error}") from error


def build(name: str, config: Path | None, site: Site) -> Callback:
    """Return the callback of a pipeline with the settings of a TOML file.

    Parameters
    ----------
    name : str
        See `find`.
    config : path, optional
        The file; without it, every setting has its default.
    site : Site
        Where it works.
    """
    found = find(name)
    settings = {} if config is None else read_config(config)
    if isinstance(found, type) and issubclass(found, Pipeline):
        return validated(found, settings, config).build(site)
    return build_plain(found, settings, site)


def _installed() -> Mapping[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _named(module: str, attribute: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:  # a console script does not look where it is called
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise UnknownPipeline(f"no pipeline {module}:{attribute}: {error}") from error
    if not callable(found):
        raise UnknownPipeline(
            f"{module}:{attribute} is {found!r}: give a Pipeline, or a function that returns a callback"
        )
    return found
