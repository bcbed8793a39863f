"""A reduce whose tree is what a test wants, and how it is asked for."""

from __future__ import annotations

import http.client
import json
import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import numpy as np
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

    def put(self, path: str, content: Any, **headers: str) -> tuple[int, Any]:
        """The status and what is said when something is put in JSON."""
        status, body = self("PUT", path, json.dumps(content), content_type="application/json", **headers)
        return status, json.loads(body)

    def arrays(self, path: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The header and the arrays of an answer in the form of `bluesky_ext.view.arrays`."""
        status, body = self("GET", path)
        assert status == 200, body
        at = 4 + int.from_bytes(body[:4], "little")
        header, found = json.loads(body[4:at]), {}
        for one in header["arrays"]:
            assert at % 8 == 0
            array = np.frombuffer(body, one["dtype"], int(np.prod(one["shape"])), at).reshape(one["shape"])
            found[one["name"]] = array
            at += array.nbytes + -array.nbytes % 8
        assert at == len(body)
        return header, found

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
    """Makes a stage, with an open run unless it is to have none yet."""

    def shows(
        tree: Callable[[int], dict[str, Any]], name: str = "shows", *, is_open: bool = True, **start: Any
    ) -> Shows:
        stage = Shows(tree, name)
        if is_open:
            stage.open(**start)
        return stage

    return shows


@pytest.fixture
def served(request: pytest.FixtureRequest) -> Iterator[Callable[..., Client]]:
    """Serves stages, and gives the client of their server; with --long they are served until Ctrl-C."""
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
    if request.config.getoption("--long") and open_ones:
        plugins = request.config.pluginmanager
        with plugins.getplugin("capturemanager").global_and_fixture_disabled(), suppress(KeyboardInterrupt):
            urls = [one.url for one in open_ones if isinstance(one, LiveServer)]
            plugins.getplugin("terminalreporter").write_line(f"\n{', '.join(urls)} until Ctrl-C")
            threading.Event().wait()
    close()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser of the machine."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    off = ("background-networking", "component-update", "gpu", "quic", "sync")
    options = ["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in off)]
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()


@pytest.fixture
def browser(chromium: Any, request: pytest.FixtureRequest) -> Iterator[Callable[[str], Any]]:
    """Opens a page in a window of its own; what the browser complains of fails the test."""
    from playwright.sync_api import expect

    from bluesky_ext.view.app import BUILT

    if not (BUILT / "page.html").is_file():
        pytest.skip("the page is not built: pip install -e .")
    expect.set_options(timeout=20_000)
    context = chromium.new_context(viewport={"width": 1500, "height": 900})
    complaints: list[str] = []

    def open_page(url: str) -> Any:
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if _is_bad(said) else None)
        page.goto(url)
        page.expect = expect
        return page

    open_page.complaints = complaints  # pyright: ignore[reportFunctionMemberAccess]
    yield open_page
    pictures = request.config.getoption("--pictures")
    for number, page in enumerate(context.pages if pictures else []):
        page.screenshot(path=f"{pictures}/{request.node.name} {number}.png")
    context.close()
    assert complaints == []


def _is_bad(said: Any) -> bool:
    """Whether the browser tells an error: that the server refuses, or is not there, is what some tests are about."""
    return said.type == "error" and "Failed to load resource" not in said.text
