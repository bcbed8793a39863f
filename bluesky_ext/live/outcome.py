"""What comes of a run, for plans that decide by it where to go on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from bluesky_ext.live.hooks import hook


class Outcome(NamedTuple):
    """What comes of a run, or of one of its events."""

    #: What the reducer calls its outcome: a number, or numbers by name.
    value: Any
    #: Its uncertainty, alike; None if it has none.
    uncertainty: Any
    #: Whether nothing is missing: no event was lost or failed, and, of a whole run, it ended with success.
    complete: bool
    #: The uid of the raw run.
    run: str


def asked(reducer: Any, parameters: Mapping[str, Any], number: int | None) -> tuple[Any, Any]:
    """What a reducer calls its outcome, and its uncertainty.

    It has a method ``outcome``, which is told the parameters and the number of the event (None for the run), and
    returns the outcome, or that and its uncertainty as a tuple; or "outcome" is in what it publishes, and the
    uncertainty beside it as "outcome_errors".
    """
    call = hook(reducer, "outcome", "event_number", "parameters")
    if call is not None:
        said = call(number, parameters)
        return said if isinstance(said, tuple) and len(said) == 2 else (said, None)
    published = getattr(reducer, "publish", {})
    if "outcome" not in published:
        name = type(reducer).__name__
        raise LookupError(f"{name} has no outcome: give it a method outcome(), or publish['outcome']")
    return published["outcome"], published.get("outcome_errors")
