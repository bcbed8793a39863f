"""Documents of runs, for the tests of all rooms, and their comparison."""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import event_model
import h5py
import numpy as np

from bluesky_ext.storage import documents, save

Docs = list[tuple[str, dict[str, Any]]]

IMAGE = (32, 40)


def described(value: Any) -> dict[str, Any]:
    array = np.asarray(value)
    dtype = "array" if array.ndim else {"U": "string", "b": "boolean", "i": "integer"}.get(array.dtype.kind, "number")
    return {"source": "sim", "dtype": dtype, "shape": [*array.shape], "dtype_numpy": array.dtype.str}


def run_of(
    rows: list[dict[str, Any]], *, stop: bool = True, uid: str | None = None, time: float | None = None, **metadata: Any
) -> Docs:
    """A run with one stream, with an event for each row of data."""
    bundle = event_model.compose_run(uid=uid, time=time, metadata=metadata, validate=False)
    keys = {key: described(value) for key, value in rows[0].items()}
    stream = bundle.compose_descriptor(name="primary", data_keys=keys, validate=False)
    docs: Docs = [("start", bundle.start_doc), ("descriptor", stream.descriptor_doc)]
    for n, data in enumerate(rows, start=1):
        event = stream.compose_event(data=data, timestamps=dict.fromkeys(data, 10.0 + n), time=10.0 + n, validate=False)
        docs.append(("event", event))
    if stop:
        docs.append(("stop", bundle.compose_stop(validate=False)))
    return docs


def streamed_run(
    path: Path, frames: np.ndarray, rows: Sequence[dict[str, Any]] = (), *, said: int | None = None, key: str = "image"
) -> Docs:
    """A run whose frames are in an HDF5 file, and told of in one stream_datum that comes after the events.

    There is an event for each row of data; without rows it is a fly scan. The documents may say another number of
    frames than there are in the file.
    """
    with h5py.File(path, "w") as file:
        file["frames"] = frames
    said = len(frames) if said is None else said
    run = event_model.compose_run(validate=False)
    keys = {key: described(frames[0]) | {"external": "STREAM:"}}
    keys |= {name: described(value) for row in rows[:1] for name, value in row.items()}
    stream = run.compose_descriptor(name="primary", data_keys=keys, validate=False)
    resource = run.compose_stream_resource(
        data_key=key,
        mimetype="application/x-hdf5",
        uri=f"file://localhost{path}",
        parameters={"dataset": "frames", "chunk_shape": (1, *frames.shape[1:])},
    )
    datum = resource.compose_stream_datum(
        indices={"start": 0, "stop": said}, seq_nums={"start": 1, "stop": said + 1}, descriptor=stream.descriptor_doc
    )
    return [
        ("start", run.start_doc),
        ("descriptor", stream.descriptor_doc),
        *(
            ("event", stream.compose_event(data=row, timestamps=dict.fromkeys(row, 1.0), validate=False))
            for row in rows
        ),
        ("stream_resource", resource.stream_resource_doc),
        ("stream_datum", datum),
        ("stop", run.compose_stop(validate=False)),
    ]


def images(dtype: Any, n: int, shape: tuple[int, ...] = IMAGE) -> np.ndarray:
    """Random ones, over the whole range of the dtype."""
    rng = np.random.default_rng(n)
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return rng.random(shape) < 0.5
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        return rng.integers(limits.min, limits.max, shape, kind.newbyteorder("="), endpoint=True).astype(kind)
    values = rng.normal(size=shape).astype(kind)
    values.flat[0] = np.nan
    return values


def referring_run(uid: str | None = None) -> Docs:
    """A run that refers to files that are not there, by every kind of document that does."""
    run = event_model.compose_run(uid=uid, validate=False)
    external = {"source": "sim", "dtype": "array", "shape": [1, 4], "external": "FILESTORE:"}
    keys = {"tiff": external, "hdf5": external | {"external": "STREAM:"}}
    stream = run.compose_descriptor(name="primary", data_keys=keys, validate=False)
    resource = run.compose_resource(
        spec="AD_TIFF", root="/not", resource_path="there", resource_kwargs={"template": "%s%s_%d.tiff"}
    )
    streamed = run.compose_stream_resource(
        mimetype="application/x-hdf5", uri="file://localhost/not/there.h5", data_key="hdf5", parameters={"dataset": "a"}
    )
    datum = resource.compose_datum(datum_kwargs={"point_number": 0})
    event = stream.compose_event(
        data={"tiff": datum["datum_id"]}, timestamps={"tiff": 1.0}, filled={"tiff": False}, validate=False
    )
    stream_datum = streamed.compose_stream_datum(
        indices={"start": 0, "stop": 1}, seq_nums={"start": 1, "stop": 2}, descriptor=stream.descriptor_doc
    )
    page = {"resource": resource.resource_doc["uid"], "datum_id": ["other"], "datum_kwargs": {"point_number": [1]}}
    return [
        ("start", run.start_doc),
        ("descriptor", stream.descriptor_doc),
        ("resource", resource.resource_doc),
        ("datum", datum),
        ("datum_page", page),
        ("stream_resource", streamed.stream_resource_doc),
        ("event", event),
        ("stream_datum", stream_datum),
        ("stop", run.compose_stop(validate=False)),
    ]


def uid_of(docs: Docs) -> str:
    return docs[0][1]["uid"]


def feed(sink: Any, docs: Docs) -> None:
    for name, document in docs:
        sink(name, document)


def saved(catalog: Any, docs: Docs, backup: Path, **options: Any) -> Any:
    """The run in the catalogue, after it was saved without a trouble."""
    with save(catalog, backup=backup, **options) as sink:
        feed(sink, docs)
    assert sink.backups == []
    assert list(backup.iterdir()) == []
    return catalog[uid_of(docs)]


def flushed(sink: Any, docs: Docs) -> None:
    """Wait until the catalogue has these documents; the test has a time limit."""
    uid, uids = uid_of(docs), [doc["uid"] for _, doc in docs]
    while uid not in sink.catalog or [doc["uid"] for _, doc in documents(sink.catalog[uid])] != uids:
        pass


def assert_same(one: Any, other: Any, where: str = "") -> None:
    """Equal to the last bit, of the same types and dtypes, in the same order, all the way down."""
    if type(one) is not OrderedDict:  # ophyd's; every mapping comes back as dict
        assert type(one) is type(other), f"{where}: {type(one)} and {type(other)}"
    if isinstance(one, dict):
        assert_same(list(one), list(other), where)
        for key in one:
            assert_same(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for n, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{where}/{n}")
    elif isinstance(one, np.ndarray | np.generic):
        assert (one.dtype, one.dtype.str, one.shape) == (other.dtype, other.dtype.str, other.shape), where
        assert one.tobytes() == other.tobytes(), where
    elif isinstance(one, float | complex):
        assert struct.pack("<dd", one.real, one.imag) == struct.pack("<dd", other.real, other.imag), where
    else:
        assert one == other, where


def fly(detector: Any, events: int, frames: int) -> Any:
    """A fly scan of a detector of ophyd-async, with so many frames an event."""

    from ophyd_async.core import TriggerInfo

    @bpp.stage_decorator([detector])
    @bpp.run_decorator()
    def plan():
        trigger = TriggerInfo(number_of_events=events, livetime=0.001, deadtime=0.001, collections_per_event=frames)
        yield from bps.prepare(detector, trigger, wait=True)
        yield from bps.declare_stream(detector, name="primary")
        yield from bps.kickoff(detector, wait=True)
        yield from bps.collect_while_completing([detector], [detector], flush_period=0.05, stream_name="primary")

    return plan()
