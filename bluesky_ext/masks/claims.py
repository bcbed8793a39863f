"""How a mask comes into a catalogue, whole or not at all, and never twice.

Tiled writes an array in two requests, and knows no condition like "if there is none yet"; what it does know is that a
key can be made once only. So a mask is registered in four steps:

1. The array is made as a draft under a key of its own, its uid: nobody takes a draft for a mask.
2. Its content is written.
3. A *claim* is made: an empty container whose key follows from detector, name and version. One writer makes it.
4. The draft becomes a mask, by its metadata alone. All readers see it from now on, those of other programs too.

A writer that dies before 3 leaves a draft that nobody sees. One that dies before 4 leaves a claim without a mask; the
next writer waits for `PATIENCE` seconds whether it is only slow, then does the fourth step in its place. Claims stay
when their mask is deleted: to delete one and make it anew would let two writers in. The next claim of the same mask
has the next *generation*.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np

from bluesky_ext.masks.entries import DRAFT, IDENT, MASK, SPEC, search
from bluesky_ext.masks.errors import is_status

log = logging.getLogger(__name__)

#: The key of the container of claims.
CLAIMS = "mask_claims"
#: After so many seconds a writer that has claimed a mask and not shown it is taken for dead.
PATIENCE = 5.0
#: A draft that is as old as this has nobody who works on it.
ABANDONED = timedelta(hours=1)

_NAMESPACE = uuid.UUID("0f3a3e5c-5b0e-4f0c-9a41-6d61736b7321")


class Holder(NamedTuple):
    """Who has a detector, name and version."""

    uid: str
    is_mine: bool
    #: Whether it is shown, or somebody is believed to be about to show it.
    is_shown: bool


class Draft:
    """An array that is to be a mask; it is written when this is made.

    Parameters
    ----------
    root
        The container of the registry.
    content : bool array
        The mask.
    metadata : dict
        What it will be known by, but for its version.
    claims
        The container of claims.
    """

    def __init__(self, root: Any, content: np.ndarray, metadata: dict[str, Any], claims: Any) -> None:
        self._root = root
        self._claims = claims
        self._has_claimed = False
        self.uid = str(uuid.uuid4())
        self._metadata = metadata
        now = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            self._node = root.write_array(
                content, key=self.uid, metadata={**metadata, SPEC: DRAFT, IDENT: "", "registered": now}
            )
        except BaseException:
            discard(root, self.uid)
            raise

    def claim(self, version: int) -> Holder:
        """Who has this version: this draft if nobody has it. Another one is waited for until it is shown."""
        triple = self._triple(version)
        generation = 0
        while not self._takes(triple, generation):
            # The holder may have been deleted, and later ones too: the latest claim counts.
            generation, uid = _latest(self._claims, triple)
            shown = _is_shown(self._root, uid, PATIENCE)
            if shown is not None:
                return Holder(uid, is_mine=False, is_shown=shown)
            generation += 1
        return Holder(self.uid, is_mine=True, is_shown=False)

    def claim_from(self, version: int) -> int:
        """The first version from this one on that nobody ever had; it is this draft's."""
        while not self._takes(self._triple(version), 0):
            version += 1
        return version

    def _triple(self, version: int) -> tuple[str, str, int]:
        return self._metadata["detector"], self._metadata["name"], version

    def _takes(self, triple: tuple[str, str, int], generation: int) -> bool:
        try:
            self._claims.create_container(_key(triple, generation), metadata=_metadata(triple, generation, self.uid))
        except Exception as error:
            if is_status(error, 409):
                return False
            raise
        self._has_claimed = True
        return True

    def show(self, version: int) -> None:
        """Make this draft a mask, of this version."""
        show(self._node, version)

    def discard(self) -> None:
        """Delete what was written, unless another writer has shown it."""
        if not self._has_claimed or _is_shown(self._root, self.uid, 0.0) is False:
            discard(self._root, self.uid)


def claims_of(root: Any) -> Any:
    """The container of claims; it is made if it is not there."""
    try:
        return root[CLAIMS]
    except KeyError:
        pass
    try:
        return root.create_container(CLAIMS, metadata={IDENT: ""})
    except Exception as error:
        if is_status(error, 409):  # another writer was faster
            return root[CLAIMS]
        raise


def idents_in(container: Any) -> tuple[set[tuple[str, str, Any]], bool]:
    """Detector, name and version of our masks that are children of a container; and whether it has other children.

    One request tells of all of them.
    """
    values = [item["value"] for item in container.distinct(IDENT)["metadata"][IDENT]]
    masks = {tuple(triple) for triple in json.loads(f"[{','.join(filter(None, values))}]")}
    return masks, None in values or not values


def registries_below(root: Any) -> Iterator[Any]:
    """The containers at any depth below this one in which masks of ours were registered, by their claims."""
    from tiled.queries import Key, StructureFamilyQuery  # pyright: ignore[reportMissingImports]

    for path, _ in search(root, [Key(IDENT) == "", StructureFamilyQuery("container")]):
        *above, key = path
        if key == CLAIMS and above:
            yield root["/".join(above)]


def ident(detector: str, name: str, version: int) -> str:
    """Detector, name and version in one string."""
    return json.dumps([detector, name, version])


def show(node: Any, version: int) -> None:
    """Make a draft a mask, of this version; doing it again changes nothing."""
    said = node.metadata
    identity = ident(said["detector"], said["name"], version)
    node.update_metadata({SPEC: MASK, "version": version, IDENT: identity}, drop_revision=True)


def discard(root: Any, uid: str) -> None:
    """Delete a draft, if it is there; it harms nobody where that fails."""
    try:
        root.delete_contents(uid, external_only=False)
    except Exception as error:
        if not is_status(error, 404):
            log.warning("the draft %s of a mask could not be deleted: %s", uid, " ".join(str(error).split()))


def discard_abandoned(root: Any) -> None:
    """Delete the drafts whose writers must have died long ago."""
    from tiled.queries import Key  # pyright: ignore[reportMissingImports]

    drafts = root.search(Key(SPEC) == DRAFT)
    before = (datetime.now(UTC) - ABANDONED).isoformat(timespec="seconds")
    for uid in [uid for uid, node in iter(drafts.items()) if node.metadata.get("registered", before) < before]:
        log.warning("the draft %s of a mask is deleted: its writer died more than %s ago", uid, ABANDONED)
        discard(root, uid)


def _key(triple: tuple[str, str, int], generation: int) -> str:
    return str(uuid.uuid5(_NAMESPACE, json.dumps([*triple, generation])))


def _metadata(triple: tuple[str, str, int], generation: int, uid: str) -> dict[str, Any]:
    return {"claim": ident(*triple), "generation": generation, "uid": uid}


def _latest(claims: Any, triple: tuple[str, str, int]) -> tuple[int, str]:
    """Generation and uid of the latest claim, where there is one."""
    from tiled.queries import Key  # pyright: ignore[reportMissingImports]

    known = [claim.metadata for claim in iter(claims.search(Key("claim") == ident(*triple)).values())]
    latest = max(known, key=lambda claim: claim["generation"])
    return latest["generation"], latest["uid"]


def _is_shown(root: Any, uid: str, patience: float) -> bool | None:
    """Whether the holder of a claim is a mask; None if it is not there any more.

    A draft is looked at for so many seconds: it becomes a mask, or goes, unless its writer died.
    """
    deadline = time.monotonic() + patience
    pause = 0.01
    while True:
        try:
            if root[uid].metadata[SPEC] == MASK:
                return True
        except KeyError:
            return None
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 0.2)
