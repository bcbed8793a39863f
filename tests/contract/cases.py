"""The stages under contract, and runs to try them on.

A new stage of the package is added to `CASES`, and with that to every test of this folder.
"""

from __future__ import annotations

import copy
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import event_model
import numpy as np
from runs import Docs, feed

from bluesky_ext import (
    AzimuthalIntegrator,
    CrystalMap,
    CrystalMapper,
    Diffractograms,
    FluorescenceFit,
    FluorescenceMap,
    ImageProcessor,
    LiveAnalysis,
    PeakTracker,
    RegionMaps,
    TrackLinker,
)
from bluesky_ext.callbacks import ImageOrienter, MaskApplier, Sparsifier
from bluesky_ext.engine import Map, Stage, compose
from bluesky_ext.sim import Powder
from bluesky_ext.sim.fluorescence import FluorescenceSample

KEY = "det_image"
SHAPE = (64, 64)
N_EVENTS = 6
STORED: dict[str, Docs] = {}


def spots(number: int) -> list[tuple[float, float]]:
    """Where the peaks of frame ``number`` (from 1) are: one that stays, one that wanders; frame 4 has none."""
    return [] if number == 4 else [(20.0, 20.0), (40.0, 30.0 + number)]


def frames(number: int, *, dark: bool = False) -> np.ndarray:
    """Two exposures, (2, 64, 64) uint16: an offset of 100 with, unless dark, gaussian spots of height 500."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = np.full(SHAPE, 100.0)
    for cy, cx in [] if dark else spots(number):
        image += 500 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * 1.5**2))
    return np.stack([image, image + 2]).astype(np.uint16)


def raw_run(
    *,
    n: int = N_EVENTS,
    seq_nums: Iterable[int] | None = None,
    dark: bool = True,
    image: Callable[[int], Any] = frames,
    pages: bool = False,
    exit_status: str = "success",
    reason: str = "",
    **metadata: Any,
) -> Docs:
    """A run as a RunEngine emits it: a grid scan of 2 x 3 points, a dark first, images inline."""
    metadata = {"scan_id": 7, "plan_name": "grid_scan", "shape": [2, 3], "extents": [[0, 1], [0, 2]]} | metadata
    metadata |= {"motors": ["my", "mx"], "snaking": [False, False], "hints": {"dimensions": [[["mx"], "primary"]]}}
    bundle = event_model.compose_run(metadata=metadata, validate=False)
    docs: Docs = [("start", bundle.start_doc)]
    array = {"source": "sim:det", "dtype": "array", "shape": [2, *SHAPE], "dtype_numpy": "<u2", "units": "counts"}
    number = {"source": "sim:motor", "dtype": "number", "shape": [], "units": "mm"}
    configuration = {
        "det": {"data": {"exposure": 0.5}, "timestamps": {"exposure": 1.0}, "data_keys": {"exposure": number}}
    }
    if dark:
        stream = bundle.compose_descriptor(
            name="dark", data_keys={KEY: array}, object_keys={"det": [KEY]}, configuration=configuration, validate=False
        )
        docs.append(("descriptor", stream.descriptor_doc | {"time": 0.5}))
        data = {KEY: frames(0, dark=True)}
        docs.append(("event", stream.compose_event(data=data, timestamps={KEY: 1.0}, time=1.0, validate=False)))
    keys = {KEY: array, "mx": number, "my": number, "counts": {"source": "sim:det", "dtype": "integer", "shape": []}}
    stream = bundle.compose_descriptor(
        name="primary",
        data_keys=keys,
        object_keys={"det": [KEY, "counts"], "mx": ["mx"], "my": ["my"]},
        configuration=configuration,
        hints={"det": {"fields": ["counts"]}, "mx": {"fields": ["mx"]}, "my": {"fields": ["my"]}},
        validate=False,
    )
    docs.append(("descriptor", stream.descriptor_doc | {"time": 2.0}))
    events = []
    for seq_num in range(1, n + 1) if seq_nums is None else seq_nums:
        data = {KEY: image(seq_num), "mx": float((seq_num - 1) % 3), "my": float((seq_num - 1) // 3), "counts": seq_num}
        at = 10.0 + seq_num
        stamps = dict.fromkeys(data, at)
        events.append(stream.compose_event(data=data, timestamps=stamps, seq_num=seq_num, time=at, validate=False))
    if pages:
        docs.append(("event_page", event_model.pack_event_page(*events)))
    else:
        docs.extend(("event", event) for event in events)
    stop = bundle.compose_stop(exit_status=exit_status, reason=reason, validate=False)
    stop["num_events"] = {"primary": n} | ({"dark": 1} if dark else {})
    docs.append(("stop", stop))
    return docs


def marked(docs: Docs, marker: Any) -> Docs:
    """The run with a text reading."""
    for name, doc in docs:
        if name == "descriptor":
            doc["data_keys"]["marker"] = {"source": "t", "dtype": "string", "shape": []}
        elif name == "event":
            doc["data"]["marker"] = str(marker)
            doc["timestamps"]["marker"] = 1.0
    return docs


class Collector(list):
    """A sink: the documents that came, in order."""

    __hash__ = object.__hash__  # the RunEngine keeps its callbacks in a dictionary

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        self.append((name, doc))

    def named(self, name: str) -> list[dict[str, Any]]:
        return [doc for kind, doc in self if kind == name]

    @property
    def stop(self) -> dict[str, Any]:
        (stop,) = self.named("stop")
        return stop


def collect(stage: Stage) -> Collector:
    """A sink of what a stage makes from now on."""
    sink = Collector()
    stage.subscribe(sink)
    return sink


def map_of(kernel: Callable[..., Any], **options: Any) -> Map:
    """A map with a kernel of the test's."""
    return Map(kernel, **{"parameters": {}, "data_keys": (KEY,), **options})


