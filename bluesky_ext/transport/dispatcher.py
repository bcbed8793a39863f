"""The end that receives: documents from a proxy, handed to callbacks."""

from __future__ import annotations

import logging
import os
import pickle
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq

from bluesky_ext import _deadline
from bluesky_ext.engine.codec.documents import loads
from bluesky_ext.engine.documents.complaints import Complaints
from bluesky_ext.engine.documents.open_runs import DAY, MAX_OPEN_RUNS
from bluesky_ext.engine.documents.printable import printable
from bluesky_ext.engine.frames.limits import Limits, Refused
from bluesky_ext.engine.frames.readable import Readable, reading
from bluesky_ext.engine.stages.emitter import Emitter
from bluesky_ext.storage.adapters import as_source
from bluesky_ext.transport.address import Address, connect_address
from bluesky_ext.transport.overtaking import Overtaking
from bluesky_ext.transport.queue import DocumentQueue, Policy
from bluesky_ext.transport.receiver import Message, Received, Receiver
from bluesky_ext.transport.runs import ReceivedRuns
from bluesky_ext.transport.signals import interruptible
from bluesky_ext.transport.socket import Socket
from bluesky_ext.transport.wire import LISTENER, MAX_BYTES, Deserializer, check_prefix, codec_of

if TYPE_CHECKING:
    from bluesky.callbacks.zmq import ClientCurve

log = logging.getLogger(__name__)

_LIMITS = Limits()
_GRACE = 0.5  # s, for what is under way when no more documents are handed on


