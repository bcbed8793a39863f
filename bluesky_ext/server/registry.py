"""Pipelines by name: those of this package, of others, and of a module at hand."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import create_model

from bluesky_ext.server.config import read_config, validated
from bluesky_ext.server.pipeline import Callback, Pipeline, Site

GROUP = "bluesky_ext.pipelines"


class UnknownPipeline(LookupError):  # noqa: N818 - what was asked for is unknown
    """A name that no pipeline has."""


def find(name: str) -> type[Pipeline]:
    """Return a pipeline by the name of an entry point of the group ``bluesky_ext.pipelines``, or ``module:factory``.

    That is a `Pipeline`, or a function that returns a callback, whose keywords are the settings; the module may lie in
    the working directory.
    """
    found = load(name)
    if isinstance(found, type) and issubclass(found, Pipeline):
        return found
    if callable(found) and (isinstance(found, type) or not hasattr(found, "subscribe")):
        return _of_factory(found, name)
    raise UnknownPipeline(f"{name} is {found!r}: give a Pipeline, or a function that returns a callback")


def load(name: str) -> Any:
    """Return what is at ``module:name``, also in the working directory, or what is installed as a pipeline."""
    if ":" in name:
        here = str(Path.cwd())
        if here not in sys.path:  # a console script does not look where it is called
            sys.path.insert(0, here)
        point = EntryPoint(name, name, GROUP)
    else:
        installed = {point.name: point for point in entry_points(group=GROUP)}
        if name not in installed:
            there = ", ".join(sorted(installed))
            raise UnknownPipeline(f"no pipeline {name!r}: there are {there}, or give module:factory")
        point = installed[name]
    try:
        return point.load()
    except Exception as error:  # whatever a module of somebody's raises when it is imported
        what = str(error) if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: {error}"
        raise UnknownPipeline(f"no pipeline {point.value}: {what}") from error


def configured(name: str, config: Path | None) -> Pipeline:
    """Return a pipeline with the settings of a TOML file, checked; every setting has its default without one."""
    return validated(find(name), {} if config is None else read_config(config), config)


def _of_factory(factory: Callable[..., Any], name: str) -> type[Pipeline]:
    """The pipeline of a plain function, or of the class of a stage: its settings are their keywords.

    If one of them is ``executor``, that is the site's and no setting. What the stage that it returns makes is kept.
    """
    try:
        parameters = inspect.signature(factory).parameters
    except ValueError as error:
        raise TypeError(f"{factory!r} does not say what it takes: give a function of Python") from error
    fields: dict[str, Any] = {
        key: (Any, ... if parameter.default is parameter.empty else parameter.default)
        for key, parameter in parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) and key != "executor"
    }
    takes_more = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    extra_settings: Literal["allow", "forbid"] = "allow" if takes_more else "forbid"

    class OfFactory(Pipeline, extra=extra_settings):
        distributes: ClassVar[bool] = "executor" in parameters

        def build(self, site: Site) -> Callback:
            settings: dict[str, Any] = {key: getattr(self, key) for key in self.model_fields_set}
            if self.distributes and site.executor is not None:
                settings["executor"] = site.executor
            callback = factory(**settings)
            if not callable(callback):
                raise TypeError(f"{name} returned {callback!r}: a pipeline is a callback of (name, document)")
            if hasattr(callback, "subscribe"):
                site.keep(callback)
            return callback

    return create_model(name, __base__=OfFactory, __doc__=(factory.__doc__ or "").partition("\n\n")[0], **fields)
