"""Frames averaged and a background taken away, event by event."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from os import PathLike
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from bluesky_ext._arguments import check_keywords, keywords_of, refuse_document
from bluesky_ext._compile import compile_kernels
from bluesky_ext.callbacks.stored import StoredRun
from bluesky_ext.engine import Map, Stage, image_blocks
from bluesky_ext.engine.documents.live_runs import is_live
from bluesky_ext.images import (
    Gaps,
    apply_mask,
    check_mask,
    is_image_file,
    mean_frame,
    read_image,
    reduce_blocks,
    warm_up,
    warm_up_blocks,
    warm_up_masking,
)
from bluesky_ext.masks.selection import SelectedMasks, UsedMasks
from bluesky_ext.masks.stage import MaskedMap, known_mask
from bluesky_ext.storage.adapters import as_source
from bluesky_ext.storage.find import runs_between
from bluesky_ext.storage.stored import documents, is_run

#: So many darks of a run are kept; a run that comes in order of time needs one.
DARKS = 8


class _Dark(NamedTuple):
    """The mean image of an event of the dark stream, and the run that it is of."""

    time: float
    seq_num: int
    image: np.ndarray
    run: str


@dataclass
class _State:
    """What is kept of a run: its masks, the dark of another run that it may use, and its darks, none yet."""

    uid: str
    is_live: bool
    masks: UsedMasks | None
    earlier: _Dark | None
    darks: deque[_Dark] = field(default_factory=lambda: deque(maxlen=DARKS))


@dataclass(frozen=True)
class _Process:
    """The kernel: the mean of an event's frames, less the background, clipped at zero, zero where there is none."""

    takes_blocks: ClassVar[bool] = True
    takes_spare: ClassVar[bool] = True

    data_key: str
    background: np.ndarray | None
    gaps: Gaps
    mask: np.ndarray | None = None
    names_run: bool = False

    def __call__(
        self,
        data: Mapping[str, Any],
        seq_num: int,
        dark: np.ndarray | None = None,
        dark_of: tuple[int, str] | None = None,
        mask: np.ndarray | None = None,
        spare: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        blocks = image_blocks(data, self.data_key)
        mask = self.mask if mask is None else mask
        earlier = None if spare is None else spare[self.data_key]
        background = self.background if dark is None else dark
        image, n_gaps = reduce_blocks(blocks, background, self.gaps, spare=earlier)
        if mask is not None:
            check_mask(mask, image.shape)
            apply_mask(image, mask, out=image)
        changes: dict[str, Any] = {self.data_key: image}
        if self.gaps:
            if n_gaps:
                n_gaps = np.count_nonzero(np.isnan(image))  # without those that were masked
                np.nan_to_num(image, copy=False)
            changes[f"{self.data_key}_n_gaps"] = n_gaps
        if dark_of is not None:
            changes[f"{self.data_key}_dark"], run = dark_of
            if self.names_run:
                changes[f"{self.data_key}_dark_run"] = run
        return changes


class ImageProcessor(MaskedMap):
    """Events with their image averaged over all but the last two axes, less a subtrahend, clipped at zero.

    A pixel that is no measurement in some of an event's frames is the mean of the others. Where it is none in all of
    them, or in the subtrahend, it is zero; ``<data_key>_n_gaps`` tells how many such pixels an event has.

    Parameters
    ----------
    data_key : str
        The key of the image.
    subtrahend : 2-d array, path or str, optional
        What is taken away: an image; the path of one, read now (see `bluesky_ext.images.read_image`); or the name of a
        stream, such as ``"dark"``: then it is the mean image of that stream's latest event in the same run, and the
        derived event says in ``<data_key>_dark`` which one that was. Events of that stream are averaged only.
    dark_age : float, optional
        For a run without such an event: how old the latest one of another run may be when the run starts, in seconds;
        ``<data_key>_dark_run`` has the uid of the run that each dark is of. Without it, darks of other runs are none.
        An event without any dark fails; in a live run, for alignment, nothing is taken away from it instead.
    db : catalog, optional
        What `bluesky_ext.storage.open_catalog` returned: where that one is looked for if this stage has seen none.
    mask : array, str, tuple or list of these, optional
        As the ``masks`` of `MaskApplier`: masked pixels are zero in the result, whatever they were.
    registry : MaskClient, or what `bluesky_ext.storage.open_catalog` takes; optional
        Where masks are looked up, once at the start of each run.
    gaps : "auto", True or False
        Which pixels of a frame are no measurement: see `bluesky_ext.images.Gaps`. With False none is: NaN stays NaN.
    **options
        ``executor``, ``on_error`` and so on, as for `bluesky_ext.engine.Map`.

    Examples
    --------
    >>> from bluesky_ext import ImageProcessor
    >>> ip = ImageProcessor("dexela_image", subtrahend="dark")
    >>> token = ip.subscribe(print)
    """

    kernels = (warm_up, warm_up_blocks, partial(warm_up_masking, ("float64",)))
    keeps_image = True

    def __init__(
        self,
        data_key: str,
        subtrahend: np.ndarray | PathLike | str | None = None,
        *,
        dark_age: float | None = None,
        db: Any = None,
        mask: Any = None,
        registry: Any = None,
        gaps: Gaps = "auto",
        **options: Any,
    ) -> None:
        refuse_document("ImageProcessor", subtrahend)
        check_keywords("ImageProcessor", options, keywords_of(ImageProcessor, Map, Stage))
        self.data_key = data_key
        self._dark_stream: str | None = None
        background: np.ndarray | None = None
        if isinstance(subtrahend, PathLike) or (isinstance(subtrahend, str) and is_image_file(subtrahend)):
            background = read_image(subtrahend)
        elif isinstance(subtrahend, str):
            self._dark_stream = subtrahend
        elif subtrahend is not None:
            background = np.array(subtrahend)  # a copy: what is subtracted is what the record says
        if background is not None and background.ndim != 2:
            raise ValueError(f"subtrahend has shape {background.shape}: give one image of two dimensions")
        if dark_age is not None and (self._dark_stream is None or not dark_age > 0):
            raise ValueError(f"dark_age={dark_age!r}: give a number of seconds above 0, and a stream as subtrahend")
        if db is not None and dark_age is None:
            raise ValueError("db is where darks of other runs are: give dark_age, how old they may be, as well")
        self._dark_age, self._db = dark_age, db
        self._latest_dark: _Dark | None = None
        given = None if mask is None else SelectedMasks(mask, registry)
        parameters = {"data_key": data_key, "subtrahend": background if self._dark_stream is None else subtrahend}
        parameters |= {"dark_age": dark_age, "gaps": gaps}
        self.n_gaps = f"{data_key}_n_gaps"
        compile_kernels(*self.kernels)
        if given is not None:
            parameters["mask"] = given.parameters
        self.has_inputs = self._dark_stream is not None
        super().__init__(
            _Process(
                data_key,
                None if background is None else mean_frame(background, gaps=gaps),
                gaps,
                known_mask(given),
                names_run=dark_age is not None,
            ),
            given=given,
            gaps=gaps,
            parameters=parameters,
            data_keys=(data_key,),
            **options,
        )

    @classmethod
    def again(cls, record: Mapping[str, Any], materials: Any, **options: Any) -> Self:
        """The stage that a record is of, which has an image by its sha256, and never as the path of a file."""
        subtrahend = record["parameters"].get("subtrahend")
        if isinstance(subtrahend, str) and is_image_file(subtrahend):
            raise ValueError(f"the record has the file {subtrahend!r} as subtrahend: it was not written by that stage")
        stage = super().again(record, materials, **options)
        if dark := record.get("dark"):
            stage.learn_darks(materials.run(dark["run"]), dark["run"])
        return stage

    def begin(self, start: Mapping[str, Any]) -> _State:
        """The masks of the run, the dark of another run, and its darks, none yet."""
        return _State(start["uid"], is_live(start), super().begin(start), self._earlier_dark(start))

    def about(self, state: _State) -> dict[str, Any]:
        """The masks of the run, and the dark of another run that its events have if there is none in it."""
        dark = state.earlier
        said = {} if dark is None else {"dark": {"run": dark.run, "seq_num": dark.seq_num, "time": dark.time}}
        return {**super().about(state), **said}

    def masks_of(self, state: _State) -> UsedMasks | None:
        """The masks of the run."""
        return state.masks

    def inputs(self, state: _State, stream: str, event: Mapping[str, Any]) -> tuple:
        """The dark image that this event needs and which one it is, if darks are a stream; the mask, if looked up."""
        mask = super().inputs(state, stream, event)
        if self._dark_stream is None:
            return (None, None, *mask) if mask else ()
        if stream == self._dark_stream:
            state.darks.append(self._dark(event, state.uid))
            return None, None, *mask
        # By time and not by arrival: a store may give all the darks of a run before all the rest.
        earlier = [dark for dark in state.darks if dark.time <= event["time"]]
        if state.earlier is not None and not earlier:
            earlier.append(state.earlier)
        if not earlier and state.is_live:
            return None, None, *mask
        if not earlier:
            age = self._dark_age
            other = "give dark_age to use one of another run" if age is None else f"no other run has one of {age:g} s"
            raise ValueError(
                f"the subtrahend is the latest event of stream {self._dark_stream!r}, and of the {len(state.darks)} at "
                f"hand none is earlier than this event; {other}: put the plan into bluesky_ext.plans.dark_wrapper, "
                "which takes one first, or give an image"
            )
        latest = max(earlier, key=lambda dark: (dark.time, dark.seq_num))
        return latest.image, (latest.seq_num, latest.run), *mask

    def _dark(self, event: Mapping[str, Any], run: str) -> _Dark:
        """The dark in an event, which is that of later runs too."""
        image, _ = reduce_blocks(image_blocks(event["data"], self.data_key), None, self._gaps)
        dark = _Dark(event["time"], event["seq_num"], image, run)
        if self._dark_age is not None and (self._latest_dark is None or dark.time >= self._latest_dark.time):
            self._latest_dark = dark
        return dark

    def _earlier_dark(self, start: Mapping[str, Any]) -> _Dark | None:
        """The latest dark of another run that is not too old for this one."""
        if self._dark_age is None:
            return None
        oldest = start["time"] - self._dark_age
        if self._db is not None and (self._latest_dark is None or self._latest_dark.time < oldest):
            for run in runs_between(self._db, oldest, start["time"]):
                if self.learn_darks(run, run.metadata["start"]["uid"]):
                    break
        dark = self._latest_dark
        return dark if dark is not None and oldest <= dark.time <= start["time"] and dark.run != start["uid"] else None

    def learn_darks(self, run: Any, uid: str) -> bool:
        """Take the darks of a stored run, as if it had come by; return whether it has any."""
        taken: list[_Dark] = []
        stream = str(self._dark_stream)
        source = documents(run, stream.__eq__) if is_run(run) else as_source(run)
        stored = StoredRun(source, uid, stream, data_keys=(self.data_key,), name=self.name)
        stored.read(lambda event: taken.append(self._dark(event, uid)))
        return bool(taken)
