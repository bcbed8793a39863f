"""What is different between a run and what was made again of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bluesky_ext.engine.documents.digest import IMAGES
from bluesky_ext.engine.documents.provenance import analysis_of
from bluesky_ext.storage.adapters import Pair

# What records of the same analysis differ in.
_OWN = ("parent_run_uid", "objects", "upstream")


@dataclass(frozen=True)
class Redone:
    """What came of making a run again; true if it came out the same.

    Parameters
    ----------
    run, made : str
        The uids of the run, and of what was made of it; that one is empty if nothing came out.
    sha256, made_sha256 : str
        What their stop documents say.
    hashes : str
        By what images count in these, or that they do not.
    differences : tuple of str
        What is different, in how they were made and in what came out, a line each.
    """

    run: str
    made: str
    sha256: str
    made_sha256: str
    hashes: str
    differences: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether both came out the same."""
        return bool(self.made) and self.sha256 == self.made_sha256

    def __bool__(self) -> bool:
        return self.agrees

    def __str__(self) -> str:
        same = "the same" if self.agrees else "something else"
        images = "" if self.hashes == IMAGES else f" (images: {self.hashes})"
        return "\n  ".join([f"run {self.run} made again gives {same}{images}", *self.differences])


def compared(start: Mapping[str, Any], stop: Mapping[str, Any], made: list[Pair], first: int) -> Redone:
    """What is different between a run and what was made again of the stages from the ``first`` on."""
    uid, record = start["uid"], analysis_of(start)
    hashes = record.get("hashes", {}).get("images", "not said how")
    if len(made) != 2:
        nothing = "nothing was made: no stream of the source has what the stages work on"
        return Redone(uid, "", stop["sha256"], "", hashes, (nothing,))
    (_, made_start), (_, made_stop) = made
    made_record = analysis_of(made_start)
    old = [*record.get("upstream", ()), record][first:]
    new = [*made_record.get("upstream", ()), made_record][-len(old) :]
    differences = []
    for one, other in zip(old, new, strict=True):
        differences += [f"{one['stage']}: {said}" for said in _differences(_comparable(one), _comparable(other))]
    was, now = (
        {key: said.get(key) for key in ("num_events", "lost", "failed", "incomplete")} for said in (stop, made_stop)
    )
    differences += [f"the result: {said}" for said in _differences(was, now)]
    if missing := made_stop.get("lost", {}).keys() - stop.get("lost", {}).keys():
        lacks = f"the source lacks events of {sorted(missing)}"
        differences.append(f"the run {old[0]['parent_run_uid']} is incomplete: {lacks}")
    if not differences and stop["sha256"] != made_stop["sha256"]:
        differences = [
            "nothing differs that is in the records: the raw run is another, or parameters were set while it went"
        ]
    return Redone(uid, made_start["uid"], stop["sha256"], made_stop["sha256"], hashes, tuple(differences))


def _comparable(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says of how a run was made: masks as they were, not as they were found."""
    parameters = dict(record["parameters"])
    if "masks" in record:
        parameters = {name: said for name, said in parameters.items() if name not in ("mask", "masks")}
    if "maps" in record:
        parts = [_comparable({**one, **its}) for one, its in zip(parameters["maps"], record["maps"], strict=True)]
        parameters = {**parameters, "maps": parts}
    kept = {name: said for name, said in record.items() if name not in (*_OWN, "maps")}
    return {**kept, "parameters": parameters}


def _differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """What differs between two pieces of plain data, a line each."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from _differences(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _differences(one, other, f"{path}[{number}]")
    elif old != new:
        yield f"{path} is {new!r:.200}, was {old!r:.200}"
