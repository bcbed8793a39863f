"""Published trees as NeXus wants them: an entry with what was done, and the way to what is to be plotted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from bluesky_ext._version import __version__

#: The name of the group that says what was done.
PROCESS = "process"


def nexus_tree(tree: Mapping[str, Any], process: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """The tree of a file: the published one in an NXentry, if it has none itself, and in that an NXprocess.

    Parameters
    ----------
    tree : mapping
        What was published.
    process, entry : mapping
        What the NXprocess says, and what the NXentry says unless the tree does.
    """
    tree = dict(tree)
    own = next((name for name, value in tree.items() if _class_of(value) == "NXentry"), "")
    if not own:
        content = {"data": tree} if _class_of(tree) == "NXdata" else tree
        own, tree = "entry", {"entry": content}
    content = {**entry, **tree[own]}
    said = attributes_of(content)
    name = PROCESS
    while name in content:
        name += "_"
    content[name] = {**process, "_attrs": {"NX_class": "NXprocess"}}
    content["_attrs"] = {"NX_class": "NXentry", **said}
    attributes = {"creator": f"bluesky_ext {__version__}", **attributes_of(tree), "NX_class": "NXroot"}
    root = {**tree, own: content, "_attrs": attributes}
    return _with_default(root) or root


def parameters_tree(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The values of parameters by name, with units and descriptions if they are `bluesky_ext.live.Parameters`."""
    described = getattr(parameters, "described", {})
    tree: dict[str, Any] = {"_attrs": {"NX_class": "NXparameters"}}
    for name, setting in parameters.items():
        tree[name] = getattr(setting, "value", setting)
        about = described.get(name)
        if about is not None:
            said = {"units": about.unit, "description": about.description}
            tree[f"{name}_attrs"] = {key: value for key, value in said.items() if value}
    return tree


def iso_time(seconds: float) -> str:
    """A time since the epoch in ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def attributes_of(tree: Any) -> Mapping[str, Any]:
    """The attributes of a dict of a tree; none of what is no dict."""
    attributes = tree.get("_attrs") if isinstance(tree, Mapping) else None
    return attributes if isinstance(attributes, Mapping) else {}


def _class_of(tree: Any) -> Any:
    return attributes_of(tree).get("NX_class")


def _with_default(tree: Mapping[str, Any]) -> dict[str, Any] | None:
    """A tree in which each dict on the way to an NXdata names the next one; None if it has none."""
    if _class_of(tree) == "NXdata":
        return dict(tree)
    attributes = attributes_of(tree)
    default = attributes.get("default")
    for name in [default] if isinstance(default, str) and default in tree else tree:
        child = tree[name]
        found = _with_default(child) if isinstance(child, Mapping) and name != "_attrs" else None
        if found is not None:
            return {**tree, name: found, "_attrs": {**attributes, "default": name}}
    return None
