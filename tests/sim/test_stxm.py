"""The devices of the simulated STXM, by themselves and in the RunEngine."""

from __future__ import annotations

import math

import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.plans import count, scan
from event_model import DocumentNames, schema_validators
from ophyd.utils import LimitError

from bluesky_ext.stxm.sim import Ring, Stage, stxm


def test_counts_are_poisson_about_the_truth():
    s = stxm(2, ring=Ring(top_up=1e-3, lifetime=1e9))
    expected = s.counter.expected(s.conditions())
    assert expected == pytest.approx((s.microscope.rate(s.conditions()) + 20) * 1e-3)
    counts = []
    for _ in range(2000):
        s.counter.trigger().wait()
        counts.append(s.counter.single_value_rbv.get())
    # The mean of 2000 is within four of its standard deviations; the variance of a Poisson distribution is its mean.
    assert np.mean(counts) == pytest.approx(expected, abs=4 * math.sqrt(expected / 2000))
    assert np.var(counts) == pytest.approx(expected, rel=0.15)


def test_dwell_is_in_ms_and_counts_go_with_it():
    s = stxm(2)
    once = s.counter.expected(s.conditions())
    s.counter.dwell.put(25.0)
    assert s.counter.expected(s.conditions()) == pytest.approx(25 * once)


def test_a_diode_sees_less_and_reads_in_its_own_unit():
    s = stxm(2)
    rate = s.microscope.rate(s.conditions())
    assert s.diode.expected(s.conditions()) == pytest.approx(1e-3 * (0.2 * rate + 2000) * 1e-3)
    assert s.diode.describe()["pmt_single_value_rbv"]["units"] == "nA"
    assert s.counter.describe()["counter0_single_value_rbv"]["units"] == "counts"


def test_a_closed_shutter_leaves_the_dark_counts():
    s = stxm(2)
    s.shutter.put("closed")
    assert s.counter.expected(s.conditions(), is_open=False) == pytest.approx(0.02)
    for detector in (s.counter, s.line, s.ccd):
        detector.trigger().wait()
    assert s.counter.single_value_rbv.get() < 5
    assert not s.line.waveform_rbv.get().any()
    assert not s.ccd.image.get().any()


def test_the_same_calls_give_the_same_counts():
    def run() -> list[float]:
        s = stxm(7)
        values = []
        for energy in (280.0, 285.2):
            s.energy.set(energy).wait()
            for detector in (s.counter, s.diode, s.ccd, s.line):
                detector.trigger().wait()
            values += [s.counter.single_value_rbv.get(), s.diode.single_value_rbv.get(), s.ccd.stats.total.get()]
            values += s.line.waveform_rbv.get().tolist()
        return values

    assert run() == run()


def test_the_noise_of_a_detector_does_not_depend_on_the_others():
    one, other = stxm(7), stxm(7)
    other.ccd.trigger().wait()
    for s in (one, other):
        s.counter.trigger().wait()
    assert one.counter.single_value_rbv.get() == other.counter.single_value_rbv.get()


def test_the_energy_takes_the_zone_plate_along():
    s = stxm(2, jitter=False)
    assert s.zoneplate_z.where == pytest.approx(s.microscope.focus(285.2))
    s.zoneplate_z.set(s.microscope.focus(285.2) + 4).wait()
    s.energy.set(700.0).wait()
    assert s.zoneplate_z.where == pytest.approx(s.microscope.focus(700) + 4)
    assert s.zoneplate_z.user_setpoint.get() == pytest.approx(s.microscope.focus(700) + 4)
    with pytest.raises(LimitError, match="2100"):
        s.energy.set(2100.0)
    s.zoneplate_z.carry(-400.0)
    with pytest.raises(LimitError, match="zoneplate_z"):
        s.energy.set(200.0)
    assert s.energy.where == 700


def test_a_stage_stops_beside_its_setpoint_and_again_at_the_same_place():
    stage = Stage(name="x", jitter=0.1, seed=1)
    assert stage.where == 0
    stage.set(2.0).wait()
    where = stage.where
    assert 0 < abs(where - 2) <= 0.1
    assert stage.user_setpoint.get() == 2
    stage.set(3.0).wait()
    assert stage.where - 3 != where - 2
    stage.set(2.0).wait()
    assert stage.where == where
    other = Stage(name="x", jitter=0.1, seed=2, value=1.0)
    # Where it is at the start is known.
    assert other.where == 1
    other.set(2.0).wait()
    assert other.where != where
    other.set(1.0).wait()
    assert other.where == 1


