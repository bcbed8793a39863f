"""What a stage says of itself in the runs that it makes, and how it is made again from that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from bluesky_ext.engine.documents.provenance import Provenance, path_of


class Recorded:
    """The base of what makes derived runs; its ``parameters`` are the keyword arguments of its class."""

    #: Whether the derived descriptors carry the devices of the input, so that its motors and hints hold for them.
    keeps_objects = True
    #: The keys that the stage adds and that are worth a plot.
    hinted: tuple[str, ...] = ()
    #: Which of the keys that it adds are arrays of another length in each event.
    ragged: tuple[str, ...] = ()
    #: The units of those that it adds, where they have some.
    units: Mapping[str, str] = {}
    #: The libraries that its numbers come from: their versions are in the record of its runs.
    libraries: tuple[str, ...] = ("numpy", "numba")
    #: Whether images count in the sha256 of its runs, unless that is said.
    hashes_images = True

    def __init__(self, name: str, parameters: Mapping[str, Any], *, hash_images: bool | None) -> None:
        self.name = name or type(self).__name__
        self.path = path_of(type(self))
        self._hash_images = self.hashes_images if hash_images is None else hash_images
        self.record(parameters)

    def record(self, parameters: Mapping[str, Any]) -> None:
        """Say of the runs that begin from now on that the stage has these parameters."""
        self.parameters = parameters
        self.provenance = Provenance.of(
            *(self.name, parameters),
            path=self.path,
            libraries=self.libraries,
            hash_images=self._hash_images,
            keeps_objects=self.keeps_objects,
            hinted=self.hinted,
            ragged=self.ragged,
            units=self.units,
        )

    @property
    def parameters_sha256(self) -> str:
        """The sha256 of the parameters as the record of a run has them now."""
        return self.provenance.parameters_sha256

    @classmethod
    def again(cls, record: Mapping[str, Any], materials: Any, **options: Any) -> Self:
        """The stage that the ``analysis`` record of a run is of.

        One that needs more than its parameters says it in its record, by `about`, and finds it in the materials
        (`bluesky_ext.server.materials.Materials`) here.
        """
        return cls(**materials.values(record["parameters"]), **options)

    def about(self, state: Any) -> dict[str, Any]:
        """What is known at the beginning of a run and is to be in its record beside the parameters, as plain data."""
        return {}
