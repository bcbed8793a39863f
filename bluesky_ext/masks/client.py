"""The registry of masks, in a Tiled catalogue."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any, Literal

from bluesky_ext.masks.arguments import check_name, checked_metadata, checked_version, known_version
from bluesky_ext.masks.arrays import as_mask, mask_sha256
from bluesky_ext.masks.claims import Draft, claims_of, discard_abandoned, show
from bluesky_ext.masks.detectors import DETECTOR_SHAPES, DetectorShapes
from bluesky_ext.masks.entries import Entry, find, plain
from bluesky_ext.masks.errors import MaskExists, in_a_line, is_status
from bluesky_ext.masks.lookup import Triple, by_name, by_uid, latest, listed, not_found, versions
from bluesky_ext.storage import close_catalog, open_catalog

log = logging.getLogger(__name__)


class MaskClient:
    """The masks of detectors, by detector, name and version, in a container of a Tiled catalogue.

    A mask is a bool array of the shape of the detector's images, False where a pixel is masked. It has a uid, and is
    never changed: what is read under a uid is what was registered, or an error. Of writers that register one
    detector, name and version at once, in threads, in processes or on other machines, one succeeds, and nobody sees
    a mask before it is whole (see `bluesky_ext.masks.claims`). The methods may be called from several threads.

    Masks of the CHX beamline's registry, arrays with the metadata ``spec == "mask"``, ``name``, ``detector`` and
    ``version``, are masks as well, at any depth below the container; ours have the same keys.

    The uid of a mask is the key of its array, a UUID, wherever one looks for it. An array that somebody gave another
    key has its path from the root of the catalogue for a uid.

    Parameters
    ----------
    client : Tiled container
        Where the masks are.
    detector_shapes : DetectorShapes or dict, optional
        The detectors and the shapes of their images; by default `bluesky_ext.masks.DETECTOR_SHAPES`, which sites fill.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> directory = tempfile.TemporaryDirectory()
    >>> masks = MaskClient.embedded(directory.name, detector_shapes={"pilatus100k": (195, 487)})
    >>> uid = masks.register_mask("pilatus100k", "beamstop", np.ones((195, 487), bool))
    >>> masks.list_masks()
    [('pilatus100k', 'beamstop', 0)]
    >>> masks.close()
    >>> directory.cleanup()
    """

    def __init__(
        self, client: Any, *, detector_shapes: DetectorShapes | Mapping[str, tuple[int, ...]] | None = None
    ) -> None:
        if not all(hasattr(client, name) for name in ("create_container", "write_array", "search")):
            raise TypeError(
                f"{client!r} is no client of a Tiled container: give one, or use MaskClient.embedded(directory) or "
                "MaskClient.from_uri(address)"
            )
        self._root = client
        self._claims: Any = None
        if detector_shapes is None:
            detector_shapes = DETECTOR_SHAPES
        elif not isinstance(detector_shapes, DetectorShapes):
            detector_shapes = DetectorShapes(detector_shapes)
        self.detector_shapes: DetectorShapes = detector_shapes

    @classmethod
    def open(cls, where: Any, *, api_key: str | None = None, **options: Any) -> MaskClient:
        """The registry in what `bluesky_ext.storage.open_catalog` takes: a directory, address, profile or container."""
        return cls(open_catalog(where, api_key=api_key), **options)

    @classmethod
    def from_profile(
        cls, name: str, *path: str, api_key: str | None = None, username: None = None, **options: Any
    ) -> MaskClient:
        """The registry on the server of a profile of Tiled, in the container with this path: "chx", "sandbox".

        As in transcripts of the CHX beamline, ``username=None`` may be given: Tiled knows who has logged in.

        Raises
        ------
        LookupError
            If there is no such profile, or nothing at the path.
        """
        if not name or os.sep in name or name.startswith((".", "~")):
            raise ValueError(f"{name!r} is no name of a profile: use MaskClient.embedded for a directory")
        if username is not None:
            raise ValueError(f"username={username!r}: log in by `tiled login --profile {name}`, and leave it out")
        client = open_catalog(name, api_key=api_key)
        try:
            return cls(client["/".join(path)] if path else client, **options)
        except KeyError as error:
            close_catalog(client)
            raise LookupError(f"profile {name!r} has no container {'/'.join(path)!r}: give the keys to it") from error

    @classmethod
    def from_uri(cls, uri: str, *, api_key: str | None = None, **options: Any) -> MaskClient:
        """The registry at the address of a Tiled server, or of a container on it."""
        if "://" not in uri:
            raise ValueError(f"{uri!r} is no address: give one as 'https://tiled.site.org/api/v1'")
        return cls.open(uri, api_key=api_key, **options)

    @classmethod
    def embedded(cls, directory: str | os.PathLike[str], **options: Any) -> MaskClient:
        """The registry in a directory, without a server; the directory is made if it is not there."""
        return cls.open(os.path.abspath(os.path.expanduser(os.fspath(directory))), **options)

    @property
    def uri(self) -> str:
        """The address of its container."""
        return self._root.uri

    def close(self) -> None:
        """Close the catalogue, and with it all clients that came from it."""
        close_catalog(self._root)

    def __enter__(self) -> MaskClient:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._root.uri!r})"

    # Writing

    def register_mask(
        self,
        detector: str,
        name: str,
        mask: Any,
        version: int | Literal["next"] = 0,
        optional_metadata: Mapping[str, Any] | None = None,
    ) -> str:
        """Add a mask; return its uid.

        Parameters
        ----------
        detector : str
            The detector that it is for, one of `detector_shapes`.
        name : str
            Any text.
        mask : bool array
            Of the shape of the detector's images, False where a pixel is masked.
        version : int or "next"
            A number from 0; "next" is 0, or the one after the highest that there has been, though it was deleted.
        optional_metadata : dict, optional
            More to find it by, as JSON has it.

        Raises
        ------
        MaskExists
            If there is a mask of this detector, name and version.
        ValueError
            If the mask is none for this detector, or the version or a name is none.
        OSError
            If the catalogue fails; nothing is registered then.
        """
        check_name("detector", detector)
        check_name("name", name)
        number = None if isinstance(version, str) and version == "next" else checked_version(version)
        content = as_mask(mask)
        self.detector_shapes.check(detector, content.shape)
        more = checked_metadata(optional_metadata)
        sha256 = mask_sha256(content)
        metadata = {**more, "detector": detector, "name": name, "version": version, "sha256": sha256}
        with in_a_line(f"registering mask {name!r} of detector {detector!r}"):
            if number is not None:
                self._refuse_duplicate(detector, name, number)
            draft = Draft(self._root, content, metadata, self._prepared())
            return self._register(draft, detector, name, number, sha256)

    def _prepared(self) -> Any:
        """The container of claims, when old drafts have been looked for; both are done once."""
        if self._claims is None:
            discard_abandoned(self._root)
            self._claims = claims_of(self._root)
        return self._claims

    def _register(self, draft: Draft, detector: str, name: str, version: int | None, sha256: str) -> str:
        try:
            if version is None:
                known = [entry.version for entry in by_name(self._root, detector, name) if type(entry.version) is int]
                version = draft.claim_from(max(known, default=-1) + 1)
            else:
                holder = draft.claim(version)
                if not holder.is_mine:
                    if not holder.is_shown and self._finish(holder.uid, version, sha256):
                        draft.discard()
                        return holder.uid
                    raise self._exists(detector, name, version, holder.uid)
            draft.show(version)
            return draft.uid
        except BaseException:
            draft.discard()
            raise

    def _finish(self, uid: str, version: int, sha256: str) -> bool:
        """Show a mask whose writer has died when it was written and claimed; whether it is the very same."""
        node = self._root[uid]
        log.warning("mask %s was written and never shown: its writer seems to have died, and it is shown now", uid)
        show(node, version)
        return node.metadata.get("sha256") == sha256

    def _refuse_duplicate(self, detector: str, name: str, version: int) -> None:
        for entry in by_name(self._root, detector, name, version):
            raise self._exists(detector, name, version, entry.uid)

    def _exists(self, detector: str, name: str, version: int, uid: str) -> MaskExists:
        return MaskExists(
            f"mask {name!r} of detector {detector!r}, version {version}, exists (uid {uid}); "
            f"{versions(self._root, detector, name)}: give another version, or version='next'"
        )

    def delete_mask(self, detector: str, name: str, version: int | str) -> None:
        """Delete a mask and its content; its detector, name and version may then be used again, by another uid.

        Raises
        ------
        MaskNotFound
            If there is none.
        """
        number = known_version(version)
        with in_a_line(f"deleting mask {name!r} of detector {detector!r}"):
            deleted = 0
            for entry in list(by_name(self._root, detector, name, number)):
                try:
                    entry.node.delete(external_only=False)
                    deleted += 1
                except Exception as error:
                    if not is_status(error, 404):  # another one was faster
                        raise
            if not deleted:
                raise not_found(self._root, detector, name, number)

    # Reading

    def get_mask(self, detector: str, name: str, version: int | str | None = None) -> tuple[str, Any]:
        """Uid and content of a mask, a dask array of bool, of the highest version unless one is given.

        A version that is a text, as other writers have them, is had by that.

        The content is read, and checked against its sha256, when it is computed.

        Raises
        ------
        MaskNotFound
            If there is none; it says what there is.
        """
        entry = self.entry(detector, name, version)
        return entry.uid, entry.lazy()

    def get_mask_by_uid(self, uid: str) -> Any:
        """The content of the mask with this uid, a dask array of bool."""
        return self.entry_by_uid(uid).lazy()

    def get_mask_uid(self, detector: str, name: str, version: int | str | None = None) -> str:
        """The uid of a mask, of the highest version unless one is given."""
        return self.entry(detector, name, version).uid

    def get_metadata(self, uid: str) -> dict[str, Any]:
        """What is known of the mask with this uid: detector, name, version, sha256, and what was given with it."""
        return plain(self.entry_by_uid(uid).metadata)

    def list_masks(self) -> list[Triple]:
        """``(detector, name, version)`` of every mask, in that order."""
        with in_a_line("listing masks"):
            return listed(self._root)

    def search(self, **metadata: Any) -> dict[str, dict[str, Any]]:
        """The metadata of the masks that have all of these values, by uid.

        Examples
        --------
        ``masks.search(detector="eiger4m", beamline="CHX")``
        """
        with in_a_line("searching for masks"):
            return {entry.uid: plain(entry.metadata) for entry in find(self._root, **metadata)}

    def entry(self, detector: str, name: str, version: int | str | None = None) -> Entry:
        """The mask of this detector and name, of the highest version unless one is given; its content is not read."""
        number = None if version is None else known_version(version)
        with in_a_line(f"looking for mask {name!r} of detector {detector!r}"):
            return latest(self._root, detector, name, number)

    def entry_by_uid(self, uid: str) -> Entry:
        """The mask with this uid; its content is not read."""
        if not isinstance(uid, str):
            raise ValueError(f"{uid!r} is no uid of a mask: give a str")
        with in_a_line(f"looking for mask {uid}"):
            return by_uid(self._root, uid)