class RemoteDispatcher(Emitter):
    """Receives documents from a 0MQ proxy and hands them to callbacks, one after another, in the thread of `start`.

    It lives through whatever comes: frames that are no documents, callbacks that raise, a proxy that goes and comes.
    What was lost is counted in ``stats`` and said in the log.

    Parameters
    ----------
    address, port : str, tuple or int
        Where a running proxy gives documents: ``"localhost:5568"``, ``("localhost", 5568)``, ``"localhost", 5568``,
        ``"ipc:///tmp/socket"``, a port of this machine.
    prefix : bytes
        Take the documents of publishers with this prefix; of all, if it is empty.
    deserializer : {"msgpack", "pickle"} or callable
        How bytes become documents: the first is `bluesky_ext.transport.loads`, whose arrays are read-only. With
        "pickle", whoever can send to the proxy can run any program here.
    curve_config : bluesky.callbacks.zmq.ClientCurve, optional
        The keys, if the proxy has some.
    readable_roots : sequence of paths or None
        Directories: the callbacks get no document that names files elsewhere, and what they read of files is below
        these, whoever made them. None: files anywhere, for callbacks that read none or trust all who can send.
    limits : Limits
        The most that a document may ask for; callbacks do not get one beyond it.
    store, store_patience : callable and float, optional
        ``store(uid)`` gives a run, as `bluesky_ext.as_source` takes them, or raises LookupError while it does not have
        it, for so many seconds. Then a run that was joined in the middle is held back, and replayed when it is over.
    policy : {"block", "drop"}
        What to do when callbacks do not keep up and the queue is full: take no more from the proxy, or drop documents
        and count them.
    max_queue, max_documents : int
        When the queue is full: bytes, documents.
    max_bytes : int
        The largest document that is taken.
    high_water : int
        The most messages that 0MQ keeps beside the queue; it takes more when there are half of them left.
    close_incomplete : bool
        Whether the callbacks are given a stop document, with ``incomplete`` and the reason, of runs that have none
        when the dispatcher stops or gives them up.
    stale_after, max_open_runs : float and int
        A run is given up after so many seconds without a document, and the one that was silent longest when more runs
        than this are open.
    name : str, optional
        What the proxy calls it in its log; the name of the program unless given.

    Attributes
    ----------
    stats : Received
        What came, and what did not.
    closed : bool
        Whether it has been stopped, and can't be started again.
    listening : threading.Event
        Set while it is connected, and gets whatever is published: ``rd.listening.wait(10)``, in another thread, says
        whether it came to that. A proxy of ours confirms it, unless somebody listens to all prefixes there; otherwise
        it is taken for granted a second after the connection was made.

    Examples
    --------
    >>> from bluesky_ext.transport import RemoteDispatcher
    >>> rd = RemoteDispatcher("localhost:5568", prefix=b"raw")
    >>> token = rd.subscribe(print)
    >>> rd.stop()  # instead of rd.start(), which runs until it is stopped
    """

    def __init__(
        self,
        address: Address,
        port: int | None = None,
        *,
        prefix: bytes = b"",
        deserializer: Deserializer = "msgpack",
        curve_config: ClientCurve | None = None,
        readable_roots: Iterable[str | os.PathLike[str]] | None = (),
        limits: Limits = _LIMITS,
        store: Callable[[str], object] | None = None,
        store_patience: float = 30.0,
        policy: Policy = "block",
        max_queue: int = 256 * 2**20,
        max_documents: int = 100_000,
        max_bytes: int = MAX_BYTES,
        high_water: int = 10,
        close_incomplete: bool = True,
        stale_after: float = DAY,
        max_open_runs: int = MAX_OPEN_RUNS,
        name: str | None = None,
    ) -> None:
        self.address = connect_address(address, port)
        if store is not None and not callable(store):
            raise TypeError(f"store={store!r} can't be called: give a function of the uid of a run")
        if not stale_after > 0:
            raise ValueError(f"stale_after={stale_after!r}: give a time in seconds above 0")
        check_prefix(prefix)
        stats = Received()
        super().__init__(repr(self), stats, Complaints(log))
        self.stats: Received = stats
        self.closed = False
        self._deserializer = codec_of(deserializer, loads, pickle.loads, self.address)
        self._loads = partial(loads, max_plain=limits.plain, max_objects=limits.objects)
        self._readable = Readable.below(readable_roots)
        self._limits = limits
        passed = None if store is None else lambda uid: filter(self._passes, as_source(store(uid)))
        self._queue: DocumentQueue[Message] = DocumentQueue(max_documents, max_queue, policy)
        self._overtaking = Overtaking(self.emit, self._queue.__len__)
        self._runs = ReceivedRuns(
            *(repr(self), self._overtaking, self.stats),
            *(passed, store_patience, close_incomplete, stale_after, max_open_runs),
        )
        self._started = False
        self._give_up = float("inf")
        socket = Socket(zmq.SUB, curve_config, high_water, max_bytes=max_bytes)
        label = f"{name or Path(sys.argv[0]).name or 'python'}, process {os.getpid()} on {platform.node()}"
        socket.zmq.subscribe(LISTENER + label.encode())
        self._receiver = Receiver(socket, self.address, prefix, self._queue, self.stats)
        self.listening = self._receiver.listening

    @property
    def open_runs(self) -> list[str]:
        """The uids of the runs that have started and not stopped."""
        return self._runs.uids

    def start(self) -> None:
        """Hand documents to the callbacks until `stop` is called, or SIGINT or SIGTERM comes.

        Raises ConnectionError if the CURVE keys are wrong, RuntimeError if it has been stopped.
        """
        if self._started or self.closed:
            raise RuntimeError(f"{self!r} has been started and stopped: make a new one")
        self._started = True
        self._receiver.start()
        with reading(self._readable), self.limit():
            self._run()
        if self._receiver.failure is not None:
            raise self._receiver.failure

    def stop(self, drain: float = 2.0) -> None:
        """Have `start` return, from a callback, another thread or a signal handler; it does not wait for that.

        The documents that have come in are handed to the callbacks first, for ``drain`` seconds at most, and what is
        left of them is dropped; then a run that is open is closed as incomplete. Half a second later, stages in the
        thread of `start` no longer wait for files and executors, and read no more frames: those events have failed.
        """
        self._give_up = min(self._give_up, time.monotonic() + drain)
        if self._started:
            self._receiver.stop()
        else:
            self.closed = True
            self._receiver.close()

    def limit(self) -> AbstractContextManager[None]:
        """Have stages that are called, or closed, in this thread give up when it was stopped and its time is over."""
        return _deadline.limited(lambda: self._give_up + _GRACE)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address!r})"

    def _run(self) -> None:
        try:
            with interruptible(self.stop):
                self._work()
        finally:
            try:
                self._receiver.close()
                self._runs.close()
            finally:
                self.closed = True

    def _work(self) -> None:
        while not self._queue.is_over:
            message = self._queue.get(0.5)
            if message is not None and time.monotonic() > self._give_up:
                left = self._queue.clear() + 1
                self.stats.dropped += left
                log.warning("%r: stopped; %d documents that had come in are not handed on", self, left)
                return
            if message is not None:
                self._process(*message)
                self._overtaking.settle()
            self._runs.look_around()

    def _passes(self, pair: tuple[str, Mapping[str, Any]]) -> bool:
        """Whether the callbacks may get a document; one that is refused is counted and reported."""
        try:
            self._limits.check(*pair, self._readable)
        except Refused as error:
            self.stats.refused += 1
            self.complaints(
                f"{pair[0]} {error.kind}", "%s: a %s is refused: %s", self.address, pair[0], printable(str(error), 500)
            )
            return False
        return True

    def _process(self, name: str, payload: memoryview, must_have_come: bool | None) -> None:
        """Hand a document to the callbacks; what is none is counted and reported."""
        is_ours = self._deserializer is loads
        try:
            doc = self._loads(payload) if is_ours else self._deserializer(bytes(payload))
            if not isinstance(doc, Mapping):
                raise TypeError(f"{type(doc).__name__} instead of a document")
            if must_have_come is not None and self._runs.is_known_over(doc, must_have_come):
                return
            if self._passes((name, doc)):
                self._runs.take(name, doc)
                self.stats.received += 1
        except Exception as error:  # whatever a deserializer raises at bytes from anyone, and odd documents cause
            self.stats.malformed += 1
            if is_ours and payload[:1] == b"\x80" and payload[-1:] == b".":  # as a pickle of protocol 2 or later has
                self.stats.pickles += 1
                self.complaints(
                    "pickle",
                    "%s: a pickle came, and is not read, since that could run any program: "
                    "give its sender serializer=bluesky_ext.transport.dumps, or, if you trust all who can send there, "
                    "RemoteDispatcher(..., deserializer='pickle')",
                    self.address,
                )
                return
            kind, what = f"{name}: {type(error).__name__}", printable(" ".join(str(error).split()), 200)
            self.complaints(kind, "%s: what came is no %s: %s", self.address, kind, what)
