"""The settings of a pipeline in a file of TOML: read and checked, and a file to start from."""

from __future__ import annotations

import json
import re
import textwrap
import tomllib
from collections.abc import Iterator, Mapping, Sequence
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
        raise ConfigError("; ".join(_mistakes(pipeline, settings, error, path))) from error


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


def _mistakes(
    pipeline: type[Pipeline], settings: Mapping[str, Any], error: ValidationError, path: Path | None
) -> Iterator[str]:
    """What pydantic found, each mistake in one line: file and line, key, what was given, what to do."""
    found: dict[tuple[str | int, ...], list[Any]] = {}
    for one in error.errors():
        found.setdefault(_keys(settings, one["loc"]), []).append(one)
    for keys, errors in found.items():
        where = f"{path}{_line_of(path, keys)}: " if path is not None else ""
        yield where + _said(pipeline, ".".join(map(str, keys)), errors)


def _keys(settings: Mapping[str, Any], loc: Sequence[str | int]) -> tuple[str | int, ...]:
    """Where a mistake is in the settings; pydantic adds which of several types it tried."""
    keys: list[str | int] = []
    value: Any = settings
    for part in loc:
        try:
            value = value[part]
        except (LookupError, TypeError):
            break
        keys.append(part)
    return tuple(keys) or tuple(loc)  # what is missing is not there


def _said(pipeline: type[Pipeline], name: str, errors: Sequence[Any]) -> str:
    error = errors[0]
    field = pipeline.model_fields.get(name)
    if error["type"] == "missing":
        description = " ".join((field.description or "").split()) if field is not None else ""
        return f"{name} is missing{': ' + description.rstrip('.') if description else ''}"
    if error["type"] == "extra_forbidden":
        table, dot, _ = name.rpartition(".")
        known = (
            getattr(pipeline.model_fields[table].annotation, "__annotations__", {}) if dot else pipeline.model_fields
        )
        return f"{name} is no setting{': there are ' + ', '.join(known) if known else ''}"
    messages = [str(one.get("ctx", {}).get("error", one["msg"])) for one in errors]
    message = " or ".join(dict.fromkeys(message[:1].lower() + message[1:] for message in messages))
    return f"{name} = {_toml_or_repr(error['input'])}: {message}"


def _toml_or_repr(value: Any) -> str:
    try:
        return _toml(value)
    except TypeError:
        return repr(value)


def _line_of(path: Path, keys: Sequence[str | int]) -> str:
    """``, line N`` of the line that sets a key, or of what it is in."""
    names = [str(key) for key in keys]
    table: list[str] = []
    best, found = 0, ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if header := _HEADER.match(line):
            here = table = _parts(header[1])
        elif key := _KEY.match(line):
            here = [*table, *_parts(key[1])]
        else:
            continue
        if best < len(here) <= len(names) and here == names[: len(here)]:
            best, found = len(here), f", line {number}"
    return found


def _key_near(text: str, message: str) -> str:
    """The key in whose value a parser stumbled."""
    lines = text.splitlines()
    said = re.search(r"line (\d+)", message)
    for number in range(min(int(said[1]), len(lines)) if said else len(lines), 0, -1):
        if key := _HEADER.match(lines[number - 1]) or _KEY.match(lines[number - 1]) or _WORD.match(lines[number - 1]):
            return f", at {key[1]!r}" + ("" if said else f" in line {number}")
    return ""


_HEADER = re.compile(r"\s*\[+\s*([\w.\"'-]+)\s*\]+\s*(?:#.*)?$")
_KEY = re.compile(r"\s*([\w.\"'-]+)\s*=")
_WORD = re.compile(r"\s*\[?\s*([A-Za-z_][\w.-]*)")


def _parts(key: str) -> list[str]:
    return [part.strip(" \"'") for part in key.split(".")]
