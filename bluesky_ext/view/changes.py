"""Changes as they happen, for all who listen: server-sent events."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, TypeAlias

from fastapi.concurrency import run_in_threadpool

from bluesky_ext.view.arrays import finite
from bluesky_ext.view.log_lines import LogLines
from bluesky_ext.view.notifications import Notifications
from bluesky_ext.view.points.recorder import PointRecorder
from bluesky_ext.view.points.scan_record import ScanRecord, plain
from bluesky_ext.view.points.shown_scans import ShownScans
from bluesky_ext.view.status import Status

#: Seconds between two looks whether the status has changed, between two revisions at least, and of silence after which
#: a line is sent all the same.
INTERVAL, PACE, SILENCE = 0.5, 0.1, 15.0
#: So many messages wait for a listener, who is let go when there are more.
WAITING = 2000

#: The number of a line of the log, else 0, and what is sent; None at the end.
_Message: TypeAlias = tuple[int, str] | None


class Changes:
    """Tells all listeners what changes, in the thread of the server.

    Parameters
    ----------
    status, lines, notifications
        What is told when there is news.
    closing : asyncio.Event
        Set when the server ends.
    """

    def __init__(self, status: Status, lines: LogLines, closing: asyncio.Event) -> None:
        self._status, self._lines, self._closing = status, lines, closing
        self.notifications = Notifications(self.touch)
        lines.heard = self._hear
        self._listeners: set[asyncio.Queue[_Message]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._touched = asyncio.Event()
        self._is_waking = False

    def run(self, what: str, scan: ScanRecord) -> None:
        """Take note that a scan started or ended; called in the thread of a stage."""
        number = scan.start.get("scan_id")
        name = "a scan" if number is None else f"scan {plain(number)}"
        if what == "started":
            self.notifications.add("run started", f"{name} started", run=scan.uid)
            return
        kind = "run incomplete" if scan.is_incomplete else "run ended"
        self.notifications.add(kind, f"{name} ended: {plain(scan.exit_status)}", run=scan.uid)
        said = [f"{count} events {how}" for how, count in scan.missing.items() if count]
        if said:
            self.notifications.add("loss", f"{name}: {' and '.join(said)}", run=scan.uid)

    def _hear(self, line: dict[str, Any]) -> None:
        """Take note of a warning or an error in the log; what the server says of odd requests is none."""
        kind = {"WARNING": "warning", "ERROR": "error", "CRITICAL": "error"}.get(line["level"])
        if kind is not None and not line["logger"].startswith("uvicorn"):
            self.notifications.add(kind, line["message"])

    def follow(self, shown: ShownScans, recorder: PointRecorder) -> None:
        """Tell of the revisions of these too."""
        self._shown, self._recorder = shown, recorder

    def touch(self) -> None:
        """Look for news soon; called by any thread."""
        loop = self._loop
        if loop is None or self._is_waking or not self._listeners:
            return
        self._is_waking = True
        with suppress(RuntimeError):  # the server has ended
            loop.call_soon_threadsafe(self._touched.set)

    def tell(self, kind: str, content: Any, number: int = 0) -> None:
        """Tell all listeners; called in the thread of the server."""
        message = number, f"event: {kind}\ndata: {json.dumps(finite(content))}\n\n"
        for listener in list(self._listeners):
            try:
                listener.put_nowait(message)
            except asyncio.QueueFull:  # too slow: it is to connect again
                self._end(listener)

    async def listen(self) -> AsyncIterator[str]:
        """The status now, the lines of the log, and then what changes; notifications before are at their own path."""
        listener: asyncio.Queue[_Message] = asyncio.Queue(WAITING)
        self._loop = asyncio.get_running_loop()
        self._listeners.add(listener)
        if not self._tasks:
            tellers = self._tell_status(), self._tell_revisions(), self._close()
            self._tasks = [asyncio.create_task(one) for one in tellers]
        try:
            yield f"event: status\ndata: {json.dumps(self._status.whole())}\n\n"
            lines = self._lines.after(0)
            for line in lines:
                yield f"event: log\ndata: {json.dumps(line)}\n\n"
            last = lines[-1]["number"] if lines else 0
            while True:
                try:
                    message = await asyncio.wait_for(listener.get(), SILENCE)
                except TimeoutError:
                    message = last + 1, ": nothing new\n\n"
                if message is None:
                    break
                if not 0 < message[0] <= last:  # a line of the log that it has
                    yield message[1]
        finally:
            self._listeners.discard(listener)
            if not self._listeners:
                for task in self._tasks:
                    task.cancel()
                self._tasks = []

    def _end(self, listener: asyncio.Queue[_Message]) -> None:
        self._listeners.discard(listener)
        while not listener.empty():
            listener.get_nowait()
        listener.put_nowait(None)

    async def _close(self) -> None:
        await self._closing.wait()
        for listener in list(self._listeners):
            self._end(listener)

    async def _tell_status(self) -> None:
        """The status when it changes, and new lines of the log and notifications."""
        said = json.dumps(_lasting(self._status.whole()))
        line = notification = 0
        if lines := self._lines.after(0):
            line = lines[-1]["number"]
        if notifications := self.notifications.after(0):
            notification = notifications[-1]["number"]
        while True:
            await asyncio.sleep(INTERVAL)
            now = self._status.whole()
            if (content := json.dumps(_lasting(now))) != said:
                said = content
                self.tell("status", now)
            for one in self._lines.after(line):
                line = one["number"]
                self.tell("log", one, line)
            for one in self.notifications.after(notification):
                notification = one["number"]
                self.tell("notification", one)

    async def _tell_revisions(self) -> None:
        """The number of what is shown, whenever that is another; it is published for that."""
        said: Any = None
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._touched.wait(), PACE if self._shown.is_running() else INTERVAL)
            self._touched.clear()
            self._is_waking = False
            began = time.monotonic()
            present = await run_in_threadpool(self._shown.present)
            scan = self._recorder.latest
            latest = None if scan is None else scan.rows.latest or None
            now = {"revision": present.revision, "run": present.uid, "latest": latest}
            if now != said:
                said = now
                self.tell("revision", now)
            await asyncio.sleep(max(0.0, PACE - (time.monotonic() - began)))


def _lasting(status: dict[str, Any]) -> dict[str, Any]:
    """The status without what is another at every moment."""
    moving = {"age": None, "lag": None}
    stages = [{**stage, **moving} for stage in status["stages"]]
    progress = {**status["progress"], "age": None, "lagSeconds": None, "remaining": None}
    return {**status, "progress": progress, "stages": stages}
