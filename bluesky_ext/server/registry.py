"""Pipelines by name: those of this package, of others, and of a module at hand."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from bluesky_ext.server.config import read_config, validated
from bluesky_ext.server.pipeline import Pipeline, of_factory

GROUP = "bluesky_ext.pipelines"


class UnknownPipeline(LookupError):  # noqa: N818 - what was asked for is unknown
    """A name that no pipeline has."""


def find(name: str) -> type[Pipeline]:
    """Return a pipeline by the name of an entry point of the group ``bluesky_ext.pipelines``, or ``module:factory``.

    That is a `Pipeline`, or a function that returns a callback, whose keywords are the settings; the module may lie in
    the working directory.
    """
    module, colon, attribute = name.partition(":")
    if colon:
        return _pipeline(_named(module, attribute), name)
    installed = {point.name: point for point in entry_points(group=GROUP)}
    if name not in installed:
        raise UnknownPipeline(f"no pipeline {name!r}: there are {', '.join(sorted(installed))}, or give module:factory")
    try:
        found = installed[name].load()
    except (ImportError, AttributeError) as error:
        raise UnknownPipeline(f"pipeline {name!r} ({installed[name].value}) can't be loaded: {error}") from error
    return _pipeline(found, name)


def configured(name: str, config: Path | None) -> Pipeline:
    """Return a pipeline with the settings of a TOML file, checked; every setting has its default without one."""
    return validated(find(name), {} if config is None else read_config(config), config)


def _named(module: str, attribute: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:  # a console script does not look where it is called
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as error:  # whatever a module of somebody's raises when it is imported
        what = str(error) if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: {error}"
        raise UnknownPipeline(f"no pipeline {module}:{attribute}: {what}") from error
    return found


def _pipeline(found: Any, name: str) -> type[Pipeline]:
    if isinstance(found, type) and issubclass(found, Pipeline):
        return found
    if callable(found) and (isinstance(found, type) or not hasattr(found, "subscribe")):
        return of_factory(found, name)
    raise UnknownPipeline(f"{name} is {found!r}: give a Pipeline, or a function that returns a callback")
