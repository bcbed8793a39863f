"""What became of the messages that a dispatcher received."""

from __future__ import annotations

from dataclasses import dataclass

from bluesky_ext.documents.guard import Stats

__all__ = ["Received"]


@dataclass
class Received(Stats):
    """Counts of a dispatcher over all its runs; they only grow.

    Beside those of `bluesky_ext.documents.Stats`: the ``messages`` that came, and how many of them were ``foreign``
    (of another prefix), ``malformed``, of an ``unknown`` name, or ``dropped`` because the callbacks did not keep up;
    the ``pickles`` among the malformed; the runs ``joined`` in the middle, and those of them ``replayed`` from the
    store; the ``connections`` that were made. ``received`` counts documents, ``lost`` the events that never came.
    """

    messages: int = 0
    foreign: int = 0
    malformed: int = 0
    pickles: int = 0
    unknown: int = 0
    dropped: int = 0
    joined: int = 0
    replayed: int = 0
    connections: int = 0
