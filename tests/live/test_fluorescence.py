"""Element maps by a worker and a reducer, whose configuration is a parameter."""

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.plans import grid_scan

from bluesky_ext import FluorescenceFit, FluorescenceMap, LiveAnalysis
from bluesky_ext.live.events import Event, Result
from bluesky_ext.live.fluorescence import FluorescenceReducer, FluorescenceWorker
from bluesky_ext.live.parameters import Parameters
from bluesky_ext.sim.fluorescence import FluorescenceSample, fluorescence_beamline

KEY = "xspress3_spectra"


@pytest.mark.parametrize("n_workers", [1, 2])
def test_the_pair_makes_the_maps_of_the_stages(n_workers):
    beam = fluorescence_beamline(seed=3, n_channels=1200)
    analysis = LiveAnalysis(
        FluorescenceWorker,
        FluorescenceReducer,
        parameters={"mca_config": beam.sample.cfg, "data_key": KEY, "live_time": "xspress3_live_time"},
        workers=n_workers,
    )
    fit, maps = FluorescenceFit(KEY, beam.sample.cfg, live_time="xspress3_live_time"), FluorescenceMap(KEY)
    fit.subscribe(maps)
    run_engine = RunEngine({})
    for stage in (analysis, fit):
        run_engine.subscribe(stage)
    run_engine(grid_scan([beam.detector], beam.y, -0.1, 0.1, 3, beam.x, -0.1, 0.1, 4))
    tree, expected = analysis.publish().tree, maps.publish().tree
    for group in ("map", "grid"):
        for kind in ("massfractions", "parameters", "uncertainties"):
            assert tree[group][kind].keys() == expected[group][kind].keys()
            for line in beam.sample.model.lines:
                got = tree[group][kind][line]
                np.testing.assert_array_equal(got["values"], expected[group][kind][line]["values"])
    np.testing.assert_array_equal(tree["spectrum"]["counts"], expected["spectrum"]["counts"])
    assert analysis.stats.failed == 0


def test_a_change_while_a_run_goes_begins_other_maps_and_a_key_that_is_not_there_is_said(caplog):
    cfg = FluorescenceSample(n_channels=1200).cfg
    worker, reducer = FluorescenceWorker(), FluorescenceReducer()
    keys = {KEY: {"source": "s", "dtype": "array", "shape": [4, 1200]}}
    descriptor = {"uid": "d", "name": "primary", "time": 0.0, "run_start": "r", "data_keys": keys}
    spectra = np.random.default_rng(0).poisson(np.full((4, 1200), 5.0))

    def pass_on(number, cfg, key=KEY):
        parameters = Parameters(FluorescenceWorker.describe_parameters()).changed({"mca_config": cfg, "data_key": key})
        event = Event(number, "primary", {KEY: spectra}, {}, descriptor)
        if (payload := worker.process_event(event, parameters)) is not None:
            reducer.process_result(Result(number, "primary", payload, "w", ""))

    for number, (one, gain) in enumerate(((cfg, 0.01), (cfg.replace(b"gain = 0.01\n", b"gain = 0.0101\n"), 0.0101)), 1):
        pass_on(number, one)
        np.testing.assert_allclose(np.diff(reducer.publish["spectrum"]["energy"]), gain)
        assert len(reducer.publish["map"]["parameters"]["Fe K"]["values"]) == 1
    for number in (3, 4):
        pass_on(number, cfg, "typo")
    (line,) = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert line == f"an event has no 'typo', which is data_key, but {KEY}: nothing is made of it"


def test_another_configuration_begins_other_maps_and_none_makes_none():
    beam = fluorescence_beamline(seed=3, n_channels=1200)
    analysis = LiveAnalysis(FluorescenceWorker, FluorescenceReducer, parameters={"data_key": KEY})
    run_engine = RunEngine({})
    run_engine.subscribe(analysis)
    plan = lambda: grid_scan([beam.detector], beam.y, -0.1, 0.1, 2, beam.x, -0.1, 0.1, 2)  # noqa: E731
    run_engine(plan())
    assert "map" not in analysis.publish().tree
    for elements in ("Fe = K", "Fe = K\nZn = K"):
        analysis.set_parameters(
            {"mca_config": beam.sample.cfg.replace(b"Ca = K\nFe = K\nCu = K\nZn = K", elements.encode())}
        )
        run_engine(plan())
        lines = [line.replace(" = ", " ") for line in elements.splitlines()]
        assert list(analysis.publish().tree["map"]["parameters"])[1:] == lines
