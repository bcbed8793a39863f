"""What commands are told about a pipeline: its settings, where it computes, and where the runs that it makes go."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bluesky_ext.cli.usage import UsageError
from bluesky_ext.server.config import ConfigError
from bluesky_ext.server.executors import check_executor, executor_of
from bluesky_ext.server.pipeline import Callback, Pipeline, Site
from bluesky_ext.server.registry import UnknownPipeline, configured


def executor(text: str) -> str:
    """The name of an executor."""
    try:
        return check_executor(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_to(parser: argparse.ArgumentParser, catalog: str) -> None:
    """Add the options of a pipeline to those of a command, to which a catalogue means what is said here."""
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="the settings of the pipeline")
    parser.add_argument(
        "--executor",
        type=executor,
        metavar="WHERE",
        help="where events are worked on: threads:2, processes:2 or dask:tcp://host:8786; one after another by default",
    )
    parser.add_argument(
        "--catalog",
        metavar="CATALOG",
        help=f"""{catalog}: the directory of a catalogue (with a slash: ./runs), the address of a Tiled server (with its
            key in TILED_API_KEY), or a profile of Tiled""",
    )
    parser.add_argument(
        "--record", type=Path, metavar="DIRECTORY", help="where the runs that the pipeline makes are recorded"
    )


def pipeline_of(name: str, config: Path | None) -> Pipeline:
    """The pipeline with its settings; what is wrong with them is an error of usage."""
    try:
        return configured(name, config)
    except ConfigError as error:
        hint = "" if config else f" (see bluesky-ext serve {name} --write-config FILE, and give it as --config)"
        raise UsageError(f"{name}: {error}{hint}") from error
    except (UnknownPipeline, TypeError) as error:
        raise UsageError(str(error)) from error


@contextmanager
def built(pipeline: Pipeline, options: argparse.Namespace, catalog: Any = None) -> Iterator[tuple[Callback, Site]]:
    """The callback of a pipeline, and where it works; what it made by the end is safely stored.

    Who uses the callback closes it, if it has a ``close``.

    Parameters
    ----------
    pipeline : Pipeline
        With its settings.
    options : argparse.Namespace
        Those of `add_to`.
    catalog : client, optional
        The catalogue, if it is open already.
    """
    if options.executor and not pipeline.distributes:
        raise UsageError(f"{options.pipeline} works on no executor: leave --executor out")
    with ExitStack() as stack:
        sinks: list[Any] = []
        if catalog is None and options.catalog:
            catalog = stack.enter_context(opened(options.catalog))
        if catalog is not None:
            from bluesky_ext.storage import save

            sinks.append(stack.enter_context(save(catalog)))
        if options.record is not None:
            from bluesky_ext import Recorder

            sinks.append(stack.enter_context(Recorder(options.record, on_error="raise")))
        site = Site(stack.enter_context(executor_of(options.executor)), catalog, tuple(sinks))
        try:
            callback = pipeline.build(site)
        except (TypeError, ValueError) as error:  # of what a stage checks when it is made
            raise UsageError(f"{options.config or options.pipeline}: {error}") from error
        yield callback, site


@contextmanager
def opened(where: str) -> Iterator[Any]:
    """A catalogue, while it is needed."""
    from bluesky_ext.storage import close_catalog, open_catalog

    catalog = open_catalog(where)
    try:
        yield catalog
    finally:
        close_catalog(catalog)


def destinations(site: Site, options: argparse.Namespace) -> str:
    """Where the runs go that the pipeline makes, in words."""
    if not site.stages:
        return f"{options.pipeline} makes no runs" if site.sinks else ""
    saved = [f"saved in {options.catalog}"] if options.catalog else []
    recorded = [f"recorded in {options.record}"] if options.record is not None else []
    where = " and ".join(saved + recorded) or "not kept (see --catalog and --record)"
    return f"the runs that {options.pipeline} makes are {where}"
