"""Real servers of Tiled for the tests of storage."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bluesky_ext.storage import open_catalog

KEY = "secret"


class Server:
    """`tiled serve catalog`, in a process of its own."""

    def __init__(self, directory: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        directory.mkdir(exist_ok=True)
        self.log = (directory / "log").open("wb")
        command = [sys.executable, "-m", "tiled", "serve", "catalog", directory / "catalog.db", "--init"]
        command += ["--write", directory / "data", "--write", f"sqlite:///{directory / 'tables.db'}"]
        command += ["--api-key", KEY, "--port", str(port)]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        while self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
            except ConnectionRefusedError:
                time.sleep(0.05)
            else:
                return
        raise RuntimeError(Path(self.log.name).read_text())

    def client(self) -> Any:
        return open_catalog(self.address, api_key=KEY)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()
