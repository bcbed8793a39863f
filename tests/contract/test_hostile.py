"""Hostile runs through stages, writers and savers: nothing is raised, nothing lies about, good runs are as before."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import pickle
import resource
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import matplotlib
import numpy as np
import pytest
from cases import CFG, Collector, Docs, Mean, Means, collect, content, feed, same
from event_model import DocumentNames, schema_validators
from hostile import HANDLERS, KEY, SHAPE, Plan, documents_of, plans, raw_run, stxm_run, write_frames
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from bluesky_ext import (
    AzimuthalIntegrator,
    CrystalMap,
    CrystalMapper,
    Diffractograms,
    FluorescenceFit,
    FluorescenceMap,
    ImageProcessor,
    LiveAnalysis,
    LiveMap,
    PeakTracker,
    Recorder,
    Recording,
    TrackLinker,
)
from bluesky_ext.callbacks import MaskApplier, Sparsifier
from bluesky_ext.engine import Stage, compose
from bluesky_ext.server.filling import Filling
from bluesky_ext.sim import Powder
from bluesky_ext.storage import SparseWriter, documents, save
from bluesky_ext.transport import RemoteDispatcher, dumps
from suitcase_nxstxm import NXstxmWriter
from suitcase_nxstxm.errors import UnfinishedError

EXAMPLES = int(os.environ.get("HOSTILE_EXAMPLES", "2000"))
MEMORY = 500 * 2**20  # bytes beside what the test has at its beginning

pytestmark = [pytest.mark.timeout(1200), pytest.mark.filterwarnings("ignore")]


def attacks(share: float) -> Any:
    """So many of the examples."""
    return settings(
        max_examples=max(int(EXAMPLES * share), 1),
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],  # to shrink takes minutes; a plan is small as it is
        suppress_health_check=list(HealthCheck),
    )


LOGGERS = ("bluesky_ext", "suitcase_nxstxm")


class Listener(logging.Handler):
    """What the log says of memory; nothing else is kept, and nobody else hears it."""

    def __init__(self) -> None:
        super().__init__()
        self.memory: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        kind = record.exc_info[0] if isinstance(record.exc_info, tuple) else None
        if "MemoryError" in message or (kind is not None and issubclass(kind, MemoryError)):
            self.memory.append(message)


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    loggers = [logging.getLogger(name) for name in LOGGERS]
    for logger in loggers:
        logger.addHandler(listener)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_now("VmSize") + 8 * MEMORY, hard))  # threads reserve much of it
    yield listener
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    for logger in loggers:
        logger.removeHandler(listener)
        logger.propagate = True


def _now(what: str) -> int:
    """What the kernel says of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(what)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory that may be written to; the process works beside it."""
    (tmp_path / "here").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr("hostile.ROOT", str(tmp_path))
    write_frames(str(tmp_path / "frames.h5"))
    return tmp_path / "here"


def check_derived(docs: list[tuple[str, Any]]) -> None:
    """Every derived run has one stop, which counts what came; the last event is valid too.

    Stages validate the first one of a stream themselves, and all other documents: that takes a millisecond for each.
    """
    runs: dict[str, Counter[str]] = {}
    descriptors: dict[str, dict[str, Any]] = {}
    seq_nums: dict[tuple[str, str], set[int]] = {}
    last: tuple[str, Any] | None = None
    stops: Counter[str] = Counter()
    for name, doc in docs:
        if name == "start":
            runs[doc["uid"]] = Counter()
        elif name == "descriptor":
            descriptors[doc["uid"]] = doc
        elif name in ("event", "event_page"):
            stream = descriptors[doc["descriptor"]]
            numbers = [doc["seq_num"]] if name == "event" else doc["seq_num"]
            seq_nums.setdefault((stream["run_start"], stream["name"]), set()).update(numbers)
            assert doc["data"].keys() == doc["timestamps"].keys() == stream["data_keys"].keys()
            last = name, doc
            times = [doc["time"]] if name == "event" else doc["time"]
            assert all(isinstance(time, int | float | np.number) and time is not True for time in times)
        elif name == "stop":
            stops[doc["run_start"]] += 1
            runs[doc["run_start"]].update(doc["num_events"])
    assert stops == Counter(runs.keys())
    for run, counts in runs.items():
        assert counts == {stream: len(numbers) for (uid, stream), numbers in seq_nums.items() if uid == run}
    if last is not None:
        schema_validators[DocumentNames[last[0]]].validate(last[1])


def outside(place: Path) -> list[Path]:
    """What is beside the directory that may be written to, and was not there."""
    return [path for path in place.parent.rglob("*") if place not in (path, *path.parents)]


class Attack:
    """Feeds hostile documents to sinks, and looks at what they leave behind."""

    def __init__(self, place: Path, listener: Listener, runs: dict[str, Docs]) -> None:
        self.place, self.listener, self.runs = place, listener, runs
        for name in LOGGERS:  # not before: else pytest listens there, whose processes can't tell each other all text
            logging.getLogger(name).propagate = False
        self._before = outside(place)
        self._peak = _now("VmRSS") + MEMORY

    def __call__(self, plan: Plan, *sinks: Any, tag: str = "") -> list[tuple[Any, Any]]:
        docs, said = documents_of(plan, self.runs, tag)
        for line in said:
            note(ascii(line))
        before = pickle.dumps(docs)
        for sink in sinks:
            for name, doc in docs:
                sink(name, doc)
        assert pickle.dumps(docs) == before, "a document was changed"
        return docs

    def check(self) -> None:
        assert not self.listener.memory
        assert _now("VmHWM") < self._peak
        assert outside(self.place) == self._before


LOCATE = {"diameter": 5, "minmass": 200}
MASK = np.ones(SHAPE, bool)
MASK[8] = False


@dataclass
class Chain:
    """A stage, and those that get what it makes."""

    first: Stage
    others: tuple[Stage, ...] = ()

    def __post_init__(self) -> None:
        self.sinks = [collect(stage) for stage in (self.first, *self.others)]
        for other in self.others:
            self.first.subscribe(other)

    def __call__(self, name: str, doc: Any) -> None:
        self.first(name, doc)

    def made(self) -> list[list[tuple[str, Any]]]:
        """What each stage made since this was last asked for; what is open is closed."""
        for stage in (self.first, *self.others):
            stage.close()
        made = [list(sink) for sink in self.sinks]
        for sink in self.sinks:
            sink.clear()
        return made


def attack_stages(chains: list[Chain], runs: dict[str, Docs], share: float, place: Path, listener: Listener) -> None:
    """Attack stages with what is made of these runs, one chain in each example; good runs are as before."""

    def good() -> list[Any]:
        made = []
        for chain in chains:
            for docs in runs.values():
                feed(chain, docs)
                made.append([content(some) for some in chain.made()])
        return made

    expected = good()
    attack = Attack(place, listener, runs)

    @attacks(share)
    @given(plans(tuple(runs)), st.sampled_from(range(len(chains))))
    def hostile(plan: Plan, which: int) -> None:
        attack(plan, chains[which])
        for made in chains[which].made():
            check_derived(made)
        attack.check()

    hostile()
    assert same(good(), expected)


FORMS = ("events", "pages", "lists", "resource", "stream")
MORE: dict[str, Any] = {"handlers": HANDLERS, "patience": 0.0}


#: The geometry of the images.
PONI = Powder(shape=SHAPE).poni
#: A .cfg for spectra of 12 channels.
SHORT = CFG.replace(b"gain = 0.1", b"gain = 0.5").replace(b"xmin = 15", b"xmin = 2").replace(b"xmax = 60", b"xmax = 11")


def chains_of_images() -> list[Chain]:
    peaks = PeakTracker(KEY, **LOCATE, **MORE)
    return [
        Chain(ImageProcessor(KEY, np.full(SHAPE, 100.0), mask=MASK, **MORE)),
        Chain(ImageProcessor(KEY, "primary", name="less the last", **MORE), (Sparsifier(KEY),)),
        Chain(MaskApplier(KEY, MASK, np.nan, **MORE)),
        Chain(peaks, (TrackLinker(search_range=3), CrystalMap(search_range=3))),
        Chain(compose(ImageProcessor(KEY, "primary"), PeakTracker(KEY, **LOCATE), **MORE)),
        Chain(CrystalMapper(KEY, 5, windows={"y": [5], "x": [5], "dy": 3, "dx": 3}, **MORE)),
        Chain(AzimuthalIntegrator(KEY, PONI, 8, sectors=2, **MORE), (Diffractograms(KEY),)),
        Chain(FluorescenceFit(KEY, SHORT, **MORE), (FluorescenceMap(KEY, SHORT),)),
        Chain(LiveAnalysis(Mean, Means, data_keys=(KEY,), **MORE)),
    ]


def runs_of_rows() -> dict[str, Docs]:
    peaks = Chain(PeakTracker(KEY, **LOCATE), (TrackLinker(search_range=3),))
    feed(peaks, raw_run("events"))
    rows, tracks = peaks.made()
    return {"rows": rows, "tracks": tracks}


def chains_of_rows() -> list[Chain]:
    return [
        Chain(TrackLinker(search_range=3), (CrystalMap(shape=(2, 3)),)),
        Chain(CrystalMap(search_range=3)),
        Chain(CrystalMap(positions="setpoint")),
    ]


def test_stages_of_images(place: Path, listener: Listener) -> None:
    runs = {form: raw_run(form, str(place.parent / "frames.h5")) for form in FORMS}
    attack_stages(chains_of_images(), runs, 0.22, place, listener)


def test_stages_of_rows(place: Path, listener: Listener) -> None:
    attack_stages(chains_of_rows(), runs_of_rows(), 0.17, place, listener)


def test_a_catalogue(place: Path, listener: Listener, container: Any) -> None:
    runs = {form: raw_run(form) for form in ("events", "pages", "lists")}
    attack = Attack(place, listener, runs)
    numbers = itertools.count()
    sparse, sparsifier = SparseWriter(container), Sparsifier(KEY)
    sparsifier.subscribe(sparse)
    saver = save(container, backup=place)

    def saved(name: Any, doc: Any) -> None:
        with contextlib.suppress(ValueError):  # of a kind that is none, or a run that starts twice: its caller is told
            saver(name, doc)

    @attacks(0.003)
    @given(plans(tuple(runs)))
    def hostile(plan: Plan) -> None:
        attack(plan, saved, sparsifier, tag=f"-{next(numbers)}")
        saver.close()
        sparsifier.close()
        attack.check()

    hostile()
    feed(saver, runs["events"])
    saver.close()
    assert same(list(documents(container["events-run"])), runs["events"])
    before = len(sparse.artifacts)
    feed(sparsifier, runs["events"])
    assert len(sparse.artifacts) == before + 1


def test_files(place: Path, listener: Listener) -> None:
    runs = {"events": raw_run("events"), "pages": raw_run("pages"), "dict": stxm_run(False), "JSON": stxm_run(True)}
    attack = Attack(place, listener, runs)
    recorders = {
        prefix: Recorder(place, file_prefix=prefix.replace("/", "-"))
        for prefix in ("{uid}", "{sample}-{scan_id:03d}", "{sample}/{uid}")
    }

    @attacks(0.08)
    @given(plans(tuple(runs)), st.sampled_from(list(recorders)))
    def hostile(plan: Plan, prefix: str) -> None:
        recorder = recorders[prefix]
        failed = recorder.stats.failed
        with tempfile.TemporaryDirectory(dir=place) as directory:
            writer = NXstxmWriter(directory, prefix, overwrite=True)
            docs = attack(plan, recorder, writer)
            recorder.close()
            feed(writer, stxm_run(False))
            with contextlib.suppress(UnfinishedError):  # of runs without a stop
                writer.finish()
            with h5py.File(writer.artifacts["all"][-1]) as file:
                assert file["entry0/counter/data"][()].tolist() == [[0.0, 10.0, 20.0], [30.0, 40.0, 50.0]]
            attack.check()
        kept = sum(len(list(Recording(path))) for path in recorder.artifacts)
        assert kept + recorder.stats.failed - failed >= len(docs)
        for path in recorder.artifacts:
            path.unlink()
        recorder.artifacts.clear()

    hostile()


def test_maps_in_files(place: Path, listener: Listener) -> None:
    matplotlib.use("agg")
    runs = {form: raw_run(form) for form in ("events", "pages", "resource")}
    peaks, maps = PeakTracker(KEY, **LOCATE, **MORE), CrystalMap(search_range=3, directory=place)
    chains = [
        Chain(peaks, (maps,)),
        Chain(CrystalMapper(KEY, 5, windows={"y": [5], "x": [5], "dy": 3, "dx": 3}, directory=place, **MORE)),
    ]
    live = LiveMap(maps, peaks, directory=place)
    attack_stages(chains, runs, 0.006, place, listener)
    assert live.figure is not None
    live.close()
    endings = {path.name.removeprefix("events-run") for path in place.iterdir() if path.name.startswith("events-run")}
    assert {".nc", "-windows.nc", ".png"} <= endings


def test_what_comes_from_a_network(place: Path, listener: Listener) -> None:
    runs = {form: raw_run(form, str(place.parent / "frames.h5")) for form in FORMS}
    dispatcher = RemoteDispatcher("localhost:5577", readable_roots=[place.parent])
    chain = Chain(ImageProcessor(KEY, **MORE))
    filling, filled = Filling(HANDLERS), Collector()
    dispatcher.subscribe(chain)
    dispatcher.subscribe(lambda name, doc: [filled(*pair) for pair in filling(name, doc)])

    def sent(name: Any, doc: Any) -> None:
        try:
            payload = dumps(doc)
        except (TypeError, ValueError, OverflowError, RecursionError):
            return  # what no frame can hold comes from no network
        for said_again in (None, True)[: 1 + (name == "stop")]:
            dispatcher._process(str(name), memoryview(payload), said_again)  # noqa: SLF001

    attack = Attack(place, listener, runs)

    @attacks(0.591)
    @given(plans(tuple(runs)))
    def hostile(plan: Plan) -> None:
        attack(plan, sent)
        for made in chain.made():
            check_derived(made)
        filled.clear()
        attack.check()

    hostile()
    assert dispatcher.stats.refused > 0
    assert dispatcher.stats.malformed > 0
    feed(sent, runs["events"])
    (made,) = chain.made()
    feed(chain, runs["events"])
    assert same(content(made), content(chain.made()[0]))
    assert len([name for name, _ in filled if name == "event"]) == 6
    dispatcher.stop()
