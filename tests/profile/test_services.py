"""The profile under a queueserver, with a manager, a worker and Redis of its own, and under blueapi."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import httpx
import pytest
import xarray as xr
import zmq
from bluesky.utils import is_plan

from bluesky_ext import open_catalog, stxm
from bluesky_ext.storage import close_catalog, find_derived, find_run

pytestmark = [pytest.mark.services, pytest.mark.timeout(240)]

PROFILE = Path(__file__).parents[2] / "profile_collection"
USER = {"user": "somebody", "user_group": "primary"}
GRID = [["dexela"], "sample_y", -1, 1, 3, "sample_x", -1, 1, 4]
IMAGE = [["counter0"], "endstation", -1, 1, 3, -1, 1, 4]
EXPOSURE = {"time_per_point": 0.2, "time_per_frame": 0.1}
SHUTTER = {"shutter": "shutter", "shutter_open": "open", "shutter_close": "closed"}


class Manager:
    """Requests to the manager."""

    def __init__(self, requests: zmq.Socket, log: Path) -> None:
        self._requests, self._log = requests, log

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._requests.send_json({"method": method, "params": params})
        answer: Any = self._requests.recv_json()
        return answer

    def do(self, method: str, **params: Any) -> dict[str, Any]:
        answer = self.ask(method, **params)
        assert answer["success"], answer["msg"]
        return answer

    def add(self, name: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        item = {"item_type": "plan", "name": name, "args": list(args), "kwargs": kwargs}
        return self.ask("queue_item_add", item=item, **USER)

    def wait(self, done: Callable[[dict[str, Any]], bool]) -> None:
        wait(lambda: done(self.ask("status")), self._log)


def wait(done: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + 120
    while not done():
        assert time.monotonic() < deadline, log.read_text()[-5000:]
        time.sleep(0.1)


def assert_maps(folder: Path, uid: str) -> None:
    with xr.open_dataset(folder / "maps" / f"{uid}.nc", engine="h5netcdf") as dataset:
        assert (dataset.sizes["sample_y"], dataset.sizes["sample_x"]) == (3, 4)
        assert dataset.sizes["reflection"] > 10


def assert_file(folder: Path, uid: str) -> None:
    with h5py.File(folder / "nxstxm" / f"{uid}.hdf5") as file:
        assert file["entry0/counter0/data"].shape == (3, 4)


@contextmanager
def process(*command: str | Path, log: Path, env: dict[str, str] | None = None) -> Iterator[None]:
    """A program that ends with the test, and all that it started."""
    with log.open("w") as out:
        started = subprocess.Popen(command, cwd=log.parent, env=env, stdout=out, stderr=out, start_new_session=True)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()


def free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """A manager for a copy of the profile, which writes the lists of plans and devices into it; no environment yet."""
    server = shutil.which("redis-server")
    if not server:
        pytest.skip("no redis-server: apt-get install redis-server")
    startup = tmp_path / "profile" / "startup"
    shutil.copytree(PROFILE / "startup", startup, ignore=shutil.ignore_patterns("existing_plans_and_devices.yaml"))
    redis, control, info = (f"127.0.0.1:{port}" for port in free_ports(3))
    _, port = redis.split(":")
    program = Path(sys.executable).with_name("start-re-manager")
    command = [program, "--startup-dir", startup, "--redis-addr", redis]
    command += ["--zmq-control-addr", f"tcp://{control}", "--zmq-info-addr", f"tcp://{info}"]
    with (
        process(server, "--port", port, "--bind", "127.0.0.1", "--save", "", log=tmp_path / "redis.log"),
        process(*command, log=tmp_path / "manager.log"),
        zmq.Context() as context,
        context.socket(zmq.REQ) as requests,
    ):
        requests.setsockopt(zmq.RCVTIMEO, 60_000)
        requests.setsockopt(zmq.LINGER, 0)
        requests.connect(f"tcp://{control}")
        yield Manager(requests, tmp_path / "manager.log")


def test_plans_of_the_queue_have_their_maps_and_files_and_are_kept(manager: Manager, tmp_path: Path):
    manager.do("environment_open")
    manager.wait(lambda status: status["manager_state"] == "idle" and status["worker_environment_exists"])

    # Parts of plans, and what asks at a keyboard, are no items; nor are functions.
    allowed = manager.do("plans_allowed", user_group="primary")["plans_allowed"]
    assert {"grid_scan_nd", "fly_scan_nd", "dark_run", "sample_image", "count", "scan", "grid_scan", "mv"} <= {*allowed}
    for name in ("dark_plan", "configure_area_det", "tweak", "relative_scan", "open_run"):
        assert "not in the list of allowed plans" in manager.add(name)["msg"]
    function = {"item_type": "function", "name": "redo", "args": []}
    assert "not allowed" in manager.ask("function_execute", item=function, **USER)["msg"]

    for answer in (
        manager.add("grid_scan_nd", *GRID, **EXPOSURE, **SHUTTER),
        manager.add("mv", "shutter", "open"),
        manager.add("grid_scan", *GRID),  # Bluesky's, with the dark of the scan before it
        manager.add("sample_image", *IMAGE, dwell=1),
        manager.add("grid_scan", ["xspress3"], "film_y", -0.1, 0.1, 3, "film_x", -0.1, 0.1, 4),
    ):
        assert answer["success"], answer["msg"]
    manager.do("queue_start")
    manager.wait(lambda status: status["manager_state"] == "idle" and not status["items_in_queue"])
    manager.do("environment_close")
    manager.wait(lambda status: not status["worker_environment_exists"])
    history = manager.do("history_get")["items"]
    assert [(item["name"], item["result"]["exit_status"]) for item in history] == [
        (name, "completed") for name in ("grid_scan_nd", "mv", "grid_scan", "sample_image", "grid_scan")
    ], [item["result"]["traceback"] for item in history]

    ours, _, bluesky, (image,), (spectra,) = (item["result"]["run_uids"] for item in history)
    catalog = open_catalog(tmp_path / "runs")
    for uid in (*ours, *bluesky):
        assert find_run(catalog, uid).stop["num_events"]["primary"] == 12
        peaks, maps = find_derived(catalog, uid)
        assert (peaks.stop["exit_status"], maps.stop["exit_status"]) == ("success", "success")
        assert_maps(tmp_path, uid)
    fits, elements = find_derived(catalog, spectra)
    assert (fits.stop["num_events"]["primary"], elements.stop["num_events"]["primary"]) == (12, 4)
    close_catalog(catalog)
    assert "Watch scans at http://127.0.0.1:" in (tmp_path / "manager.log").read_text()
    assert_file(tmp_path, image)


def test_blueapi_serves_plans_that_have_their_maps_and_files(tmp_path: Path):
    program = shutil.which("blueapi")
    if not program:
        pytest.skip("no blueapi: pip install blueapi bluesky-ext in an environment of its own, and put it on PATH")
    (port,) = free_ports(1)
    site, log = tmp_path / "site.yaml", tmp_path / "log"
    site.write_text(f"api:\n  url: http://127.0.0.1:{port}\n")
    command = [program, "-c", PROFILE / "blueapi" / "config.yaml", "-c", site, "serve"]
    python_path = os.pathsep.join([str(PROFILE / "blueapi"), os.environ.get("PYTHONPATH", "")])
    with (
        process(*command, log=log, env={**os.environ, "PYTHONPATH": python_path}),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):

        def answers() -> bool:
            with suppress(httpx.ConnectError):
                return client.get("/environment").json()["initialized"]
            return False

        def run(name: str, **params: Any) -> str:
            request = {"name": name, "params": params, "instrument_session": "cm1-1"}
            task = client.post("/tasks", json=request).raise_for_status().json()
            client.put("/worker/task", json=task).raise_for_status()
            wait(lambda: client.get(f"/tasks/{task['task_id']}").json()["is_complete"], log)
            outcome = client.get(f"/tasks/{task['task_id']}").json()["outcome"]
            assert outcome["outcome"] == "success", outcome
            return outcome["result"]

        wait(answers, log)
        served = {plan["name"] for plan in client.get("/plans").json()["plans"]}
        of_stxm = {name for name in stxm.__all__ if is_plan(getattr(stxm, name))}
        assert of_stxm - served == {"generic_scan"}
        axes = [["sample_y", -1, 1, 3], ["sample_x", -1, 1, 4]]
        assert_maps(tmp_path, run("grid_scan_axes", detectors=["dexela"], axes=axes, **EXPOSURE, **SHUTTER))
        film = {"x_motor": "film_x", "y_motor": "film_y", "x_start": 0, "y_start": 0, "x_range": 0.1, "y_range": 0.1}
        run("spiral_fermat", detectors=["xspress3"], **film, dr=0.01, factor=1)
        (address,) = re.findall(r"Watch scans at (\S+)", log.read_text())
        progress = httpx.get(f"{address}api/v1/progress").json()
        assert progress["completedEvents"] == progress["totalEvents"] > 10
        y = {"y_start": -1, "y_stop": 1, "y_num": 3}
        x = {"x_start": -1, "x_stop": 1, "x_num": 4}
        assert_file(tmp_path, run("sample_image", detectors=["counter0"], station="endstation", **y, **x))
