"""A reduce whose tree is what a test wants, and how it is asked for."""

from __future__ import annotations

import http.client
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from bluesky_ext import LiveServer
from bluesky_ext.engine import Reduce

pytest.importorskip("uvicorn")


class Shows(Reduce):
    """A reduce that shows what a function makes of the number of events."""

    def __init__(self, tree: Callable[[int], dict[str, Any]], name: str = "shows") -> None:
        super().__init__(parameters={}, name=name)
        self._tree = tree

    def begin(self, start: Any) -> dict[str, int]:
        return {"events": 0}

    def reduce(self, state: dict[str, int], stream: str, event: Any) -> None:
        state["events"] += 1

    def tree(self, state: dict[str, int]) -> dict[str, Any]:
        return self._tree(state["events"])

    def open(self, **start: Any) -> None:
        self("start", {"uid": "run", "time": 1.0, **start})
        number = {"source": "s", "dtype": "number", "shape": []}
        about = {"name": "primary", "data_keys": {"a": number}}
        self("descriptor", {"uid": "d", "run_start": "run", "time": 1.0, **about})

    def feed(self, *seq_nums: int) -> None:
        for number in seq_nums:
            about = {"uid": f"e{number}", "time": 1.0, "data": {"a": 1.0}, "timestamps": {"a": 1.0}}
            self("event", {"descriptor": "d", "seq_num": number, **about})

    def end(self, **num_events: int) -> None:
        about = {"uid": "stop", "time": 2.0, "exit_status": "success", "num_events": num_events}
        self("stop", {"run_start": "run", **about})


class Client:
    """Requests to a server, one connection for all of them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
        """The status and the body of an answer; ``content_type="..."`` is a header."""
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        self.connection.request(method, path, body, named)
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def get(self, path: str) -> Any:
        """What is said in JSON."""
        status, body = self("GET", path)
        assert status == 200, body
        return json.loads(body)

    def close(self) -> None:
        self.connection.close()


@pytest.fixture(autouse=True)
def _level() -> Iterator[None]:
    """The level of the log, which h5pyd 1.0 changes for the whole process."""
    level = logging.getLogger().level
    yield
    logging.getLogger().setLevel(level)


@pytest.fixture
def shows() -> Callable[..., Shows]:
    """Makes a stage with an open run."""

    def shows(tree: Callable[[int], dict[str, Any]], name: str = "shows", **start: Any) -> Shows:
        stage = Shows(tree, name)
        stage.open(**start)
        return stage

    return shows


@pytest.fixture
def served() -> Iterator[Callable[..., Client]]:
    """Serves stages, and gives the client of their server."""
    open_ones: list[Any] = []

    def serve(*shown: Any, **options: Any) -> Client:
        server = LiveServer(*shown, **options)
        client = Client(server.url)
        open_ones.extend([client, server])
        return client

    def close() -> None:
        while open_ones:
            open_ones.pop().close()

    serve.close = close  # pyright: ignore[reportFunctionMemberAccess]
    yield serve
    close()
