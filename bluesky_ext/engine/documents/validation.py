"""Validation of the names and the documents of runs, by event-model's own schemas."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from event_model import DocumentNames, schema_validators


def plain_name(name: str | Enum) -> str:
    """The name of a document as a plain str; `event_model.DocumentNames` is an Enum, but no str."""
    return str(name.value if isinstance(name, Enum) else name)


def validated(name: str, doc: dict[str, Any]) -> dict[str, Any]:
    """The document, which is valid by event-model's own schema; raises ``ValidationError`` when it is not."""
    schema_validators[DocumentNames[name]].validate(doc)
    return doc


def first_row(page: Mapping[str, Any]) -> dict[str, Any]:
    """An event_page with the first row of another one, which stands for all: a validator takes 50 us for each."""

    def first(value: Any) -> Any:
        return {key: first(item) for key, item in value.items()} if isinstance(value, dict) else value[:1]

    return {key: value if key == "descriptor" else first(value) for key, value in page.items()}
