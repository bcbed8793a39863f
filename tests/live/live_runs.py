"""Runs made by hand, for the tests of this folder."""

from __future__ import annotations

import event_model
import numpy as np


def run_of(xs, *, page=0, streams=("primary",), stop=True):
    """A run with these values of x, in events or pages of so many."""
    bundle = event_model.compose_run(validate=False)
    docs = [("start", bundle.start_doc)]
    made = {}
    for name in streams:
        keys = {
            "x": {"source": "sim", "dtype": "array" if np.ndim(xs[0]) else "number", "shape": list(np.shape(xs[0]))}
        }
        made[name] = bundle.compose_descriptor(name=name, data_keys=keys, validate=False)
        docs.append(("descriptor", made[name].descriptor_doc))
    for stream in made.values():
        events = [stream.compose_event(data={"x": x}, timestamps={"x": 0.0}, validate=False) for x in xs]
        if page:
            pages = [event_model.pack_event_page(*events[at : at + page]) for at in range(0, len(xs), page)]
            docs += [("event_page", one) for one in pages]
        else:
            docs += [("event", one) for one in events]
    return [*docs, ("stop", bundle.compose_stop(validate=False))] if stop else docs


def feed(analysis, docs):
    for name, doc in docs:
        analysis(name, doc)


def reducer_of(analysis):
    return analysis.latest.reducer
