"""The settings of a pipeline in a file of TOML: read and checked, and a file to start from."""

from __future__ import annotations

import json
import textwrap
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bluesky_ext.server.pipeline import Pipeline

WIDTH = 100


class ConfigError(ValueError):
    """Settings that can't be used, with the file and the key."""


def read_config(path: Path) -> dict[str, Any]:
    """Return what a TOML file says."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:  # which says line and column
        raise ConfigError(f"{path} is no TOML: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} can't be read: {error}") from error


def validated(pipeline: type[Pipeline], settings: Mapping[str, Any], path: Path | None = None) -> Pipeline:
    """Return the pipeline with these settings; a `ConfigError` names what is wrong with them."""
    try:
        return pipeline.model_validate(dict(settings))
    except ValidationError as error:
        where = f"{path}: " if path is not None else ""
        raise ConfigError(where + "; ".join(_mistakes(pipeline, settings, error))) from error


def template(pipeline: type[Pipeline]) -> str:
    """Return a TOML file with every setting, what it means, and its default; the ones that must be given are set."""
    values: list[str] = []
    tables: list[str] = []  # come last in TOML: what stands behind one belongs to it
    for name, field in pipeline.model_fields.items():
        default = field.get_default(call_default_factory=True)  # pyright: ignore[reportCallIssue]
        example = field.examples[0] if field.examples else ""
        if field.is_required():
            values.append(_comment(field.description) + f"{name} = {_toml(example)}")
        elif isinstance(default, Mapping):
            lines = [f"\n# {key} = {_toml(value)}" for key, value in (example or default).items()]
            tables.append(_comment(field.description) + f"# [{name}]" + "".join(lines))
        else:
            values.append(_comment(field.description) + f"# {name} = {_toml(example if default is None else default)}")
    return _comment(pipeline.__doc__) + "\n" + "\n\n".join(values + tables) + "\n"


def _comment(text: str | None) -> str:
    return "".join(f"# {line}\n" for line in textwrap.wrap(" ".join((text or "").split()), WIDTH))


def _toml(value: Any) -> str:
    """A value as TOML writes it, which is as JSON does for what settings are made of."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    # But for nan and inf; and paths, dates and what a factory has as a default are text.
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False, default=str)


def _mistakes(pipeline: type[Pipeline], settings: Mapping[str, Any], error: ValidationError) -> list[str]:
    """What pydantic found, each mistake in one line: the key, what was given, what to do."""
    said: list[str] = []
    wrong: dict[str, list[str]] = {}  # what is said of a value; pydantic does for each type that it tried
    for one in error.errors():
        key, *rest = map(str, one["loc"] or ("settings",))  # those of a model as a whole are nowhere
        name = ".".join([key, *rest])
        if one["type"] == "missing":
            meaning = " ".join((pipeline.model_fields[key].description or "").split()).rstrip(".")
            said.append(f"{name} is missing: {meaning}".removesuffix(": "))
        elif one["type"] == "extra_forbidden":
            said.append(f"{name} is no setting: there are {', '.join(pipeline.model_fields)}")
        else:
            message = str(one.get("ctx", {}).get("error", one["msg"]))
            wrong.setdefault(key, []).append(message[:1].lower() + message[1:])
    for key, messages in wrong.items():
        given = f" = {_toml(settings[key])}" if key in settings else ""
        said.append(f"{key}{given}: {' or '.join(dict.fromkeys(messages))}")
    return said