def test_the_undulator_has_places_only():
    s = stxm()
    s.polarization.set(5).wait()
    with pytest.raises(LimitError, match="give one of 0, 1, 2, 3, 5"):
        s.polarization.set(2.5)
    s.epu_angle.set(45.0).wait()
    assert s.conditions().direction == 45


def test_all_three_kinds_of_stages_move_the_sample():
    s = stxm(jitter=False)
    for stage, position in ((s.sample_x, 1.0), (s.coarse_x, 20.0), (s.goni_x, 300.0)):
        stage.set(position).wait()
    assert s.conditions().x == 321
    assert s.conditions().y == 0


def test_a_line_is_counted_where_the_stage_goes():
    s = stxm(4, jitter=False, flux=1e9)
    particle = s.microscope.sample.particles[0]
    s.sample_y.set(particle.y).wait()
    s.coarse_x.set(0.25).wait()
    start, stop = particle.x - 2 * particle.radius, particle.x + 2 * particle.radius
    for signal, value in ((s.line.line_start, start), (s.line.line_stop, stop), (s.line.line_num, 33)):
        signal.put(value)
    s.line.trigger().wait()
    counts = s.line.waveform_rbv.get()
    assert s.sample_x.where == stop
    x = np.linspace(start, stop, 33) + 0.25
    at = s.conditions()
    expected = s.microscope.incident(at) * s.microscope.transmissions(at, x) * 1e-3
    np.testing.assert_allclose(counts, expected, atol=5 * math.sqrt(expected.max()))
    assert s.line.describe()["line0_waveform_rbv"]["shape"] == [33] == list(counts.shape)


def test_the_camera_counts_what_the_counter_counts():
    s = stxm(4, flux=1e8)
    s.ccd.dwell.put(10.0)
    s.ccd.trigger().wait()
    image = s.ccd.image.get()
    assert image.dtype == np.uint32
    assert image.sum() == s.ccd.stats.total.get()
    expected = s.ccd.expected(s.conditions())
    assert image.sum() == pytest.approx(expected.sum(), abs=5 * math.sqrt(expected.sum()))
    # Pearson's chi squared of a Poisson image, where there are counts enough.
    bright = expected > 20
    chi2 = ((image[bright] - expected[bright]) ** 2 / expected[bright]).mean()
    assert chi2 == pytest.approx(1, abs=5 * math.sqrt(2 / bright.sum()))


def test_a_camera_without_an_image_says_so():
    s = stxm()
    with pytest.raises(RuntimeError, match="there is no image"):
        s.ccd.read()


@pytest.mark.parametrize("size", [8, 64.0, True, 5000])
def test_a_camera_has_a_size(size):
    with pytest.raises(ValueError, match="size is"):
        stxm(ccd_size=size)


def test_the_ring_decays_by_the_time_that_was_counted():
    s = stxm(ring=Ring(full=200, lifetime=10, top_up=None))
    s.counter.dwell.put(1000.0)
    s.diode.dwell.put(500.0)
    currents = []
    for _ in range(3):
        s.counter.trigger().wait()
        s.diode.trigger().wait()
        currents.append(s.ring_current.read()["ring_current_val"]["value"])
    # Two detectors triggered together count together: one second a point.
    assert currents == pytest.approx([200 * math.exp(-t / 10) for t in (0, 1, 2)])
    assert s.ring_current.describe()["ring_current_val"]["units"] == "mA"


def test_documents_are_valid_and_hold_what_was_counted(run_engine: RunEngine):
    s = stxm(1)
    documents = []
    run_engine(scan([s.counter, s.ccd, s.line, s.ring_current], s.energy, 280, 290, 3), lambda *d: documents.append(d))
    run_engine(count([s.diode], 2), lambda *d: documents.append(d))
    for name, doc in documents:
        schema_validators[DocumentNames[name]].validate(doc)
    keys = next(doc["data_keys"] for name, doc in documents if name == "descriptor")
    assert keys["ccd_image"]["shape"] == [64, 64]
    assert keys["ccd_image"]["dtype_numpy"] == "<u4"
    assert keys["energy"]["units"] == "eV"
    configuration = next(doc["configuration"] for name, doc in documents if name == "descriptor")
    assert configuration["counter0"]["data"] == {"counter0_dwell": 1.0}
    events = [doc["data"] for name, doc in documents if name == "event"]
    assert [event["energy_user_setpoint"] for event in events[:3]] == [280, 285, 290]
    assert all(0 < abs(event["energy"] - event["energy_user_setpoint"]) < 0.002 for event in events[:3])
    assert len({event["counter0_single_value_rbv"] for event in events[:3]}) == 3
