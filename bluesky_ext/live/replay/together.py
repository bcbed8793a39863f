"""Runs of one scan read together: events with the same number are one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bluesky_ext.live.events import Event
from bluesky_ext.live.join import Join


def joined_runs(labels: Sequence[str], runs: Sequence[Iterator[Any]]) -> Iterator[Any]:
    """Yield the start, the descriptors and the events of a run, and its stop; events with the same number are one.

    Of several runs, start and stop are those of the first; a stream of a later one that is called as one before is
    called ``<label>/<name>``.
    """
    join, owners = Join(), {}
    names: list[dict[Any, str]] = [{} for _ in runs]  # of the streams of each, by the uids of their descriptors
    heads: list[Event | None] = [None] * len(runs)
    stops: dict[int, Any] = {}

    def advance(at: int) -> Iterator[Any]:
        """Have the next event of a run at hand; yield what is told before it."""
        heads[at] = None
        for item in runs[at]:
            if type(item) is Event:
                item.stream = names[at][item.descriptor]
                heads[at] = item
                return
            kind, document = item
            if kind == "descriptor":
                name = document.get("name", "primary")
                if owners.setdefault(name, at) != at:
                    name = f"{labels[at]}/{name}"
                names[at][document["uid"]] = name
                join.describe(name)
                yield "descriptor", {**document, "name": name}
            elif kind == "stop":
                stops[at] = document
            elif at == 0:
                yield kind, document

    for at in range(len(runs)):
        yield from advance(at)
    while there := [(head.event_number, at, head) for at, head in enumerate(heads) if head is not None]:
        _, at, head = min(there)
        yield from join.put(head)
        yield from advance(at)
    yield from join.finish()
    lost = {
        f"{labels[at]}/{name}": count
        for at, stop in stops.items()
        for name, count in stop.get("lost_counts", {}).items()
    }
    yield "stop", {**stops.get(0, {}), "lost_counts": lost}
