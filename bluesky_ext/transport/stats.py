"""What became of documents and messages, at each end and in between."""

from __future__ import annotations

from dataclasses import dataclass

from bluesky_ext.engine.documents.stats import Stats

__all__ = ["Passed", "Published", "Received"]


@dataclass
class Published:
    """What became of the documents that a publisher was given; they only grow.

    Those that were ``sent`` are on their way. Nobody listened to those ``unheard``; there was no room for those
    ``dropped``; those ``failed`` could not be put into bytes.
    """

    sent: int = 0
    unheard: int = 0
    dropped: int = 0
    failed: int = 0


@dataclass
class Passed:
    """What became of the messages that a proxy was given; they only grow.

    It passed on all of the ``messages`` but those ``lost``, which had come in when it was stopped, and there was no
    time left for. Listeners that did not keep up were ``cut_off``, with what was on its way to them. Those
    ``unfinished`` had not taken all of that when it had stopped.
    """

    messages: int = 0
    bytes: int = 0
    cut_off: int = 0
    lost: int = 0
    unfinished: int = 0


@dataclass
class Received(Stats):
    """Counts of a dispatcher over all its runs; they only grow.

    Beside those of `bluesky_ext.engine.Stats`: the ``messages`` that came, and how many of them were ``foreign``
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
