"""What stages show: the trees that reduces publish, and of maps the latest image that they took and what they made."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from bluesky_ext.engine import Map, Reduce, Rows, Stage, as_image
from bluesky_ext.engine.documents.complaints import Complaints
from bluesky_ext.view.snapshot import link_of


class Shown:
    """The tree of some stages: that of a single one as it is, those of several as groups with the names of the stages.

    Parameters
    ----------
    stages : sequence of Stage
        In the order in which they are shown; the first `Reduce` has what is plotted unless something is chosen.
    """

    def __init__(self, stages: tuple[Stage, ...]) -> None:
        self.names = _names(stages)
        self._stages = stages
        self._views = [_ReduceView(one) if isinstance(one, Reduce) else _MapView(one) for one in stages]

    def is_running(self) -> bool:
        """Whether a run is open."""
        return any(stage.open_runs for stage in self._stages)

    def __call__(self) -> tuple[tuple[Any, ...], Callable[[], Mapping[str, Any]]]:
        """What identifies the present state, and a function that makes its tree."""
        states = tuple(view.state() for view in self._views)
        return states, partial(self._tree, states)

    def _tree(self, states: tuple[Any, ...]) -> Mapping[str, Any]:
        trees = [view.tree(state) for view, state in zip(self._views, states, strict=True)]
        reduces = [name for name, view in zip(self.names, self._views, strict=True) if isinstance(view, _ReduceView)]
        return joined(self.names, dict(zip(self.names, trees, strict=True)), reduces)


def joined(
    names: Sequence[str], trees: Mapping[str, Mapping[str, Any]], reduces: Sequence[str] = ()
) -> Mapping[str, Any]:
    """The tree of some stages: that of a single one as it is, those of several as groups with their names."""
    if len(names) == 1:
        return next(iter(trees.values()), {})
    default = link_of(([*reduces] or [*trees] or [""])[0])
    return {"_attrs": {"NX_class": "NXroot", "default": default}, **trees}


class _ReduceView:
    """The tree of a reduce."""

    def __init__(self, stage: Reduce) -> None:
        self._stage = stage
        self._published: Any = None
        self._complaints = Complaints(logging.getLogger(__name__))

    def state(self) -> Any:
        """What is published."""
        try:
            self._published = self._stage.publish()
        except Exception as error:  # of the code that makes the tree
            said = f"{self._stage.name} can't publish: {type(error).__name__}: {error}"
            self._complaints(type(error).__name__, "%s", said, exc_info=error)
            if self._published != said:
                self._published = said
        return self._published

    def tree(self, state: Any) -> Mapping[str, Any]:
        """The tree that was published."""
        if state is None:
            return {"_attrs": {"NX_class": "NXentry"}}
        return {"_attrs": {"NX_class": "NXentry", "error": state}} if isinstance(state, str) else state.tree


class _MapView:
    """The latest image that a map took, and the image, the arrays or the rows that it made of it."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def state(self) -> Any:
        """The latest event and its result."""
        return self._stage.latest if isinstance(self._stage, Map) else None

    def tree(self, state: Any) -> Mapping[str, Any]:
        """Both as NXdata; an image in a file is read when it is asked for."""
        if state is None:
            return {"_attrs": {"NX_class": "NXentry"}}
        event, result = state
        key = next(iter(self._stage.data_keys), "")
        groups: dict[str, Any] = {}
        if key in event["data"]:
            groups["taken"] = _image(event["data"], key)
        if isinstance(result, Rows):
            groups["rows"] = {"_attrs": {"NX_class": "NXcollection"}, **result.columns}
        elif made := _made(result, key):
            groups["made"] = made
        default = "made" if "made" in groups else "taken"
        return {"_attrs": {"NX_class": "NXentry", "default": default}, "seq_num": event["seq_num"], **groups}


def _made(result: Mapping[str, Any], key: str) -> dict[str, Any]:
    """What a map made of an event, as NXdata: its image is plotted, or else the first of its arrays of numbers."""
    names = {name: "image" if name == key and np.ndim(value) > 1 else str(name) for name, value in result.items()}
    made = {names[name]: value for name, value in result.items() if value is not None}
    arrays = [name for name, value in made.items() if isinstance(value, np.ndarray) and value.dtype.kind in "biuf"]
    plotted = "image" if "image" in made else next((name for name in arrays if made[name].ndim), "")
    about = {"NX_class": "NXdata", "signal": plotted} if plotted else {"NX_class": "NXcollection"}
    return {"_attrs": about, **made} if made else {}


def _image(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    image = data[key]
    attributes = {"NX_class": "NXdata", "signal": "image"}
    # A file that is there no more is not waited for: it was read before.
    return {"_attrs": attributes, "image": image if isinstance(image, np.ndarray) else partial(as_image, image, 0.0)}


def _names(stages: tuple[Stage, ...]) -> list[str]:
    """The names of stages, of the second of a name ``NAME 2``."""
    names: list[str] = []
    for stage in stages:
        name, copy = stage.name, 1
        while name in names:
            copy += 1
            name = f"{stage.name} {copy}"
        names.append(name)
    return names
