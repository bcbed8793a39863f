"""Where a derived run comes from: what its start document says of its parent, its stage and its inputs."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Mapping
from typing import Any

from bluesky_ext._version import __version__
from bluesky_ext.documents.digest import array_sha256, arrays_of, describe

# What a parent's start says of itself only.
_OWN = ("uid", "time", "analysis", "analysis_stage")
# BestEffortCallback looks up the objects that these name in the descriptors, and fails where they are not.
_ABOUT_OBJECTS = ("motors", "hints", "detectors")


def new_uid() -> str:
    """A random UUID (version 4) as a string, five times faster than ``str(uuid.uuid4())``."""
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def derived_start(
    parent: Mapping[str, Any], stage: str, parameters: Mapping[str, Any], *, keep_objects: bool
) -> dict[str, Any]:
    """The start document of what a stage makes of a run, with its provenance.

    Parameters
    ----------
    parent : dict
        The start document of the run that the stage is given; that may be a derived run itself.
    stage : str
        The name of the stage; it becomes ``analysis_stage``.
    parameters : dict
        What the stage was given. Arrays are recorded by their sha256.
    keep_objects : bool
        Whether the derived descriptors carry the devices of the parent, so that its ``motors`` and ``hints`` hold.
    """
    skipped = _OWN if keep_objects else _OWN + _ABOUT_OBJECTS
    analysis: dict[str, Any] = {
        "stage": stage,
        "parameters": describe(parameters),
        "package": "bluesky_ext",
        "version": __version__,
        "sha256": {name: array_sha256(array) for name, array in arrays_of(parameters).items()},
        "parent_run_uid": parent["uid"],
    }
    if not keep_objects:
        analysis["objects"] = copy.deepcopy({key: parent[key] for key in _ABOUT_OBJECTS if key in parent})
    if "analysis" in parent:
        earlier = copy.deepcopy(parent["analysis"])
        analysis["upstream"] = [*earlier.pop("upstream", ()), earlier]
    # A copy all the way down: what a subscriber does to a derived document stays there.
    start = copy.deepcopy({key: value for key, value in parent.items() if key not in skipped})
    return start | {
        "uid": new_uid(),
        "time": time.time(),
        # The raw run, however many stages lie between: what everything derived from a scan is found by.
        "original_run_uid": parent.get("original_run_uid", parent["uid"]),
        "analysis_stage": stage,
        "analysis": analysis,
    }


def motors_of(start: Mapping[str, Any]) -> list[str] | None:
    """The motors of the scan that a run comes from, slowest first, however many stages lie between."""
    if "motors" in start:
        return list(start["motors"])
    analysis = start.get("analysis", {})
    steps = [analysis, *reversed(analysis.get("upstream", ()))]
    return next((list(step["objects"]["motors"]) for step in steps if "motors" in step.get("objects", {})), None)