def run_through(stage: Stage, docs: Docs) -> Collector:
    """What a stage makes of documents."""
    sink = Collector()
    token = stage.subscribe(sink)
    feed(stage, docs)
    stage.unsubscribe(token)
    return sink


@dataclass(frozen=True)
class Case:
    """A stage under contract.

    Parameters
    ----------
    name
        For the test report.
    make
        Makes the stage; it passes keyword arguments on.
    upstream
        Makes the stages whose output this one takes; none for a stage that takes raw runs.
    stored
        Whether the runs that it is given are in `STORED`, its database.
    """

    name: str
    make: Callable[..., Stage]
    upstream: tuple[Callable[[], Stage], ...] = ()
    stored: bool = False

    def given(self, docs: Docs) -> Docs:
        """A raw run as this stage gets to see it."""
        for make in self.upstream:
            docs = list(run_through(make(), docs))
        if self.stored:
            STORED[docs[0][1]["uid"]] = docs
        return docs

    @property
    def is_map(self) -> bool:
        return hasattr(self.make(), "executor")

    @property
    def keeps_seq_num(self) -> bool:
        return self.is_map and not self.make().makes_rows

    @property
    def has_images(self) -> bool:
        return self.keeps_seq_num and not self.name.startswith(("Azimuthal", "Fluorescence", "Sparsifier"))


LOCATE = {"diameter": 7, "minmass": 200}

#: The geometry of the detector.
PONI = Powder(shape=SHAPE).poni

#: A gap between two modules of the detector, away from the spots.
MASK = np.ones(SHAPE, bool)
MASK[28:31] = False


class Gap:
    """The mask of `Registry`."""

    uid, detector, name, version = "gap-uid", "det", "gap", 0

    def read(self) -> np.ndarray:
        return MASK


class Registry:
    """A registry of one mask, as far as stages ask it."""

    def entry(self, detector: str, name: str, version: int | None = None) -> Gap:
        assert (detector, name) == ("det", "gap")
        return Gap()

    def entry_by_uid(self, uid: str) -> Gap:
        assert uid == "gap-uid"
        return Gap()


