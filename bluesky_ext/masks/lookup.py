"""Masks of a catalogue by uid, and by detector, name and version; and what to say when there is none."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from bluesky_ext.masks.claims import idents_in, registries_below
from bluesky_ext.masks.entries import ANY, DRAFT, IDENT, MASK, SPEC, Entry, find, uid_of
from bluesky_ext.masks.errors import MaskNotFound

log = logging.getLogger(__name__)

Triple = tuple[str, str, Any]


def listed(root: Any) -> list[Triple]:
    """``(detector, name, version)`` of every mask below a container, in that order."""
    from tiled.queries import KeyPresent  # pyright: ignore[reportMissingImports]

    masks, others = idents_in(root)
    if others:
        for registry in registries_below(root):
            masks |= idents_in(registry)[0]
        theirs = find(root, KeyPresent(IDENT, exists=False))
        masks.update((entry.detector, entry.name, entry.version) for entry in theirs if entry.name)
    try:
        return sorted(masks)
    except TypeError:  # a version that is none, of other programs
        return sorted(masks, key=_sort_key)


def by_name(root: Any, detector: str, name: str, version: int | str | None = None) -> Iterable[Entry]:
    """The masks of this detector and name, of all versions unless one is given."""
    equal: dict[str, Any] = {"name": name} if version is None else {"name": name, "version": version}
    if detector != ANY:  # which those have that name none
        equal["detector"] = detector
    return (entry for entry in find(root, **equal) if entry.detector == detector)


def latest(root: Any, detector: str, name: str, version: int | str | None = None) -> Entry:
    """The mask of this detector and name, of the highest version unless one is given.

    Raises
    ------
    MaskNotFound
        If there is none.
    """
    entries = list(by_name(root, detector, name, version))
    if not entries:
        raise not_found(root, detector, name, version)
    best = max(_sort_key((detector, name, entry.version)) for entry in entries)
    entries = [entry for entry in entries if _sort_key((detector, name, entry.version)) == best]
    if len(entries) > 1:  # other programs may write one twice; ours goes first
        entries.sort(key=lambda entry: (IDENT not in entry.metadata, entry.uid))
        uids = ", ".join(entry.uid for entry in entries[1:])
        log.warning("mask %s is there more than once; left out: %s", entries[0], uids)
    return entries[0]


def by_uid(root: Any, uid: str) -> Entry:
    """The mask of this uid, at any depth below a container.

    One request finds a child of the container, a second one what lies deeper. A path that ends with a UUID stands for
    that: uids were paths once, from whatever container was open.

    Raises
    ------
    MaskNotFound
        If there is none.
    """
    from tiled.queries import KeysFilter  # pyright: ignore[reportMissingImports]

    node, found = None, []
    if _is_path(uid):
        path = uid.split("/")
        try:
            node = root[uid]
        except KeyError:
            node = None
        if node is not None and node.metadata.get(SPEC) == MASK and hasattr(node, "shape"):
            found = [Entry(node.metadata, node)]
        if not found or found[0].uid != uid_of(path):
            found = list(find(root, KeysFilter(path[-1:])))
        for entry in found:
            if entry.uid == uid_of(path):
                return entry
    if found:
        why = f"those with this key have the uids {', '.join(repr(entry.uid) for entry in found)}"
    elif node is None:
        why = f"it was deleted, or is not below {root.uri}: open the registry where it was registered"
    else:
        why = "it is not complete" if node.metadata.get(SPEC) == DRAFT else "what has this uid is none"
    raise MaskNotFound(f"there is no mask with uid {uid!r}: {why}")


def _is_path(uid: str) -> bool:
    """Whether this can be keys of Tiled, joined by slashes."""
    return bool(uid) and not re.search(r"[?#%\x00-\x1f]|^/|//|/$|(^|/)\.\.?(/|$)", uid)


def _sort_key(triple: Triple) -> tuple[str, str, float, str]:
    """The order of masks: by detector, name and version, what has no number for one first."""
    detector, name, version = triple
    is_number = isinstance(version, int | float) and not isinstance(version, bool)
    return detector, name, float(version) if is_number else -1.0, str(version)


def versions(root: Any, detector: str, name: str) -> str:
    """Which versions there are, in words."""
    there = sorted((entry.version for entry in by_name(root, detector, name)), key=str)
    return f"there {'is version' if len(there) == 1 else 'are versions'} {', '.join(map(str, there))}"


def not_found(root: Any, detector: str, name: str, version: int | str | None) -> MaskNotFound:
    """The error that says which masks there are instead."""
    masks = listed(root)
    of_name = [str(v) for d, n, v in masks if (d, n) == (detector, name)]
    names = sorted({n for d, n, _ in masks if d == detector})
    what = f"no mask {name!r} of detector {detector!r}"
    if of_name:
        return MaskNotFound(f"{what} has version {version}: there are {', '.join(of_name)}")
    if names:
        near = get_close_matches(name, names, n=5, cutoff=0.4) or names[:5]
        return MaskNotFound(f"there is {what}: there are {', '.join(map(repr, near))} of {len(names)}")
    detectors = sorted({d for d, _, _ in masks})
    near = get_close_matches(detector, detectors, n=5, cutoff=0.4) or detectors[:5]
    there = f"only of {', '.join(map(repr, near))}" if near else "the registry is empty"
    return MaskNotFound(f"there is {what}, nor any other of it: {there}")
