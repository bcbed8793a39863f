"""Tables saved as runs."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from typing import Any

import pandas as pd
from event_model import compose_run

from bluesky_ext.engine.documents.descriptors import data_key
from bluesky_ext.storage import as_sink

#: Rows of one event_page.
PAGE = 10_000


class DataFrameDumper:
    """A writer of tables: each is saved as a run, one event for each row.

    Parameters
    ----------
    sink : Broker, Tiled container, directory, list or callable
        As for `bluesky_ext.as_sink`.

    Examples
    --------
    >>> import pandas as pd
    >>> from bluesky_ext import DataFrameDumper
    >>> documents = []
    >>> uid = DataFrameDumper(documents).dump_df(pd.DataFrame({"x": [1.5, 2.5]}), {"sample": "quartz"})
    >>> [name for name, _ in documents]
    ['start', 'descriptor', 'event_page', 'stop']
    """

    def __init__(self, sink: Any) -> None:
        self._sink = as_sink(sink)

    def dump_df(self, df: pd.DataFrame, metadata: Mapping[str, Any] | None = None) -> str:
        """Save a table, and return the uid of its run.

        Parameters
        ----------
        df : pandas.DataFrame
            Numbers, booleans and strings, a row an event; the index is not saved.
        metadata : dict, optional
            What the start document says beside.
        """
        lists: dict[str, list[Any]] = {str(name): df[name].tolist() for name in df}
        for name, values in lists.items():
            if not all(isinstance(value, str | bool | int | float) for value in values):
                raise TypeError(f"column {name!r} of dtype {df[name].dtype} can't be saved: make it numbers or strings")
        run = compose_run(metadata=copy.deepcopy(dict(metadata or {})))
        self._sink("start", dict(run.start_doc))
        if len(df):
            stream = run.compose_descriptor(
                name="primary", data_keys={name: data_key(values[0], "DataFrame") for name, values in lists.items()}
            )
            self._sink("descriptor", dict(stream.descriptor_doc))
            now = time.time()
            for first in range(0, len(df), PAGE):
                page = {name: values[first : first + PAGE] for name, values in lists.items()}
                length = min(PAGE, len(df) - first)
                self._sink(
                    "event_page",
                    dict(
                        stream.compose_event_page(
                            data=page,
                            timestamps={name: [now] * length for name in page},
                            seq_num=list(range(first + 1, first + 1 + length)),
                            time=[now] * length,
                            validate=False,  # they were checked above; event-model takes 0.3 ms a row
                        )
                    ),
                )
        self._sink("stop", dict(run.compose_stop()))
        return run.start_doc["uid"]
