"""The command in a process of its own, for tests that kill it."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from runs import feed

from bluesky_ext import Recording
from bluesky_ext.engine import Map

TIMEOUT = 60.0

#: A pipeline that says on stderr what it gets.
MODULE = """
import sys
import time

import numpy as np

from bluesky_ext.engine import Map
from bluesky_ext.server import Pipeline


def total(data, seq_num):
    return {"total": float(np.sum(data["camera"]))}


def slow_total(data, seq_num):
    time.sleep(0.01)
    return total(data, seq_num)


class Totals(Pipeline):
    "The sum of each image."

    slow: bool = False

    def build(self, site):
        kernel = slow_total if self.slow else total
        stage = Map(kernel, parameters={}, name="Totals", data_keys=("camera",), executor=site.executor)
        site.keep(stage)
        runs = {}

        def callback(name, doc):
            stage(name, doc)
            if name == "descriptor":
                runs[doc["uid"]] = doc["run_start"]
            elif name == "event":
                print("seen", doc["seq_num"], "of", runs.get(doc["descriptor"]), file=sys.stderr, flush=True)
            elif name == "stop":
                print("stop", doc["exit_status"], "of", doc["run_start"], file=sys.stderr, flush=True)

        callback.close = stage.close
        return callback
"""


class Command:
    """``bluesky-ext`` with some arguments, at work."""

    def __init__(self, directory: Path, *arguments: object) -> None:
        command = [sys.executable, "-m", "bluesky_ext", *map(str, arguments)]
        environment = {**os.environ, "XDG_STATE_HOME": str(directory / "state"), "TQDM_DISABLE": "1"}
        self.process = subprocess.Popen(
            command, cwd=directory, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.said: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def wait_for(self, words: str) -> None:
        """Wait for the next line of stderr with these words in it."""
        if not self.says(words, TIMEOUT):
            raise AssertionError(f"it did not say {words!r}, but {self.said}")

    def says(self, words: str, timeout: float) -> bool:
        """Whether such a line comes within so many seconds; those before it are gone."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            try:
                line = self._lines.get(timeout=left)
            except queue.Empty:
                return False
            if line is None:
                return False
            if words in line:
                return True
        return False

    def hears(self, sink: Any, runs: Callable[[], Iterable[tuple[str, dict[str, Any]]]]) -> None:
        """Send it one run after another until it says that one is over: then it gets all that comes after."""
        deadline = time.monotonic() + TIMEOUT
        while not self.says("stop success", 0.1):
            if time.monotonic() > deadline:
                raise AssertionError(f"it hears nothing: {self.said}")
            feed(sink, runs())

    def end(self, number: int | None = None) -> int:
        """Its exit code, after a signal if there is one."""
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(TIMEOUT)
        while self._lines.get(timeout=TIMEOUT) is not None:
            pass
        return code

    @property
    def output(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.read().splitlines()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stderr:
            for line in stderr:
                self.said.append(line.rstrip("\n"))
                self._lines.put(line)
        self._lines.put(None)


def stops_in(directory: Path) -> dict[str, list[dict[str, Any]]]:
    """The stop documents of derived runs, by the uid of the raw run."""
    stops: dict[str, list[dict[str, Any]]] = {}
    for recording in Recording.find(directory):
        assert recording.start is not None
        if recording.stop is not None:
            stops.setdefault(recording.start["original_run_uid"], []).append(recording.stop)
    return stops


def sha256_of(docs: Iterable[tuple[str, Any]]) -> str:
    """That of an undisturbed analysis."""
    stops: list[dict[str, Any]] = []
    stage = Map(
        lambda data, seq_num: {"total": float(np.sum(data["camera"]))},
        parameters={},
        name="Totals",
        data_keys=("camera",),
    )
    stage.subscribe(lambda _, doc: stops.append(doc), "stop")
    feed(stage, docs)
    return stops[0]["sha256"]
