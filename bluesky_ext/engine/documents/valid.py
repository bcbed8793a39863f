"""What makes a document valid: event-model's schemas, and numbers and times that are such."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from event_model import DocumentNames, schema_validators
from jsonschema import ValidationError

#: No number of an event and no count of events is larger: so that sums of them fit into 64 bits, as stores want it.
LARGEST = 2**60


def validated(name: str, doc: dict[str, Any]) -> dict[str, Any]:
    """The document, which is valid by event-model's own schema; raises ``ValueError`` when it is not."""
    try:
        schema_validators[DocumentNames[name]].validate(doc)
    except ValidationError as error:
        where, what = error.json_path[:100], error.message[-200:]
        raise ValueError(f"what it makes of it is no valid {name}: {where} {what}") from None
    return doc


def check_seq_nums(stream: str, seq_nums: Iterable[int]) -> None:
    """Refuse numbers that no event has, and what is no whole number."""
    for seq_num in seq_nums:
        if not 1 <= operator.index(seq_num) <= LARGEST:
            said = str(seq_num) if abs(seq_num) <= LARGEST else hex(seq_num)[:20]
            raise ValueError(f"an event of stream {stream!r} has seq_num {said}: they count from 1")


def with_seq_num(stream: str, event: Mapping[str, Any]) -> Mapping[str, Any]:
    """The event with its seq_num as an int of Python's, which must be one that an event may have."""
    check_seq_nums(stream, (event["seq_num"],))
    return {**event, "seq_num": operator.index(event["seq_num"])}


def checked_time(now: Any) -> float | np.number:
    """When an event was taken, in seconds since 1970; TypeError if it does not say so."""
    if isinstance(now, bool) or not isinstance(now, int | float | np.number):
        raise TypeError(f"its time is {now!r:.60}: give a number of seconds since 1970")
    return now
