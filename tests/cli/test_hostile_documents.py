"""What strangers may send to a server: it costs no memory, gives no file away, and the next run has its result."""

from __future__ import annotations

import os
import re
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from processes import Command
from runs import Docs, run_of, streamed_run

from bluesky_ext.transport import Proxy, Publisher, dumps

MODULE = """
import sys

import numpy as np

from bluesky_ext import CrystalMap, ImageProcessor, PeakTracker


def maps():
    ip, pt, cm = ImageProcessor("camera"), PeakTracker("camera", 5), CrystalMap(search_range=5)
    ip.subscribe(pt)
    pt.subscribe(cm)
    cm.subscribe(say)
    ip.subscribe(say)
    return ip


def say(name, doc):
    if name == "event" and "camera" in doc["data"]:
        print("total", int(np.sum(doc["data"]["camera"])), file=sys.stderr, flush=True)
    elif name == "stop":
        print("stop of", doc["reason"], doc["num_events"], file=sys.stderr, flush=True)
"""

COUNTED = ("documents were refused", "messages were no documents")

SECRET = 777  # of each pixel of an image that nobody may read
FRAMES = np.full((2, 8, 8), SECRET, "u2")
HUGE = 10**12


class Served:
    """A server with one readable root, and a stranger who can publish."""

    def __init__(self, directory: Path, publisher: Publisher, server: Command) -> None:
        self.root, self.outside = directory / "data", directory / "other"
        self._publisher, self._server = publisher, server
        self._runs = self.refused = self.malformed = 0

    def send(self, docs: Docs) -> None:
        for name, doc in docs:
            self._publisher(name, doc)

    def analyses(self, docs: Docs | None = None) -> None:
        """A good run that comes now has its result."""
        self._runs += 1
        docs = docs or run_of([{"camera": np.full((8, 8), n, "u2"), "x": float(n)} for n in range(3)])
        reason = f"good run {self._runs}"
        self.send([*docs[:-1], ("stop", {**docs[-1][1], "reason": reason})])
        self._server.wait_for(f"stop of {reason}")
        self._server.wait_for(f"stop of {reason}")

    @property
    def said(self) -> str:
        return "\n".join(self._server.said)

    @property
    def peak(self) -> int:
        """The most memory that it has had, in bytes."""
        status = Path(f"/proc/{self._server.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("hostile")) as served:
        yield served
    last = served.said.splitlines()[-1]
    counts = {kind: re.search(rf"(\d+) {kind}", last) for kind in COUNTED}
    assert {kind: int(found[1]) if found else 0 for kind, found in counts.items()} == {
        "documents were refused": served.refused,
        "messages were no documents": served.malformed,
    }


@contextmanager
def serving(directory: Path) -> Iterator[Served]:
    """A server, until what strangers send has been sent."""
    (directory / "hostile.py").write_text(MODULE)
    for name in ("data", "other"):
        (directory / name).mkdir()
    with Proxy(block=True) as proxy:
        server = Command(directory, "serve", "hostile:maps", "--address", proxy.out_address, "--readable-root", "data")
        try:
            server.wait_for("connected")
            send = {"prefix": b"raw", "block": True, "serializer": lambda doc: doc.get("payload") or dumps(doc)}
            with Publisher(proxy.in_address, **send) as publisher:
                served = Served(directory, publisher, server)
                served.analyses()
                yield served
            assert server.end(signal.SIGTERM) == 0
        finally:
            server.close()


def changed(docs: Docs, kind: str, **changes: Any) -> Docs:
    return [(name, {**doc, **changes} if name == kind else doc) for name, doc in docs]


def numbers(**metadata: Any) -> Docs:
    return run_of([{"camera": np.zeros((8, 8), "u2"), "x": float(n)} for n in range(3)], **metadata)


def described(shape: list[int]) -> Docs:
    about = {"source": "sim", "dtype": "array", "shape": shape, "external": "STREAM:"}
    return changed(numbers(), "descriptor", data_keys={"camera": about, "x": about})


def streamed(path: Path, where: Path | None = None, **parameters: Any) -> Docs:
    """A run whose frames are in a file; it may say that they are elsewhere."""
    docs = streamed_run(path, FRAMES, key="camera")
    about = {"uri": f"file://localhost{where or path}"}
    if parameters:
        about |= {"mimetype": "multipart/related;type=image/tiff", "parameters": {"chunk_shape": (1,), **parameters}}
    return changed(docs, "stream_resource", **about)


def of_old(spec: str, root: Path | str, path: str, **kwargs: Any) -> Docs:
    docs = run_of([{"camera": "r/1"}])
    keys = {"camera": {"source": "sim", "dtype": "array", "shape": [8, 8], "external": "FILESTORE:"}}
    resource = {"spec": spec, "root": str(root), "resource_path": path, "resource_kwargs": kwargs, "uid": "r"}
    datum = {"datum_id": "r/1", "resource": "r", "datum_kwargs": {"point_number": 0}}
    docs[2][1]["filled"] = {"camera": False}
    docs = changed(docs, "descriptor", data_keys=keys)
    return [*docs[:2], ("resource", resource), ("datum", datum), *docs[2:]]


def linked(served: Served, make: Callable[[h5py.File], object]) -> Docs:
    """A run in a file below the root that leads to one outside."""
    docs = streamed(served.root / "links.h5")
    with h5py.File(served.root / "links.h5", "w") as file:
        make(file)
    return docs


def virtual(file: h5py.File, source: Path) -> None:
    layout = h5py.VirtualLayout(FRAMES.shape, FRAMES.dtype)
    layout[:] = h5py.VirtualSource(source, "frames", FRAMES.shape)
    file.create_virtual_dataset("frames", layout)


def at(path: Path, make: Callable[[Path], object]) -> Path:
    if not os.path.lexists(path):
        make(path)
    return path


def secret(served: Served) -> Path:
    streamed(served.outside / "secret.h5")
    return served.outside / "secret.h5"


PAGE = {"uid": [], "time": [], "descriptor": "d", "data": {}, "timestamps": {}, "filled": {}}
TEMPLATES = ["{:>2000000000}.tif", "%2000000000d.tif", "{0.__class__.__mro__}", "{:{}}"]

BEYOND = {
    "40 MiB of empty dicts": lambda s: [
        ("start", {"uid": "x", "time": 0.0, "payload": b"\xdd" + struct.pack(">I", 40 * 2**20) + b"\x80" * 40 * 2**20})
    ],
    **{f"template {t}": lambda s, t=t: streamed(s.root / "a.h5", template=t) for t in TEMPLATES},
    "template of old": lambda s: of_old("AD_TIFF", s.root, "", template="%s%s%2000000000d", filename="a"),
    "frames of a stream_datum": lambda s: changed(
        streamed(s.root / "a.h5"),
        "stream_datum",
        indices={"start": 0, "stop": HUGE},
        seq_nums={"start": 1, "stop": HUGE + 1},
    ),
    "frames backwards": lambda s: changed(
        streamed(s.root / "a.h5"), "stream_datum", indices={"start": 5, "stop": 0}, seq_nums={"start": 6, "stop": 1}
    ),
    "shape": lambda s: described([HUGE, HUGE, 8]),
    "negative shape": lambda s: described([-1, 8]),
    "multiplier": lambda s: streamed(s.root / "a.h5", template="{:d}.tif", multiplier=HUGE),
    "chunk_shape": lambda s: streamed(s.root / "a.h5", template="{:d}.tif", multiplier=2, chunk_shape=(0,)),
    "files of old": lambda s: of_old("AD_TIFF", s.root, "", template="%s%s%d", filename="a", frame_per_point=HUGE),
    "seq_num": lambda s: changed(numbers(), "event", seq_num=10**18),
    "texts in a list": lambda s: changed(numbers(), "event", data={"camera": [[0] * 10_000, ["x" * 10**5]], "x": 0.0}),
    "points of a scan": lambda s: numbers(shape=[10**6, 10**6], num_points=HUGE),
    "data keys": lambda s: changed(numbers(), "descriptor", data_keys={f"k{n}": {} for n in range(20_000)}),
    "rows": lambda s: [("event_page", {**PAGE, "seq_num": list(range(1_000_001))})],
    "streams": lambda s: changed(numbers(), "stop", num_events={f"s{n}": 10**9 for n in range(20_000)}),
}
ELSEWHERE = {
    "outside": lambda s: streamed(secret(s)),
    "through ..": lambda s: streamed(secret(s), s.root / ".." / "other" / "secret.h5"),
    "FIFO": lambda s: streamed(s.root / "a.h5", at(s.root / "fifo", os.mkfifo)),
    "device": lambda s: streamed(s.root / "a.h5", Path("/dev/zero")),
    "/proc": lambda s: streamed(s.root / "a.h5", Path("/proc/self/environ")),
    "symlink": lambda s: streamed(secret(s), at(s.root / "symlink", lambda path: path.symlink_to(secret(s)))),
    "template with ..": lambda s: streamed(s.root / "a.h5", s.root, template="/../other/secret_{:d}.tif"),
    "filename with ..": lambda s: streamed(s.root / "a.h5", s.root, template="/%s%d.tif", filename="../other/secret_"),
    "resource outside": lambda s: of_old("AD_HDF5", s.outside, "secret.h5"),
    "absolute resource_path": lambda s: of_old("AD_HDF5", s.root, str(secret(s))),
    "template of old with ..": lambda s: of_old(
        "AD_TIFF", s.root, "", template="%s../other/%s_%d.tif", filename="secret"
    ),
    "template of old with a dot": lambda s: of_old("AD_TIFF", s.root, "", template="%s%s.%c/other/secret_0.tif"),
    "template of old that begins at /": lambda s: of_old("AD_TIFF", s.root, "", template=f"{s.outside}/%.0s%s_%d.tif"),
}


#: What might be true, and is taken.
WITHIN = {
    "a gap": lambda s: changed(numbers(), "event", seq_num=10**9),
    "a scan that has hardly begun": lambda s: numbers(shape=[10**4, 10**4], extents=[[0, 1], [0, 1]]),
    "events that never came": lambda s: changed(numbers(), "stop", num_events={f"s{n}": 10**9 for n in range(1000)}),
    "a list of losses": lambda s: changed(
        numbers(), "stop", lost_counts={"primary": 10**30}, lost={"primary": [10**9]}
    ),
}


@pytest.mark.parametrize("documents", WITHIN)
def test_what_may_be_true_costs_little(served, documents):
    before = served.peak
    served.send(WITHIN[documents](served))
    served.analyses()
    assert served.peak - before < 250e6


@pytest.mark.parametrize("attack", [*BEYOND, *ELSEWHERE])
def test_what_is_refused_costs_nothing_and_gives_nothing_away(served, attack):
    tifffile.imwrite(served.outside / "secret_0.tif", FRAMES[0])
    before, docs = served.peak, {**BEYOND, **ELSEWHERE}[attack](served)
    served.send(docs)
    served.analyses()
    served.malformed += any("payload" in doc for _, doc in docs)
    served.refused += 3 if attack in ("seq_num", "texts in a list") else not any("payload" in doc for _, doc in docs)
    assert str(SECRET * 64) not in served.said
    assert served.peak - before < 250e6


LINKS = {
    "external link": lambda s, f: f.__setitem__("frames", h5py.ExternalLink(secret(s), "frames")),
    "soft link to an external link": lambda s, f: (
        f.__setitem__("there", h5py.ExternalLink(secret(s), "/")),
        f.__setitem__("frames", h5py.SoftLink("/there/frames")),
    ),
    "virtual dataset": lambda s, f: virtual(f, secret(s)),
    "external storage": lambda s, f: f.create_dataset(
        "frames", FRAMES.shape, FRAMES.dtype, external=[(at(s.outside / "raw", FRAMES.tofile), 0, FRAMES.nbytes)]
    ),
}


@pytest.mark.parametrize("link", LINKS)
def test_a_file_that_leads_outside_is_not_read(served, link):
    served.send(linked(served, lambda file: LINKS[link](served, file)))
    served.analyses()
    assert "may not be read (only below" in served.said
    assert str(SECRET * 64) not in served.said


def test_files_below_the_root_are_read(served):
    docs = streamed_run(served.root / "frames.h5", np.full((2, 8, 8), 3, "u2"), key="camera")
    with h5py.File(served.root / "master.h5", "w") as file:
        file["frames"] = h5py.ExternalLink("frames.h5", "frames")
    served.analyses(changed(docs, "stream_resource", uri=f"file://localhost{served.root}/master.h5"))
    assert served.said.count(f"total {3 * 64}") == 2