REGISTRY = Registry()


class Mean:
    """A worker: the mean of the image of a point."""

    def process_event(self, event: Any) -> float | None:
        return float(event.data[KEY].mean(axis=(-2, -1)).mean()) if event.stream == "primary" else None


class Means:
    """A reducer: the means by the numbers of their points."""

    def __init__(self) -> None:
        self.publish: dict[str, Any] = {"means": np.full(N_EVENTS, np.nan)}

    def process_result(self, result: Any) -> None:
        self.publish["means"][result.event_number - 1] = result.payload


#: A .cfg for which the rows of an image are the spectra of elements, of 64 channels up to 6.4 keV.
CFG = FluorescenceSample(elements={"Ca": 0.02, "Ti": 0.01}).cfg
for old, new in ((b"gain = 0.01", b"gain = 0.1"), (b"xmin = 150", b"xmin = 15"), (b"xmax = 1150", b"xmax = 60")):
    CFG = CFG.replace(old, new)

#: A region of the images.
TRIANGLE = {"name": "b", "type": "polygon", "x": [28, 44, 44], "y": [40, 30, 50]}

#: What a redo must be given, since it imports nobody's code.
KNOWN = (Mean, Means)

CASES = [
    Case("ImageProcessor", lambda **kw: ImageProcessor(KEY, **kw)),
    Case("ImageProcessor-array", lambda **kw: ImageProcessor(KEY, np.full(SHAPE, 100.0), **kw)),
    Case("ImageProcessor-dark", lambda **kw: ImageProcessor(KEY, "dark", **kw)),
    Case("ImageProcessor-mask", lambda **kw: ImageProcessor(KEY, mask=("det", "gap"), registry=REGISTRY, **kw)),
    Case("ImageOrienter", lambda **kw: ImageOrienter(KEY, ["rot90", "flipud"], **kw)),
    Case("MaskApplier", lambda **kw: MaskApplier(KEY, MASK, **kw)),
    Case("MaskApplier-nan", lambda **kw: MaskApplier(KEY, [MASK, ("det", "gap")], np.nan, registry=REGISTRY, **kw)),
    Case("Sparsifier", lambda **kw: Sparsifier(KEY, ("det", "gap"), registry=REGISTRY, **kw)),
    Case("PeakTracker", lambda **kw: PeakTracker(KEY, **LOCATE, **kw)),
    Case("PeakTracker-mask", lambda **kw: PeakTracker(KEY, **LOCATE, mask=MASK, **kw)),
    Case("PeakTracker-poni", lambda **kw: PeakTracker(KEY, **LOCATE, poni=PONI, **kw)),
    Case(
        "compose",
        lambda **kw: compose(ImageProcessor(KEY, "dark"), PeakTracker(KEY, **LOCATE), **kw),
    ),
    Case(
        "TrackLinker",
        lambda **kw: TrackLinker(search_range=5, **kw),
        upstream=(lambda: PeakTracker(KEY, **LOCATE),),
    ),
    Case(
        "CrystalMap",
        lambda **kw: CrystalMap(search_range=5, **kw),
        upstream=(lambda: PeakTracker(KEY, **LOCATE),),
    ),
    Case(
        "CrystalMap-linked",
        lambda **kw: CrystalMap(shape=(2, 3), **kw),
        upstream=(lambda: PeakTracker(KEY, **LOCATE), lambda: TrackLinker(search_range=5)),
    ),
    Case(
        "CrystalMapper",
        lambda **kw: CrystalMapper(
            KEY, 7, windows={"y": [20, 40], "x": [20, 33], "dy": 3, "dx": 5}, poni=PONI, db=STORED, **kw
        ),
        stored=True,
    ),
    Case("AzimuthalIntegrator", lambda **kw: AzimuthalIntegrator(KEY, PONI, 30, error_model="poisson", **kw)),
    Case(
        "AzimuthalIntegrator-mask",
        lambda **kw: AzimuthalIntegrator(
            *(KEY, PONI, 20, "2th_deg"), sectors=3, mask=("det", "gap"), registry=REGISTRY, **kw
        ),
    ),
    Case(
        "Diffractograms",
        lambda **kw: Diffractograms(KEY, {"inner": (10, 20), "outer": (20, 40)}, **kw),
        upstream=(lambda: AzimuthalIntegrator(KEY, PONI, 30, error_model="poisson"),),
    ),
    Case("FluorescenceFit", lambda **kw: FluorescenceFit(KEY, CFG, **kw)),
    Case(
        "FluorescenceMap",
        lambda **kw: FluorescenceMap(KEY, CFG, **kw),
        upstream=(lambda: FluorescenceFit(KEY, CFG, concentrations=False),),
    ),
    Case(
        "RegionMaps",
        lambda **kw: RegionMaps(
            *(KEY, [{"name": "a", "type": "rectangle", "x": [10, 30], "y": [15, 25]}, TRIANGLE]), **kw
        ),
    ),
    Case("LiveAnalysis", lambda **kw: LiveAnalysis(Mean, Means, data_keys=(KEY,), **kw)),
]


