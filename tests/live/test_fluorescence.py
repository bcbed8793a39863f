"""Element maps by a worker and a reducer, whose configuration is a parameter."""

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.plans import grid_scan

from bluesky_ext import FluorescenceFit, FluorescenceMap, LiveAnalysis
from bluesky_ext.live.fluorescence import FluorescenceReducer, FluorescenceWorker
from bluesky_ext.sim.fluorescence import fluorescence_beamline

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
