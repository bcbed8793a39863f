"""Several maps as one, whose task does the work of all."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from bluesky_ext.engine.executors.kernel import Kernel
from bluesky_ext.engine.stages.map import SCALARS, Map, Rows
from bluesky_ext.engine.stages.run import StageRun


class _Chain:
    """The kernels of several maps as one: each is given what the ones before it made.

    A kernel with ``takes_spare`` is given as ``spare`` what it returned for an earlier event, to write into its arrays,
    if nobody has them any more: those behind it say so by ``keeps_nothing``, of what they are given and in what they
    return. Fresh memory for an image of 32 MB costs a tenth of the time of an event.
    """

    def __init__(self, kernels: list[Kernel]) -> None:
        self.kernels = kernels  # by this name they are told of the run, if they have a state
        self._reused = {
            place
            for place, kernel in enumerate(kernels[:-1])  # what comes from the last one leaves the chain
            if getattr(kernel, "takes_spare", False)
            and all(getattr(one, "keeps_nothing", False) for one in kernels[place + 1 :])
        }
        self._of_thread = threading.local()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.kernels,)

    def __call__(self, data: Mapping[str, Any], seq_num: int, *inputs: Any) -> Any:
        changes: dict[str, Any] = {}
        made: dict[int, Any] = {}
        spares: dict[int, Any] = self._of_thread.__dict__.pop("spares", {})
        for place, kernel in enumerate(self.kernels):
            known = {key: value for key, value in {**data, **changes}.items() if value is not None}
            if place in self._reused:
                result = made[place] = kernel(known, seq_num, *inputs, spare=spares.get(place))
            else:
                result = kernel(known, seq_num, *inputs)
            inputs = ()  # they are the first one's
            if isinstance(result, Rows):
                scalars = {key: value for key, value in changes.items() if value is None or isinstance(value, SCALARS)}
                self._of_thread.spares = made
                return Rows(result.columns, {**scalars, **result.readings})
            changes |= result
        return changes


class Composed(Map):
    """One map and one task of several, for executors: ``compose(ip, pt, executor=pool)``.

    What it emits is what the last of them emits when they are chained with ``subscribe``, and no image between them
    comes back from a worker; of the maps only what they compute counts, not their own executors and subscribers.
    Between an `ImageProcessor` and a `PeakTracker` each thread has one image, for all events.

    Parameters
    ----------
    *maps : Map
        In order; only the last one may make rows.
    **options
        ``executor``, ``max_in_flight``, ``on_error`` and so on, as for `Map`.
    """

    def __init__(self, *maps: Map, **options: Any) -> None:
        if not maps:
            raise ValueError("compose() needs at least one map, got 0")
        for one in maps:
            if not isinstance(one, Map):
                raise TypeError(f"compose() takes maps, got a {type(one).__name__}: subscribe it to the composed map")
        for one in maps[:-1]:
            if one.makes_rows:
                raise ValueError(f"{one.name} makes rows, which no map takes: give it last")
        for one in maps[1:]:
            if one.has_inputs:  # it would see the event as it is before the maps in front of it
                raise ValueError(f"{one.name} looks at events itself (a dark, say): give it first, or subscribe it")
        self.maps = maps
        self.makes_rows = maps[-1].makes_rows
        self.libraries = tuple(dict.fromkeys(name for one in maps for name in one.libraries))
        self.hinted = tuple(key for one in maps for key in one.hinted)
        self.remarkable = tuple(key for one in maps for key in one.remarkable)
        self.ragged = tuple(key for one in maps for key in one.ragged)
        self.units = {key: unit for one in maps for key, unit in one.units.items()}
        super().__init__(
            _Chain([one.kernel for one in maps]),
            parameters={"maps": [{"stage": one.name, "class": one.path, "parameters": one.parameters} for one in maps]},
            **{"name": "+".join(one.name for one in maps), "data_keys": maps[0].data_keys, **options},
        )
        self.has_inputs = maps[0].has_inputs

    def begin(self, start: Mapping[str, Any]) -> Any:
        """The state of each map."""
        return [one.begin(start) for one in self.maps]

    @classmethod
    def again(cls, record: Mapping[str, Any], materials: Any, **options: Any) -> Composed:
        """The maps of a record as one."""
        maps = record["parameters"]["maps"]
        about = record.get("maps", [{}] * len(maps))
        return cls(*(materials.stage({**one, **its}) for one, its in zip(maps, about, strict=True)), **options)

    def about(self, state: Any) -> dict[str, Any]:
        """What each map says."""
        said = [one.about(its) for one, its in zip(self.maps, state, strict=True)]
        return {"maps": said} if any(said) else {}

    def remark(self, run: StageRun, event: Mapping[str, Any], told: Mapping[str, Any]) -> None:
        """What each map says of what all have told."""
        for one in self.maps:
            one.remark(run, event, told)

    def describe(self, state: Any, descriptor: dict[str, Any]) -> None:
        """Add the configuration of each map, under the name of the composed one; each key begins with its own name."""
        configuration = descriptor.setdefault("configuration", {})
        for one, its_state in zip(self.maps, state, strict=True):
            others = {name: said for name, said in configuration.items() if name != one.name}  # a device, say
            one.describe(its_state, {**descriptor, "configuration": others})
            own = others.pop(one.name, {})
            configuration.update(others)
            for part, said in own.items():
                mine = configuration.setdefault(self.name, {}).setdefault(part, {})
                mine.update({f"{one.name}_{key}": value for key, value in said.items()})

    def inputs(self, state: Any, stream: str, event: Mapping[str, Any]) -> tuple:
        """The inputs of the first map."""
        return self.maps[0].inputs(state[0], stream, event)


compose = Composed
