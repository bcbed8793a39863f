"""Fluorescence: spectra fitted one by one beside PyMca's batches, a known alloy, and maps from documents."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import event_model
import h5py
import numpy as np

from benchmarks.runner import Figure, Pair, at_least, at_most, measure
from bluesky_ext import FluorescenceFit, FluorescenceMap
from bluesky_ext.sim.fluorescence import FluorescenceSample
from bluesky_ext.spectra.fluorescence import fit_spectra, fluorescence_model
from bluesky_ext.spectra.fluorescence.background import background
from bluesky_ext.spectra.fluorescence.configuration import parsed
from bluesky_ext.spectra.fluorescence.theory import linear

#: Where the measured spectra and their configurations are, with how many times faster than PyMca each is to be.
DATA = Path(os.environ.get("NANOMAX_DATA", "nanomax"))
CONFIGURATIONS = {"fit_config_scan_000027_0.1_second_some_elements_removed.cfg": 4.0, "0001_setup_000060.cfg": 12.0}
SPECTRUM, SETUP, SNAPSHOT, RATE = 95, 2.0, 20, 5000  # us, s, ms, points/s
KEY = "mca"
#: Twelve lines.
ELEMENTS = dict.fromkeys(("P", "S", "Cl", "K", "Ca", "Ti", "Cr", "Mn", "Fe", "Ni", "Cu", "Zn"), 0.002)


def main() -> Iterator[Figure]:
    if DATA.exists():  # the measured spectra are not in the package
        yield from _measured()
    for part in (_steel, _snapshot, _whole_path):
        yield from part()


def _measured() -> Iterator[Figure]:
    with h5py.File(DATA / "scan_000008_xspress3.hdf5") as file:
        spectra = file["/entry/instrument/xspress3/data"][:, 3, :].astype(float)
    for name, target in CONFIGURATIONS.items():
        cfg = (DATA / name).read_bytes()
        model = fluorescence_model(cfg)
        fitter = _pymca(cfg)
        what = f"{model.shapes.shape[1]} channels and {len(model.lines)} lines, a spectrum"
        pair = Pair(
            f"{what}, against PyMca's batch",
            lambda model=model: [model.fit(one) for one in spectra],
            lambda fitter=fitter: _silently(fitter, spectra),
            target=target,
            per_call=len(spectra),
            rounds=3,
        )
        figure = measure(pair).figure
        yield figure
        yield at_most(f"{what}, of that ours", (figure.ours or 0.0) * 1e6, "us", SPECTRUM)
        yield at_most("  setting up, in a new process", median(_setup(DATA / name) for _ in range(3)), "s", SETUP)
        yield at_most("  the residual over PyMca's, in the worst spectrum", _residuals(cfg, spectra), "x", 1 + 1e-9)


def _residuals(cfg: bytes, spectra: np.ndarray) -> float:
    model = fluorescence_model(cfg)
    ours, theirs = fit_spectra(spectra, cfg), fit_spectra(spectra, cfg, refit="pymca")
    region = spectra[:, model.first : model.n_channels]
    net = region - [background(one, model.n_smooth, model.width, model.anchors) for one in region]
    left = [np.linalg.norm(net - one.areas @ model.shapes, axis=1) for one in (ours, theirs)]
    return float((left[0] / left[1]).max())


def _steel() -> Iterator[Figure]:
    from PyMca5 import PyMcaDataDir

    folder = Path(PyMcaDataDir.PYMCA_DATA_DIR)
    words = (folder / "Steel.spe").read_text().split("$DATA:")[1].split()
    cfg = (folder / "Steel.cfg").read_bytes().replace(b"usemultilayersecondary = 0", b"usemultilayersecondary = 2")
    fits = fit_spectra(np.array(words[2 : 3 + int(words[1])], float), cfg)
    found = dict(zip(fits.lines, fits.mass_fractions[0].tolist(), strict=True))
    known = {"Cr K": 0.1837, "Fe Ka": 0.654, "Ni K": 0.1235, "Mn K": 0.01619}
    worst = max(abs(found[line] / value - 1) for line, value in known.items())
    yield at_most("how far the fractions of a known steel are off, the worst", worst * 100, "%", 10)


def _snapshot() -> Iterator[Figure]:
    side, lines = 200, 12
    maps = FluorescenceMap(KEY)
    documents = _documents(side * side, (lines,), f"{KEY}_areas", [side, side])
    for name, doc in documents:
        if name == "descriptor":
            keys = doc["data_keys"]
            doc["data_keys"] = {
                **keys,
                **dict.fromkeys((f"{KEY}_uncertainties", f"{KEY}_massfractions"), keys[f"{KEY}_areas"]),
            }
        elif name == "event":
            areas = np.arange(lines) + float(doc["seq_num"])
            doc["data"] |= {f"{KEY}_{what}": areas for what in ("areas", "uncertainties", "massfractions")}
        if name != "stop":
            maps(name, doc)
            last = doc
    took = []
    for _ in range(9):  # each with one more event
        maps("event", last)
        began = time.thread_time()
        maps.publish()
        took.append(time.thread_time() - began)
    what = f"a snapshot of {side} x {side} points with {lines} lines"
    yield at_most(what, median(took) * 1e3, "ms", SNAPSHOT)


def _whole_path() -> Iterator[Figure]:
    """Documents in, maps out: pages of events, and frames in a file."""
    n_points = 8000
    sample = FluorescenceSample(elements=ELEMENTS)
    mean = np.repeat(sample.expected(0.0, 0.0)[np.newaxis] / 4, 4, axis=0)
    spectra = np.random.default_rng(0).poisson(mean, (100, *mean.shape)).astype(np.uint32)
    with tempfile.TemporaryDirectory() as folder:
        for what, documents in (
            ("event pages", _pages(spectra, n_points)),
            ("stream_datum", _streamed(spectra, n_points, Path(folder) / "spectra.h5")),
        ):
            fit, maps = FluorescenceFit(KEY, sample.cfg), FluorescenceMap(KEY)
            fit.subscribe(maps)
            began = time.thread_time()
            for name, doc in documents:
                fit(name, doc)
            rate = n_points / (time.thread_time() - began)
            points = maps.publish().tree["map"]["parameters"]["Fe K"]["values"]
            assert len(points) == n_points, (len(points), fit.stats)  # noqa: S101
            named = f"{what} of 4 x 2048 channels to maps of {len(fit.lines)} lines"
            yield at_least(named, rate, "points/s", RATE)


def _documents(n: int, shape: tuple[int, ...], key: str, grid: list[int] | None = None) -> Iterator[tuple[str, Any]]:
    """Events of a scan without their arrays."""
    grid = grid or [n // 100, 100]
    metadata = {"shape": grid, "extents": [[0, 1], [0, 1]], "snaking": [False, False], "motors": ["y", "x"]}
    bundle = event_model.compose_run(metadata=metadata, validate=False)
    number = {"source": "sim", "dtype": "number", "shape": []}
    keys = {"y": number, "x": number, key: {"source": "sim", "dtype": "array", "shape": list(shape)}}
    objects = {name: [name] for name in keys}
    stream = bundle.compose_descriptor(name="primary", data_keys=keys, object_keys=objects, validate=False)
    yield "start", bundle.start_doc
    yield "descriptor", stream.descriptor_doc
    y, x = (np.linspace(0, 1, length) for length in grid)
    for at in range(n):
        row, column = divmod(at, grid[1])
        yield (
            "event",
            {
                "uid": f"u{at}",
                "descriptor": stream.descriptor_doc["uid"],
                "seq_num": at + 1,
                "time": 1.0,
                "data": {"y": float(y[row]), "x": float(x[column])},
                "timestamps": {"y": 1.0, "x": 1.0, key: 1.0},
                "filled": {},
            },
        )
    yield (
        "stop",
        {
            "uid": "stop",
            "time": 2.0,
            "run_start": bundle.start_doc["uid"],
            "exit_status": "success",
            "num_events": {"primary": n},
        },
    )


def _pages(spectra: np.ndarray, n: int) -> list[tuple[str, Any]]:
    documents, held = [], []
    for name, doc in _documents(n, spectra.shape[1:], KEY):
        if name == "event":
            doc["data"][KEY] = spectra[doc["seq_num"] % len(spectra)]
            held.append(doc)
            if len(held) == 100:
                documents.append(("event_page", event_model.pack_event_page(*held)))
                held = []
        else:
            documents.append((name, doc))
    return documents


def _streamed(spectra: np.ndarray, n: int, path: Path) -> list[tuple[str, Any]]:
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", (n, *spectra.shape[1:]), spectra.dtype, chunks=(1, *spectra.shape[1:]))
        for first in range(0, n, len(spectra)):
            data[first : first + len(spectra)] = spectra
    documents: list[tuple[str, Any]] = []
    for name, doc in _documents(n, spectra.shape[1:], KEY):
        if name == "descriptor":
            doc["data_keys"][KEY] |= {"external": "STREAM:", "dtype_numpy": spectra.dtype.str}
            descriptor = doc["uid"]
        elif name == "event":
            del doc["timestamps"][KEY]
        documents.append((name, doc))
        if name == "descriptor":
            resource = {
                "uid": "resource",
                "data_key": KEY,
                "mimetype": "application/x-hdf5",
                "uri": path.absolute().as_uri().replace("file:///", "file://localhost/"),
                "parameters": {"dataset": "data", "chunk_shape": [1, *spectra.shape[1:]]},
                "run_start": documents[0][1]["uid"],
            }
            documents.append(("stream_resource", resource))
            for first in range(0, n, 100):
                span = {"start": first, "stop": first + 100}
                datum = {"uid": f"resource/{first}", "stream_resource": "resource", "descriptor": descriptor}
                seq_nums = {"start": first + 1, "stop": first + 101}
                documents.append(("stream_datum", {**datum, "indices": span, "seq_nums": seq_nums}))
    return documents


def _pymca(cfg: bytes) -> Any:
    from PyMca5.PyMcaPhysics.xrf.FastXRFLinearFit import FastXRFLinearFit

    fitter = FastXRFLinearFit()
    with contextlib.redirect_stdout(io.StringIO()):
        fitter.setFitConfiguration(linear(parsed(cfg)))
    return fitter


def _silently(fitter: Any, spectra: np.ndarray) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        fitter.fitMultipleSpectra(y=spectra, weight=0, refit=1, concentrations=True, save=False)


def _setup(path: Path) -> float:
    """How long it takes in a new process to make a model, which is then ready to fit."""
    code = (
        "import sys, time; import PyMca5.PyMcaPhysics.xrf.ClassMcaTheory, bluesky_ext.spectra.fluorescence as f\n"
        "began = time.process_time(); f.fluorescence_model(open(sys.argv[1], 'rb').read())\n"
        "print(time.process_time() - began)"
    )
    return float(subprocess.run([sys.executable, "-c", code, path], capture_output=True, check=True, text=True).stdout)
