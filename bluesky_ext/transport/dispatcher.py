"""The end that receives: documents from a proxy, handed to callbacks."""

from __future__ import annotations

import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bluesky_ext.engine.documents.complaints import Complaints
from bluesky_ext.engine.documents.open_runs import DAY, MAX_OPEN_RUNS
from bluesky_ext.engine.stages.subscribers import Subscriber, Subscribers
from bluesky_ext.transport.address import Address, connect_address
from bluesky_ext.transport.queue import Closed, DocumentQueue, Policy
from bluesky_ext.transport.receiver import Message, Received, Receiver
from bluesky_ext.transport.runs import ReceivedRuns
from bluesky_ext.transport.signals import interruptible
from bluesky_ext.transport.wire import MAX_BYTES, Deserializer, check_prefix, is_pickle, unpacker

if TYPE_CHECKING:
    from bluesky.callbacks.zmq import ClientCurve
    from event_model import DocumentNames

__all__ = ["RemoteDispatcher"]

log = logging.getLogger(__name__)

_TICK = 0.5  # s, after which it looks after runs that are silent


class RemoteDispatcher:
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
    store : callable, optional
        ``store(uid)`` gives a run, as `bluesky_ext.as_source` takes them, or raises LookupError as long as it does
        not have it. Then a run that was joined in the middle is held back, and replayed from there when it is over.
    store_patience : float
        How long to ask for such a run, in s.
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
    stale_after : float
        After so many seconds without a document a run is given up.
    max_open_runs : int
        When more runs than this are open, the one that was heard of least recently is given up.
    patience : float
        After so many seconds it says that nobody answers, or that all documents have another prefix.
    drain : float
        How long the documents that have come in may take when it is stopped, in s.
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
        patience: float = 5.0,
        drain: float = 10.0,
        name: str | None = None,
    ) -> None:
        self.address = connect_address(address, port)
        if store is not None and not callable(store):
            raise TypeError(f"store={store!r} can't be called: give a function of the uid of a run")
        if not patience > 0:
            raise ValueError(f"patience={patience!r}: give a time in seconds above 0")
        self.stats = Received()
        self.closed = False
        self._unpack = unpacker(deserializer, max_bytes, self.address)
        self._drain = drain
        self._complaints = Complaints(log)
        self._subscribers = Subscribers(repr(self), self.stats, self._complaints)
        self._runs = ReceivedRuns(
            self._subscribers.emit,
            name=repr(self),
            stats=self.stats,
            store=store,
            store_patience=store_patience,
            close_incomplete=close_incomplete,
            stale_after=stale_after,
            max_open_runs=max_open_runs,
        )
        self._tokens: list[int] = []
        self._started = False
        self._give_up = float("inf")
        self._queue: DocumentQueue[Message] = DocumentQueue(max_documents, max_queue, policy)
        self._receiver = Receiver(
            self.address,
            check_prefix(prefix),
            self._queue,
            self.stats,
            curve=curve_config,
            label=f"{name or Path(sys.argv[0]).name or 'python'}, process {os.getpid()} on {platform.node()}",
            max_bytes=max_bytes,
            patience=patience,
            high_water=high_water,
        )
        self.listening = self._receiver.listening

    @property
    def open_runs(self) -> list[str]:
        """The uids of the runs that have started and not stopped."""
        return self._runs.uids

    def subscribe(self, callback: Subscriber, name: str | DocumentNames = "all") -> int:
        """Have a callback called as ``callback(name, document)``; return a token for `unsubscribe`.

        Parameters
        ----------
        callback : callable
            One that raises is reported, and does not keep the document from the others.
        name : str
            The kind of document, or "all".
        """
        token = self._subscribers.add(callback, name)
        self._tokens.append(token)
        return token

    def unsubscribe(self, token: int) -> None:
        """Stop calling the callback that this token was given for."""
        self._subscribers.remove(token)
        self._tokens.remove(token)

    def unsubscribe_all(self) -> None:
        """Stop calling all callbacks."""
        for token in list(self._tokens):
            self.unsubscribe(token)

    def start(self) -> None:
        """Hand documents to the callbacks until `stop` is called, or SIGINT or SIGTERM comes.

        Raises ConnectionError if the CURVE keys are wrong, RuntimeError if it has been stopped.
        """
        if self._started or self.closed:
            raise RuntimeError(f"{self!r} has been started and stopped: make a new one")
        self._started = True
        self._receiver.start()
        try:
            with interruptible(self.stop):
                self._work()
        finally:
            self._end()
        if self._receiver.failure is not None:
            raise self._receiver.failure

    def stop(self, drain: bool = True) -> None:
        """Have `start` return, from a callback, another thread or a signal handler; it does not wait for that.

        Parameters
        ----------
        drain : bool
            Whether the documents that have come in are handed to the callbacks first. A run that is open then
            is closed as incomplete.
        """
        self._give_up = min(self._give_up, time.monotonic() + (self._drain if drain else -1.0))
        if self._started:
            self._receiver.stop()
        else:
            self.closed = True
            self._receiver.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address!r})"

    def _work(self) -> None:
        while True:
            try:
                message = self._queue.get(_TICK)
            except Closed:
                return
            except TimeoutError:
                self._runs.look_around()
                continue
            if time.monotonic() > self._give_up:
                left = self._queue.clear() + 1
                log.warning("%r: stopped; %d documents that had come in are not handed on", self, left)
                return
            self._process(message)
            if time.monotonic() - self._runs.looked > _TICK:
                self._runs.look_around()

    def _end(self) -> None:
        try:
            self._receiver.close()
            self._runs.close()
        finally:
            self.closed = True

    # From a message to the callbacks

    def _process(self, message: Message) -> None:
        try:
            doc = self._unpack(message.payload)
            if not isinstance(doc, Mapping):
                raise TypeError(f"{type(doc).__name__} instead of a document")
        except Exception as error:  # whatever a deserializer raises at bytes from anyone
            self.stats.malformed += 1
            if is_pickle(message.payload[0]):
                self._refuse_pickle()
            else:
                what = " ".join(str(error).split())[:200]
                self._complaints(f"no {type(error).__name__}", "%s: no %s: %s", self.address, message.name, what)
            return
        try:
            self._runs.take(message.name, doc)
        except (LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
            self.stats.malformed += 1
            self._complaints(
                f"{message.name} {type(error).__name__}",
                "%s: what calls itself %s is none: %s: %.200s",
                *(self.address, message.name, type(error).__name__, error),
            )

    def _refuse_pickle(self) -> None:
        self.stats.pickles += 1
        self._complaints(
            "pickle",
            "%s: a pickle came, and is not read, since that could run any program: "
            "give its sender serializer=bluesky_ext.transport.dumps, or, if you trust all who can send there, "
            "RemoteDispatcher(..., deserializer='pickle')",
            self.address,
        )
