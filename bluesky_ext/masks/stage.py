"""The base of the stages that take masks."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from bluesky_ext.engine import Map
from bluesky_ext.engine.executors.kernel import Kernel
from bluesky_ext.engine.stages.run import StageRun
from bluesky_ext.images import RULES, Gaps, check_gaps
from bluesky_ext.masks.selection import SelectedMasks, UsedMasks


class MaskedMap(Map):
    """The base of maps whose kernel takes a mask.

    Masks that are arrays are combined here and now: a subclass gives `known_mask` to its kernel. Those that are to be
    looked up are read at the start of each run, and go to the kernel as its last input. In both cases the descriptors
    of the derived run say, in their configuration, the uid and sha256 of each mask: that of the stage, where it adds
    keys, and that of the device that the image is of, where the stage changes the image.

    A mask that cannot be found or read costs its run: every event of that run fails, and the log says why, once.

    Parameters
    ----------
    kernel : callable
        As for `Map`.
    given : SelectedMasks, optional
        The masks.
    gaps : "auto" or bool
        Which pixels its kernel leaves out because they are no measurement, see `bluesky_ext.images.Gaps`. Of the first
        event of a run that has some, beside those that are masked, the log says how many.
    **options
        As for `Map`.
    """

    #: Whether the derived events have the image that the mask was applied to.
    keeps_image = False
    #: By which name the kernel tells how many pixels are no measurement.
    n_gaps = "n_gaps"
    #: What else the kernel takes for no measurement, for the log.
    other_gaps = ""

    def __init__(self, kernel: Kernel, *, given: SelectedMasks | None, gaps: Gaps = False, **options: Any) -> None:
        self._given = given
        self._gaps: Gaps = check_gaps(gaps)
        self.remarkable = (self.n_gaps,) if gaps else ()
        self.has_inputs = self.has_inputs or self._looks_up
        super().__init__(kernel, **options)

    @property
    def _looks_up(self) -> bool:
        return self._given is not None and self._given.known is None

    def begin(self, start: Mapping[str, Any]) -> Any:
        """The masks of the run, if there are any."""
        return None if self._given is None else self._given.look_up()

    @classmethod
    def again(cls, record: Mapping[str, Any], materials: Any, **options: Any) -> Self:
        """The stage that a record is of, with the masks that it used, whatever they were found by."""
        parameters = dict(record["parameters"])
        if used := record.get("masks"):
            name = "masks" if "masks" in parameters else "mask"
            parameters[name], options["registry"] = materials.masks(used, parameters[name])
        return cls(**materials.values(parameters), **options)

    def about(self, state: Any) -> dict[str, Any]:
        """The masks of the run."""
        used = self.masks_of(state)
        return {} if used is None else {"masks": used.record()}

    def masks_of(self, state: Any) -> UsedMasks | None:
        """The masks in what `begin` returned."""
        return state

    def inputs(self, state: Any, stream: str, event: Mapping[str, Any]) -> tuple:
        """The mask, if it was looked up."""
        used = self.masks_of(state)
        return (used.mask,) if self._looks_up and used is not None else ()

    def describe(self, state: Any, descriptor: dict[str, Any]) -> None:
        """Say which masks were used."""
        used = self.masks_of(state)
        if used is not None:
            self._configure(descriptor, used)

    def remark(self, run: StageRun, event: Mapping[str, Any], told: Mapping[str, Any]) -> None:
        """Say how many pixels were left out because they are no measurement, and by which rule."""
        count = told.get(self.n_gaps)
        if count and self._gaps:
            run.complaints(
                f"{self.name} gaps",
                "%s leaves out %d pixels of %r in event %d of run %s, which are no measurement: %s",
                *(self.name, count, self.data_keys[0], event["seq_num"], run, RULES[self._gaps] + self.other_gaps),
            )

    def _configure(self, descriptor: dict[str, Any], used: UsedMasks) -> None:
        now, source = time.time(), f"bluesky_ext:{self.name}"
        configuration = descriptor.setdefault("configuration", {})
        configuration[self.name] = _merged(configuration.get(self.name, {}), used.configuration(now, source))
        if self.keeps_image:
            for name, keys in descriptor.get("object_keys", {}).items():
                if set(self.data_keys) & set(keys):
                    of_stage = used.configuration(now, source, prefix=f"{self.name}_")
                    configuration[name] = _merged(configuration.get(name, {}), of_stage)


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {part: {**one.get(part, {}), **other[part]} for part in ("data", "timestamps", "data_keys")}


def known_mask(given: SelectedMasks | None) -> np.ndarray | None:
    """The mask for a kernel: None if there is none, or it is looked up at the start of each run."""
    return None if given is None or given.known is None else given.known.mask
