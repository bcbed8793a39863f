"""The programs of a day: the proxy, and the analysis server with its live view."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

PATIENCE = 900.0  # s


class Servers:
    """The proxy and the analysis server, as programs; their log is a file."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._inward, self._outward, live = _free_ports(3)
        self.address = f"127.0.0.1:{self._inward}"
        self._live = f"127.0.0.1:{live}"
        config = directory / "pipeline.toml"
        config.write_text(f"data_key = 'image'\nmemory = 5\ndirectory = '{directory / 'maps'}'\n")
        self._environment = {**os.environ, "XDG_STATE_HOME": str(directory / "state")}  # where their backups are
        self._pipeline = ["--config", "pipeline.toml", "--catalog", f"{directory / 'runs'}"]
        self._processes = {"proxy": self._proxy(), "server": self._server()}
        self.wait_for(lambda: self.progress() is not None, "the live server")

    def _start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._directory / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-m", "bluesky_ext", *arguments]
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=self._directory, env=self._environment)

    def _proxy(self) -> subprocess.Popen[bytes]:
        ends = f"127.0.0.1:{self._inward}", f"127.0.0.1:{self._outward}"
        return self._start("proxy", "proxy", "--in-address", ends[0], "--out-address", ends[1])

    def _server(self) -> subprocess.Popen[bytes]:
        told = [*self._pipeline, "--address", f"127.0.0.1:{self._outward}", "--live", self._live]
        files = ["--store", f"{self._directory / 'runs'}", "--readable-root", str(self._directory)]
        return self._start("server", "serve", "crystal-mapping", *told, *files)

    def kill(self) -> None:
        """Kill the server, and start it again, as systemd does."""
        self._processes["server"].kill()
        self._processes["server"].wait()
        self._processes["server"] = self._server()

    def halt(self, is_halted: bool) -> None:
        """Have the proxy stand still, or go on: nothing passes meanwhile, and nobody is told."""
        self._processes["proxy"].send_signal(signal.SIGSTOP if is_halted else signal.SIGCONT)

    def memory(self) -> tuple[float, float]:
        """What the beamline and the server have in memory, in MB."""
        return _memory(os.getpid()), _memory(self._processes["server"].pid)

    def peak(self) -> float:
        """The most that the server has had in memory since it was started last, in MB."""
        status = Path(f"/proc/{self._processes['server'].pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 2**10

    def progress(self) -> dict[str, Any] | None:
        """How far the analysis is, as the live server says; None if it doesn't answer."""
        with suppress(OSError), urllib.request.urlopen(f"http://{self._live}/api/v1/progress", timeout=5) as answer:
            return json.load(answer)
        return None

    def replay(self, uids: list[str]) -> None:
        """Have stored runs analysed, as someone does for those that the server did not get; what is made is kept."""
        told = ["--pipeline", "crystal-mapping", *self._pipeline]
        command = [sys.executable, "-m", "bluesky_ext", "replay", *told, *uids]
        subprocess.run(command, cwd=self._directory, env=self._environment, check=True)

    def log(self, name: str) -> str:
        """What a server said."""
        return (self._directory / f"{name}.log").read_text(errors="replace")

    def wait_for(self, done: Callable[[], bool], what: str) -> None:
        """Wait for something that a server does."""
        deadline = time.monotonic() + PATIENCE
        while not done():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} did not come within {PATIENCE:g} s:\n{self.log('server')[-3000:]}")
            time.sleep(0.05)

    def close(self) -> None:
        """End them, the server first."""
        for name in ("server", "proxy"):
            process = self._processes[name]
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


def _memory(process: int) -> float:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