def named(name: str) -> Case:
    """The case of this name."""
    return next(one for one in CASES if one.name == name)


MAPS = [case for case in CASES if case.is_map]

#: The last case of each class, for what a stage does whatever its options are.
KINDS = list({type(case.make()): case for case in CASES}.values())
MAP_KINDS = [case for case in KINDS if case.is_map]


def content(docs: Docs) -> dict[str, Any]:
    """What a derived run says, without uids and times: its last word on every event, and its stop."""
    names: dict[str, str] = {}
    said: dict[str, dict[int, Any]] = defaultdict(dict)
    stop: dict[str, Any] = {}
    for name, doc in unpacked(docs):
        if name == "descriptor":
            names[doc["uid"]] = doc["name"]
        elif name == "event":
            data = {key: value for key, value in doc["data"].items() if not key.endswith("_uid")}
            said[names[doc["descriptor"]]][doc["seq_num"]] = data
        elif name == "stop":
            stop = {key: value for key, value in doc.items() if key not in ("uid", "time", "run_start")}
    return {"events": dict(said), "stop": stop}


def valid_rows(docs: Docs) -> dict[int, list[dict[str, Any]]]:
    """The rows of every frame, those of its last page only, by the frame's number."""
    events = content(docs)["events"]
    rows = events.get("primary", {})
    return {
        frame: [rows[seq_num] for seq_num in range(about["first_row"], about["first_row"] + about["n_rows"])]
        for frame, about in events["frames"].items()
    }


def unpacked(docs: Docs) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, doc in docs:
        if name == "event_page":
            for event in event_model.unpack_event_page(doc):
                yield "event", event
        else:
            yield name, doc


def same(one: Any, other: Any) -> bool:
    """Deep equality, arrays by value and dtype, NaN equal to NaN."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return (
            isinstance(one, np.ndarray)
            and isinstance(other, np.ndarray)
            and one.dtype == other.dtype
            and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
        )
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return isinstance(other, list | tuple) and len(one) == len(other) and all(map(same, one, other))
    return one == other or (one != one and other != other)


def snapshot(docs: Docs) -> Docs:
    return copy.deepcopy(docs)


def reuid(docs: Docs) -> Docs:
    """The same run again under other uids, as a second scan would have."""
    uids: dict[str, str] = {}

    def fresh(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: fresh(item) for key, item in value.items()}
        if isinstance(value, list):
            return [fresh(item) for item in value]
        return uids.get(value, value) if isinstance(value, str) else value

    for _name, doc in docs:
        for uid in doc["uid"] if isinstance(doc["uid"], list) else [doc["uid"]]:
            uids[uid] = f"again-{time.monotonic_ns()}-{len(uids)}"
    return [(name, fresh(doc)) for name, doc in docs]
