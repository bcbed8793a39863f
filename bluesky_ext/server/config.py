"""The settings of a pipeline in a file of TOML: read and checked, and a file to start from."""

from __future__ import annotations

import json
import re
import textwrap
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from bluesky_ext.server.pipeline import Pipeline

WIDTH = 100


class ConfigError(ValueError):
    """Settings that can't be used, with the file, the line and the key."""


def read_config(path: Path) -> dict[str, Any]:
    """Return what a TOML file says."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} can't be read: {error}") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:  # which says line and column
        raise ConfigError(f"{path} is no TOML: {error}{_key_near(text, str(error))}") from error


def validated(pipeline: type[Pipeline], settings: Mapping[str, Any], path: Path | None = None) -> Pipeline:
    """Return the pipeline with these settings; a `ConfigError` names what is wrong with them, and where."""
    try:
        return pipeline.model_validate(dict(settings))
    except ValidationError as error:
        raise ConfigError("; ".join(_said(pipeline, one, path) for one in error.errors())) from error


def template(pipeline: type[Pipeline]) -> str:
    """Return a TOML file with every setting, what it means, and its default; the ones that must be given are set."""
    summary = textwrap.wrap(" ".join((pipeline.__doc__ or "").split()), WIDTH)
    blocks = ["\n".join(f"# {line}" for line in summary)] if summary else []
    # In TOML, tables come last: what stands behind one belongs to it.
    fields = sorted(pipeline.model_fields.items(), key=lambda item: _is_table(item[1]))
    return "\n\n".join([*blocks, *(_entry(name, field) for name, field in fields)]) + "\n"


def _entry(name: str, field: FieldInfo) -> str:
    lines = [f"# {line}" for line in textwrap.wrap(field.description or "", WIDTH)]
    if field.is_required():
        example = field.examples[0] if field.examples else ""
        return "\n".join([*lines, f"{name} = {_toml(example)}"])
    default = field.get_default(call_default_factory=True)  # pyright: ignore[reportCallIssue]
    if _is_table(field):
        shown = field.examples[0] if field.examples else default
        return "\n".join([*lines, f"# [{name}]", *(f"# {key} = {_toml(value)}" for key, value in shown.items())])
    shown = default if default is not None else (field.examples[0] if field.examples else "")
    return "\n".join([*lines, f"# {name} = {_toml_or_repr(shown)}"])


def _is_table(field: FieldInfo) -> bool:
    return not field.is_required() and isinstance(
        field.get_default(call_default_factory=True),  # pyright: ignore[reportCallIssue]
        Mapping,
    )


def _toml(value: Any) -> str:
    """A value as TOML writes it, which is as JSON does for what settings are made of."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float) and value != value:
        return "nan"
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)


def _said(pipeline: type[Pipeline], error: Any, path: Path | None) -> str:
    """One line for what pydantic found: file and line, key, what was given, what to do."""
    keys = [str(part) for part in error["loc"]]
    name = ".".join(keys)
    where = f"{path}{_line_of(path, keys)}: " if path is not None else ""
    if error["type"] == "missing":
        description = " ".join((pipeline.model_fields[keys[0]].description or "").split()) if len(keys) == 1 else ""
        return f"{where}{name} is missing{': ' + description.rstrip('.') if description else ''}"
    if error["type"] == "extra_forbidden":
        return f"{where}{name} is no setting: there are {', '.join(pipeline.model_fields)}"
    message = error["msg"][:1].lower() + error["msg"][1:]
    return f"{where}{name} = {_toml_or_repr(error['input'])}: {message}"


def _toml_or_repr(value: Any) -> str:
    try:
        return _toml(value)
    except TypeError:
        return repr(value)


def _line_of(path: Path, keys: list[str]) -> str:
    """``, line N`` of the line that sets a key, if it is there."""
    for key in reversed(keys):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if re.match(rf"\s*\[?\s*['\"]?{re.escape(key)}['\"]?\s*[=\]]", line):
                return f", line {number}"
    return ""


def _key_near(text: str, message: str) -> str:
    """The key in whose line a parser stumbled."""
    found = re.search(r"line (\d+)", message)
    if found is None:
        return ""
    lines = text.splitlines()
    line = lines[int(found[1]) - 1] if int(found[1]) <= len(lines) else ""
    key = re.match(r"\s*\[?\s*([\w.\"'-]+)", line)
    return f", at {key[1]!r}" if key else ""
