"""How many documents there were of each run, at one end of the wire: what publishers tell, and listeners compare."""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from bluesky_ext.engine.documents.open_runs import PARENT
from bluesky_ext.transport.wire import COUNTS, JOINED

RUNS = 100  # the latest ones, of which an end knows how many documents there were
LONGEST = 65_536  # bytes of a message about them
_ENDS = 100  # publishers or listeners that are known
_TELL_FOR = 3600.0  # s


@dataclass(eq=False)
class Counted:
    """A run, and how many of its documents there were; of images in files, only those that name their run count."""

    uid: str
    #: Which run of this end it is, counted from 1: one that starts again is another one.
    number: int
    #: Whether its start document was among them.
    is_whole: bool
    is_over: bool = False
    documents: int = 0


class Tally:
    """Counts the documents of the latest runs."""

    def __init__(self) -> None:
        self._runs: dict[str, Counted] = {}  # that of which a document came last is the last
        self._by_descriptor: dict[str, Counted] = {}
        self.last = 0  # the number of the run that began last

    def note(self, name: str, doc: Mapping[str, Any]) -> None:
        """Count a document."""
        key = PARENT.get(name, "")
        parent = doc.get(key)
        if not isinstance(parent, str) or len(parent) > 200:
            return
        run = self._by_descriptor.get(parent) if key == "descriptor" else self._runs.get(parent)
        if name == "start" or (run is None and key == "run_start"):
            self._forget(parent)
            while len(self._runs) >= RUNS:
                self._forget(next(iter(self._runs)))
            self.last += 1
            run = Counted(parent, self.last, is_whole=name == "start")
        if run is None:
            return
        run.documents += 1
        self._runs.pop(run.uid, None)
        self._runs[run.uid] = run
        if name == "descriptor" and isinstance(uid := doc.get("uid"), str):
            self._by_descriptor[uid] = run
        elif name == "stop":
            run.is_over = True

    def of(self, uid: str) -> Counted | None:
        """What there was of a run, if it is one of the latest."""
        return self._runs.get(uid)

    @property
    def runs(self) -> list[Counted]:
        """The latest runs; that of which a document came last is the last."""
        return list(self._runs.values())

    def _forget(self, uid: str) -> None:
        if (run := self._runs.pop(uid, None)) is not None:
            self._by_descriptor = {key: one for key, one in self._by_descriptor.items() if one is not run}


class Teller:
    """What a publisher tells of its runs, and to whom."""

    def __init__(self, prefix: bytes) -> None:
        self.tally = Tally()
        self._head = COUNTS + prefix + b" "
        self._name = uuid.uuid4().hex.encode()
        self._joined: dict[str, int] = {}  # the listeners, and the run that was the last when each of them joined

    def hear(self, topic: bytes) -> None:
        """Take note of a subscription."""
        if topic.startswith(JOINED) and len(topic) < 100:
            self._joined.setdefault(topic.removeprefix(JOINED).decode(errors="replace"), self.tally.last)
            if len(self._joined) > _ENDS:
                del self._joined[next(iter(self._joined))]

    def message(self, topics: Collection[bytes]) -> bytes | None:
        """What it has to say; None if nobody subscribed to it, or somebody did to everything."""
        if b"" in topics or not any(topic.startswith(COUNTS) and self._head.startswith(topic) for topic in topics):
            return None
        runs = [[run.number, run.uid, run.documents, run.is_over] for run in self.tally.runs if run.is_whole]
        return b"%b%b %b" % (self._head, self._name, json.dumps({"runs": runs, "joined": self._joined}).encode())


class Notices:
    """What publishers tell of their runs, which a proxy tells again after 1, 2, 4... s.

    Where documents are dropped, this may be too. A listener hears it when it has had room for as long as it had none,
    at the latest. Of more than a hundred publishers, the one that spoke first is forgotten.
    """

    def __init__(self) -> None:
        self._all: dict[bytes, tuple[bytes, float, float]] = {}  # the message, when to tell it, and the pause then

    def take(self, message: bytes) -> None:
        """Take what a publisher tells, in the place of what it told before."""
        if len(message) <= LONGEST:
            publisher = b" ".join(message.split(b" ", 2)[:2])
            self._all.pop(publisher, None)
            self._all[publisher] = message, 0.0, 1.0
            if len(self._all) > _ENDS:
                del self._all[next(iter(self._all))]

    def tell(self, send: Callable[[bytes], bool]) -> None:
        """Send what is to be told now; later what ``send`` returns False for, since it found no room."""
        now = time.monotonic()
        for publisher, (message, at, pause) in list(self._all.items()):
            if now < at or not send(message):
                continue
            if 2 * pause > _TELL_FOR:
                del self._all[publisher]
            else:
                self._all[publisher] = message, now + pause, 2 * pause


def read_message(message: bytes, listener: str) -> tuple[bytes, float, list[tuple[int, str, int, bool]]]:
    """The name of a publisher, which of its runs was the last when a listener joined, and what it tells of its runs.

    That is infinite if it has not heard of the listener. Of each run it tells its number, its uid, how many documents
    it had, and whether it is over. ValueError if it is no such message.
    """
    _, publisher, payload = message.split(b" ", 2)
    told = json.loads(payload)
    runs, joined = told["runs"], told["joined"].get(listener, math.inf)
    if len(runs) > RUNS or any(list(map(type, run)) != [int, str, int, bool] for run in runs):
        raise ValueError(f"{runs!r:.100} instead of the number, uid, documents and end of each of {RUNS} runs")
    return publisher, float(joined), list(map(tuple, runs))
