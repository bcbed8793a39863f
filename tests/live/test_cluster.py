"""The same analysis on a dask cluster: images go as references, and a worker that dies costs a retry."""

from __future__ import annotations

import os
import signal
from collections import Counter

import event_model
import h5py
import numpy as np
import pytest

from bluesky_ext import LiveAnalysis

distributed = pytest.importorskip("distributed")

EVENTS = 30


class Sum:
    """The sum of an image that it reads itself; kills its process once."""

    def __init__(self, parameters):
        self.flag = parameters["flag"].value

    def process_event(self, event):
        if event.event_number == EVENTS // 2:
            try:
                os.close(os.open(self.flag, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return int(event.data["image"].sum())
            os.kill(os.getpid(), signal.SIGKILL)
        return int(event.data["image"].sum())


class Sums:
    def __init__(self):
        self.results = []

    def process_result(self, result):
        self.results.append((result.event_number, result.payload))


def run_with_files(path):
    """A run whose images are in an HDF5 file, and their sums by seq_num."""
    images = np.random.default_rng(0).integers(0, 1000, (EVENTS, 64, 64), np.uint16)
    with h5py.File(path, "w") as file:
        file["frames"] = images
    bundle = event_model.compose_run(validate=False)
    key = {"source": "sim", "dtype": "array", "shape": [1, 64, 64], "dtype_numpy": "<u2", "external": "STREAM:"}
    stream = bundle.compose_descriptor(name="primary", data_keys={"image": key}, validate=False)
    resource = bundle.compose_stream_resource(
        data_key="image",
        mimetype="application/x-hdf5",
        uri=f"file://localhost{path}",
        parameters={"dataset": "frames", "chunk_shape": [1, 64, 64]},
    )
    docs = [("start", bundle.start_doc), ("descriptor", stream.descriptor_doc)]
    docs.append(("stream_resource", resource.stream_resource_doc))
    for number in range(EVENTS):
        datum = resource.compose_stream_datum(
            indices={"start": number, "stop": number + 1}, seq_nums={"start": number + 1, "stop": number + 2}
        )
        docs.append(("stream_datum", datum | {"descriptor": stream.descriptor_doc["uid"]}))
    docs.append(("stop", bundle.compose_stop(validate=False) | {"num_events": {"primary": EVENTS}}))
    return docs, {number + 1: int(image.sum()) for number, image in enumerate(images)}


@pytest.mark.timeout(180)
@pytest.mark.filterwarnings("ignore")
def test_a_worker_of_the_cluster_that_dies_costs_a_retry(tmp_path):
    docs, sums = run_with_files(tmp_path / "frames.h5")
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, distributed.Client(cluster) as client:
        given = {"flag": str(tmp_path / "killed")}
        with LiveAnalysis(Sum, Sums, executor=client, parameters=given) as analysis:
            for name, doc in docs:
                analysis(name, doc)
            results = analysis.latest.reducer.results
    assert (tmp_path / "killed").exists()
    assert Counter(results) == Counter(sums.items())
