"""Where a derived run comes from: what its start document says of its parent, its stage and its inputs."""

from __future__ import annotations

import copy
import hashlib
import math
import os
import platform
import re
import reprlib
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from bluesky_ext._version import __version__
from bluesky_ext.engine.documents.digest import IMAGES, array_sha256, canonical

# What a parent's start says of itself only.
_OWN = ("uid", "time", "analysis", "analysis_stage")
#: The stream of a derived run whose one event holds the arrays that its stage was given. Those of the stages before it
#: are in streams of this name and their place in the chain: ``inputs_0`` are those of the first.
INPUTS = "inputs"
INPUT_STREAM = re.compile(r"inputs(_[0-9]+)?")
#: What a record says in place of the name of a digest.
NO_IMAGES = "none: images do not count in the sha256 (see hash_images)"
# BestEffortCallback looks up the objects that these name in the descriptors, and fails where they are not.
_ABOUT_OBJECTS = ("motors", "hints", "detectors")


def new_uid() -> str:
    """A random UUID (version 4) as a string, five times faster than ``str(uuid.uuid4())``."""
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def plain_copy(value: Any) -> Any:
    """A copy all the way down, of dicts and lists: what a subscriber does to a document of ours stays there."""
    if isinstance(value, Mapping):
        return {key: plain_copy(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_copy(item) for item in value]
    return copy.deepcopy(value)


def describe(value: Any) -> Any:
    """A parameter of a stage as its provenance holds it: plain data, arrays by hash, objects by where they are."""
    if isinstance(value, np.ndarray):
        return {"sha256": array_sha256(value), "shape": list(value.shape), "dtype": value.dtype.str}
    if isinstance(value, np.generic):
        return describe(value.item())
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}  # which JSON does not know
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, list | tuple | range):
        return [describe(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(map(describe, value), key=repr)
    if hasattr(value, "__qualname__"):
        return {"object": path_of(value)}
    return {"instance": path_of(type(value))}  # which nobody can make again


def path_of(thing: Any) -> str:
    """Where a class or function is, as ``module:name``; the outermost package that offers it is the module."""
    module = thing.__module__
    for end, character in enumerate(module):
        package = sys.modules.get(module[:end]) if character == "." else None
        if package is not None and getattr(package, thing.__qualname__, None) is thing:
            return f"{module[:end]}:{thing.__qualname__}"
    return f"{module}:{thing.__qualname__}"


def arrays_of(value: Any, name: str = "") -> dict[str, np.ndarray]:
    """The arrays among a stage's parameters, by a name that a data key may have.

    Examples
    --------
    >>> list(arrays_of({"data_key": "image", "subtrahend": np.eye(2), "more": [np.eye(3)]}))
    ['subtrahend', 'more_0']
    """
    if isinstance(value, np.ndarray):
        return {name: value}
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        return {}
    arrays: dict[str, np.ndarray] = {}
    for key, item in items:
        for at, array in arrays_of(item, f"{name}_{key}" if name else str(key)).items():
            while at in arrays:  # as those of {"a": [one], "a_0": another}
                at += "_"
            arrays[at] = array
    return arrays


@cache
def version_of(library: str) -> str | None:
    """The version of an installed library."""
    try:
        return version(library)
    except PackageNotFoundError:
        return None


@cache
def revision(checkout: Path = Path(__file__).parents[3]) -> str | None:
    """The commit of a checkout of git, if this is one: of this package's; "-dirty" at its end if files were changed."""
    if not (checkout / ".git").exists():
        return None
    describe = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        said = subprocess.run(describe, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):  # git is not there, or busy
        return None
    return said.stdout.strip() or None


@dataclass(frozen=True)
class Provenance:
    """A stage and its parameters as plain data, arrays by their sha256; these arrays; and what it adds to events."""

    stage: str
    path: str
    parameters: Mapping[str, Any]
    versions: Mapping[str, str]
    revision: str | None
    hashes: Mapping[str, str]
    arrays: Mapping[str, np.ndarray]
    sha256: Mapping[str, str]
    #: Whether its descriptors carry the devices of the parent, whose ``motors`` and ``hints`` hold then.
    keeps_objects: bool = True
    #: Of the keys that it adds, those that are worth a plot, those that are arrays of another length in each event,
    #: and the units of some.
    hinted: Sequence[str] = ()
    ragged: Collection[str] = ()
    units: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        stage: str,
        parameters: Mapping[str, Any],
        *,
        path: str = "",
        libraries: Iterable[str] = (),
        hash_images: bool = True,
        **added: Any,
    ) -> Provenance:
        """The provenance of a stage with these parameters: arrays are hashed once, not for every run."""
        arrays = arrays_of(parameters)
        sha256 = {name: array_sha256(array) for name, array in arrays.items()}
        versions = {"python": platform.python_version(), "machine": platform.machine()}
        # The package of a stage of one's own too, if it is called as its distribution.
        names = dict.fromkeys((*libraries, path.partition(":")[0].partition(".")[0] or "bluesky_ext"))
        versions |= {name: said for name in names if (said := version_of(name)) is not None}
        hashes = {"run": "sha256", "images": IMAGES if hash_images else NO_IMAGES}
        return cls(stage, path, describe(parameters), versions, revision(), hashes, arrays, sha256, **added)

    @cached_property
    def parameters_sha256(self) -> str:
        """The sha256 of the parameters, by which two stages that were given the same are known."""
        return hashlib.sha256(canonical(self.parameters)).hexdigest()

    def __str__(self) -> str:
        given = {name: value for name, value in self.parameters.items() if value not in (None, {}, [])}
        return f"{self.stage}({', '.join(f'{name}={reprlib.repr(value)}' for name, value in given.items())})"

    def start(self, parent: Mapping[str, Any], about: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The start document of what the stage makes of a run, which may be a derived run itself.

        What the stage says ``about`` this run goes into the record.
        """
        skipped = _OWN if self.keeps_objects else _OWN + _ABOUT_OBJECTS
        analysis: dict[str, Any] = {
            **(about or {}),
            "stage": self.stage,
            "class": self.path,
            "parameters": self.parameters,
            "package": "bluesky_ext",
            "version": __version__,
            "versions": self.versions,
            "hashes": self.hashes,
            "sha256": self.sha256,
            "parent_run_uid": parent["uid"],
        }
        if self.revision is not None:
            analysis["revision"] = self.revision
        if not self.keeps_objects:
            analysis["objects"] = {key: parent[key] for key in _ABOUT_OBJECTS if key in parent}
        if earlier := analysis_of(parent):
            earlier = dict(earlier)
            analysis["upstream"] = [*earlier.pop("upstream", ()), earlier]
        start = {key: value for key, value in parent.items() if key not in skipped} | {
            "uid": new_uid(),
            "time": time.time(),
            # The raw run, however many stages lie between: what everything derived from a scan is found by.
            "original_run_uid": parent.get("original_run_uid", parent["uid"]),
            "analysis_stage": self.stage,
            "analysis": analysis,
        }
        return plain_copy(start)


def analysis_of(start: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record of the stage that made a run; empty for a raw one, whose metadata may have that word too."""
    analysis = start.get("analysis")
    return analysis if isinstance(analysis, Mapping) and "parent_run_uid" in analysis else {}


def holds_inputs(start: Mapping[str, Any], stream: str, data_keys: Collection[str]) -> bool:
    """Whether a stream holds the arrays that a stage was given, and none of the readings of a scan."""
    record = analysis_of(start)
    if not record or INPUT_STREAM.fullmatch(stream) is None:
        return False
    number, chain = stream.removeprefix(INPUTS).removeprefix("_"), record.get("upstream", ())
    if number and int(number[:4]) < len(chain):
        record = chain[int(number[:4])]
    return set(data_keys) <= set(record.get("sha256", ()))
