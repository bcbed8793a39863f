"""Real servers of Tiled, for the tests of storage and masks."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bluesky_ext.storage import open_catalog

KEY = "secret"

# Processes that start fast, since what takes long to import is there already.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["bluesky_ext.masks.client", "tiled.commandline.main", "tiled.server.app", "uvicorn"])


class Server:
    """A server of Tiled, in a process of its own: of the catalogue in a directory, or as a configuration says."""

    def __init__(self, directory: Path, config: Path | None = None) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        self.data, self.images = directory / "data", directory / "images"
        directory.mkdir(exist_ok=True)
        arguments = ["serve", "config", config, "--port", port]
        if config is None:
            arguments = ["serve", "catalog", directory / "catalog.db", "--init"]
            arguments += ["--write", self.data, "--write", f"sqlite:///{directory / 'tables.db'}"]
            arguments += ["--read", directory / "images"]
            arguments += ["--api-key", KEY, "--port", port]
        log = directory / "log"
        self.process = PROCESSES.Process(target=logged, args=(log, tiled, list(map(str, arguments))))
        self.process.start()
        while self.process.is_alive():
            try:
                socket.create_connection(("127.0.0.1", port)).close()
            except ConnectionRefusedError:
                time.sleep(0.05)
            else:
                return
        raise RuntimeError(log.read_text())

    def client(self) -> Any:
        return open_catalog(self.address, api_key=KEY)

    def stop(self) -> None:
        self.process.kill()
        self.process.join()


def run(function: Callable[..., None], *arguments: Any, log: Path) -> tuple[int | None, str]:
    """Run a function in a process of its own; the exit code, and what it said."""
    process = PROCESSES.Process(target=logged, args=(log, function, *arguments))
    process.start()
    process.join()
    return process.exitcode, log.read_text()


def logged(log: Path, function: Callable[..., None], *arguments: Any) -> None:
    """Call a function with what it says in a file."""
    with log.open("wb") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    function(*arguments)


def tiled(arguments: list[str]) -> None:
    """The command ``tiled``."""
    sys.argv = ["tiled", *arguments]
    runpy.run_module("tiled", run_name="__main__")
