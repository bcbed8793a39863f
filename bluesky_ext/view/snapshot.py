"""Snapshots: a tree as it was at one moment, whose groups and datasets have ids of their own."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from bluesky_ext.engine.documents.complaints import Complaints
from bluesky_ext.live.processed.values import split_attributes
from bluesky_ext.view.values import as_hdf5, text_of

#: No tree of somebody's is deeper, unless it has itself in it.
DEEPEST = 32

_complaints = Complaints(logging.getLogger(__name__))


class Origin(NamedTuple):
    """The snapshot of a group or a dataset. These don't refer to it itself, so that it goes as soon as it is let go."""

    generation: int
    time: float

    @property
    def root(self) -> str:
        """The id of the root group."""
        return self.id_of(Group.collection, "/")

    def id_of(self, collection: str, path: str) -> str:
        """The id of what is at a path, as the second version of HDF5's REST API has them; h5pyd checks it."""
        digits = f"{self.generation:08x}{hashlib.sha256(path.encode()).hexdigest()[:24]}"
        return f"{collection[0]}-{digits[:8]}-{digits[8:16]}-{digits[16:20]}-{digits[20:26]}-{digits[26:]}"


class Node:
    """A group or a dataset of a snapshot."""

    collection = ""

    def __init__(self, origin: Origin, path: str, attributes: Mapping[str, Any]) -> None:
        self.origin = origin
        self.path = path
        self.id = origin.id_of(self.collection, path)
        self.attributes = {text_of(str(name)): as_hdf5(value) for name, value in attributes.items()}


class Group(Node):
    """A group: a dict of the tree."""

    collection = "groups"

    def __init__(self, origin: Origin, path: str, attributes: Mapping[str, Any]) -> None:
        super().__init__(origin, path, attributes)
        self.children: dict[str, Node] = {}


class Dataset(Node):
    """A dataset: an array, a scalar or a text of the tree, or a function that is called when it is first read."""

    collection = "datasets"

    def __init__(self, origin: Origin, path: str, attributes: Mapping[str, Any], value: Any) -> None:
        super().__init__(origin, path, attributes)
        self._lock = threading.Lock()
        self._function: Callable[[], Any] | None = value if callable(value) else None
        self._array = None if callable(value) else as_hdf5(value)

    @property
    def is_known(self) -> bool:
        """Whether its array is there."""
        return self._function is None

    @property
    def array(self) -> np.ndarray | None:
        """What it holds; None if it is empty."""
        with self._lock:
            if self._function is not None:
                self._array, self._function = as_hdf5(_called(self._function, self.path)), None
            return self._array


class Snapshot:
    """A tree that a reduce published, as groups and datasets; attributes are where `Published` has them.

    Parameters
    ----------
    tree : dict
        Its arrays are not copied.
    generation : int
        The beginning of the ids of all that is in it; another one for each snapshot.
    """

    def __init__(self, tree: Mapping[str, Any], generation: int) -> None:
        self.generation = generation
        self.origin = Origin(generation, time.time())
        self.paths: dict[str, Node] = {}
        self.root = self._group(tree, "/", {}, 0)
        self.nodes = {node.id: node for node in self.paths.values()}

    def at(self, path: str) -> Node | None:
        """What is at a path, as ``map/massfractions/W L``; None if there is nothing."""
        return self.paths.get(f"/{path.strip('/')}")

    @property
    def default(self) -> Dataset | None:
        """The dataset to plot: where the attributes ``default`` and ``signal`` lead, or else the first image."""
        node: Node = self.root
        while isinstance(node, Group):
            said = node.attributes.get("default", node.attributes.get("signal"))
            child = None if said is None else node.children.get(link_of(said))
            if child is None:
                break
            node = child
        if isinstance(node, Dataset):
            return node
        known = [one for one in self.nodes.values() if isinstance(one, Dataset) and one.is_known]
        return next((one for one in known if one.array is not None and one.array.ndim > 1), None)

    @property
    def arrays(self) -> Iterator[np.ndarray]:
        """The arrays that it holds so far."""
        for node in self.nodes.values():
            if isinstance(node, Dataset) and node.is_known and node.array is not None:
                yield node.array

    def _group(self, tree: Mapping[str, Any], path: str, attributes: Mapping[str, Any], depth: int) -> Group:
        own, values, of_values = split_attributes(tree)
        self.paths[path] = group = Group(self.origin, path, {**attributes, **own})
        for name, value in values.items():
            told = of_values.get(name, {})
            link = link_of(name)
            while not link or link in group.children:
                link += "_"
            inside = f"{path.rstrip('/')}/{link}"
            if isinstance(value, Mapping) and depth < DEEPEST:
                group.children[link] = self._group(value, inside, told, depth + 1)
            else:
                value = f"deeper than {DEEPEST} groups" if isinstance(value, Mapping) else value
                group.children[link] = self.paths[inside] = Dataset(self.origin, inside, told, value)
        return group


def link_of(name: object) -> str:
    """A name as that of a link: a slash would part the names of a path."""
    return text_of(str(name)).replace("/", "\N{DIVISION SLASH}")


def _called(function: Callable[[], Any], path: str) -> Any:
    """What a function of somebody's tree returns; a text that says why not, if it fails."""
    try:
        return function()
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        _complaints(f"{path} {type(error).__name__}", "%s can't be computed: %s", path, said)
        return said
