"""What each kind of document belongs to."""

from __future__ import annotations

#: The key by which each kind of document names what it belongs to: a run, a descriptor or a resource. The resources of
#: old do not name their run.
PARENT = {
    "start": "uid",
    "descriptor": "run_start",
    "event": "descriptor",
    "event_page": "descriptor",
    "resource": "run_start",
    "datum": "resource",
    "datum_page": "resource",
    "stream_resource": "run_start",
    "stream_datum": "descriptor",
    "stop": "run_start",
}

#: Documents that say where frames are.
REFERENCES = frozenset({"resource", "datum", "datum_page", "stream_resource", "stream_datum"})
