from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import pytest
from bluesky import RunEngine
from bluesky.plans import count
from ophyd.sim import det

from bluesky_ext.server import registry
from bluesky_ext.server.config import ConfigError
from bluesky_ext.server.executors import executor_of
from bluesky_ext.server.pipeline import Site


@pytest.fixture
def module(tmp_path, monkeypatch) -> Iterator[str]:
    (tmp_path / "my_analysis.py").write_text(
        """
import os

from bluesky_ext import ImageProcessor
from bluesky_ext.engine import Map
from bluesky_ext.server import Pipeline

SEEN = []

class Mortal:
    def __call__(self, data, seq_num):
        if seq_num == 2 and not os.path.exists("died"):
            open("died", "x").close()
            os._exit(1)
        return {"n": seq_num}

def mortal(executor=None):
    return Map(Mortal(), parameters={}, executor=executor)

def plain(greeting="hello"):
    return lambda name, doc: SEEN.append((greeting, name))

def stage():
    return ImageProcessor("camera")

def somewhere(data_key, executor=None):
    return ImageProcessor(data_key, executor=executor)

there = ImageProcessor("camera")

def nothing():
    return None

class Settings(Pipeline):
    "Nothing much."
    greeting: str

    def build(self, site):
        return plain(self.greeting)

number = 5
"""
    )
    (tmp_path / "broken.py").write_text("nonsense")
    monkeypatch.chdir(tmp_path)
    yield "my_analysis"
    sys.modules.pop("my_analysis", None)


def test_a_function_of_a_module_at_hand(module, tmp_path):
    (tmp_path / "settings.toml").write_text('greeting = "good morning"')
    callback = registry.configured(f"{module}:plain", tmp_path / "settings.toml").build(Site())
    RunEngine()(count([det]), callback)
    import my_analysis

    assert [("good morning", name) for name in ("start", "descriptor", "event", "stop")] == my_analysis.SEEN


def test_a_pipeline_of_a_module_at_hand(module, tmp_path):
    (tmp_path / "settings.toml").write_text('greeting = "good evening"')
    callback = registry.configured(f"{module}:Settings", tmp_path / "settings.toml").build(Site())
    callback("stop", {})
    import my_analysis

    assert my_analysis.SEEN == [("good evening", "stop")]


def test_what_a_plain_stage_makes_goes_to_the_sinks(module):
    got: list = []
    stage = registry.configured(f"{module}:stage", None).build(Site(sinks=(got,)))
    key = {"source": "sim", "dtype": "array", "shape": [2, 2]}
    stage("start", {"uid": "a", "time": 0.0})
    stage("descriptor", {"uid": "d", "run_start": "a", "time": 0.5, "name": "primary", "data_keys": {"camera": key}})
    stage("stop", {"uid": "b", "run_start": "a", "time": 1.0, "exit_status": "success"})
    assert [name for name, _ in got] == ["start", "stop"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("crystal-maping", r"no pipeline 'crystal-maping': there are .*crystal-mapping.*or give module:factory"),
        ("nowhere:factory", "no pipeline nowhere:factory: No module named 'nowhere'"),
        ("my_analysis:missing", "no pipeline my_analysis:missing: .*no attribute 'missing'"),
        ("my_analysis:number", "my_analysis:number is 5: give a Pipeline"),
        ("my_analysis:there", "my_analysis:there is .*: give a Pipeline, or a function that returns a callback"),
        ("broken:factory", "no pipeline broken:factory: NameError: name 'nonsense' is not defined"),
    ],
)
def test_a_pipeline_that_is_none(module, name, said):
    with pytest.raises(registry.UnknownPipeline, match=said):
        registry.find(name)


def test_a_factory_that_returns_nothing(module):
    with pytest.raises(TypeError, match="returned None: a pipeline is a callback"):
        registry.configured(f"{module}:nothing", None).build(Site())


def test_a_factory_is_given_the_executor_if_it_takes_one(module, tmp_path):
    (tmp_path / "settings.toml").write_text('data_key = "camera"')
    with ThreadPoolExecutor(1) as pool:
        stage: Any = registry.configured(f"{module}:somewhere", tmp_path / "settings.toml").build(Site(executor=pool))
        assert stage.executor is pool
    assert registry.find(f"{module}:somewhere").distributes
    assert not registry.find(f"{module}:plain").distributes


def test_the_class_of_a_stage_is_a_pipeline(tmp_path):
    (tmp_path / "settings.toml").write_text('data_key = "camera"\ndiameter = 7\nminmass = 30\n')
    stage: Any = registry.configured("bluesky_ext:PeakTracker", tmp_path / "settings.toml").build(Site())
    assert stage.data_keys == ("camera",)
    assert (stage.parameters["diameter"], stage.parameters["minmass"]) == (7, 30)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "settings.toml: data_key is missing"),
        ('data_key = "a"\n\nexecutor = "b"\n', "settings.toml: executor is no setting: there are data_key"),
    ],
)
def test_the_settings_of_a_factory_are_checked_too(module, tmp_path, text, said):
    (tmp_path / "settings.toml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        registry.configured(f"{module}:somewhere", tmp_path / "settings.toml").build(Site())


@pytest.mark.parametrize("text", ["threads:2", "processes:1"])
def test_executors_by_name(text):
    with executor_of(text) as executor:
        pool = executor if isinstance(executor, Executor) else executor()
        assert pool.submit(pow, 3, 2).result() == 9
    with pytest.raises(RuntimeError):  # it was shut down
        pool.submit(pow, 3, 2)


def test_a_served_pipeline_survives_the_death_of_a_worker(module, tmp_path, run_engine):
    got: list = []
    with executor_of("processes:1") as executor:
        site = Site(executor, sinks=(got,))
        run_engine(count([det], 4), registry.configured(f"{module}:mortal", None).build(site))
    assert (tmp_path / "died").exists()
    assert [doc["data"]["n"] for name, doc in got if name == "event"] == [1, 2, 3, 4]


def test_a_cluster_by_its_address():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster,
        executor_of(f"dask:{cluster.scheduler_address}") as executor,
    ):
        assert executor is not None
        assert executor.submit(pow, 3, 2).result() == 9


@pytest.mark.parametrize("text", ["", "threads", "threads:0", "threads:two", "dask:", "gpu:1"])
def test_an_executor_that_is_none(text):
    with pytest.raises(ValueError, match=r"give threads:N, processes:N or dask:ADDRESS"), executor_of(text):
        pass
