"""The STXM without devices: what physics says."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from bluesky_ext.stxm.sim import Conditions, Material, Microscope, Polarization, Resonance, Ring, Specimen, ZonePlate

EDGE = 290.0


@pytest.fixture(scope="module")
def microscope() -> Microscope:
    return Microscope(seed=3)


def aligned(microscope: Microscope, energy: float = 285.2, **changes) -> Conditions:
    """Everything where the beam is, the middle of the first particle in it."""
    particle = microscope.sample.particles[0]
    (osa_y, osa_x), (detector_y, detector_x) = microscope.osa_centre, microscope.detector_centre
    at = Conditions(
        energy=energy,
        zoneplate_z=microscope.focus(energy),
        y=particle.y,
        x=particle.x,
        osa_y=osa_y,
        osa_x=osa_x,
        detector_y=detector_y,
        detector_x=detector_x,
    )
    return dataclasses.replace(at, **changes)


def test_a_spectrum_is_a_background_a_step_and_a_peak():
    material = Material("m", background=0.4, edge=EDGE, jump=1.2, edge_width=1e-6, resonances=(Resonance(285, 3, 0.5),))
    far_below, on_the_peak, one_sigma, above = material.absorption([200.0, 285.0, 285.5, 2 * EDGE])
    assert far_below == pytest.approx(0.4 * (EDGE / 200) ** 3)
    assert on_the_peak == pytest.approx(0.4 * (EDGE / 285) ** 3 + 3)
    assert one_sigma == pytest.approx(0.4 * (EDGE / 285.5) ** 3 + 3 * math.exp(-0.5))
    assert above == pytest.approx((0.4 + 1.2) / 8, rel=1e-6)


def test_a_dichroic_peak_goes_with_the_squared_cosine_and_circular_light_sees_the_mean():
    peak = Resonance(285, 2, 0.5, dichroism=1.0, axis=30)
    assert peak.absorption(285, 30) == pytest.approx(4)
    assert peak.absorption(285, 120) == pytest.approx(0, abs=1e-12)
    assert peak.absorption(285, 75) == pytest.approx(4 * math.cos(math.radians(45)) ** 2)
    assert peak.absorption(285) == 2
    assert np.mean([peak.absorption(285, angle) for angle in range(0, 180, 10)]) == pytest.approx(2)


def test_the_focal_length_is_diameter_times_zone_by_wavelength():
    zoneplate = ZonePlate(diameter=250, outer_zone=25)
    # 12.398 eV have a wavelength of 100 nm: 250 um * 25 nm / 100 nm.
    assert zoneplate.focal_length(12.39841984) == pytest.approx(62.5)
    assert zoneplate.focal_length(600) == pytest.approx(2 * zoneplate.focal_length(300))
    # The disc of a cone: its radius at 10 um from the focus of f = 1000 um is 1.25 um, half of it along an axis.
    energy = 1000 / zoneplate.slope
    assert zoneplate.blur(energy, 10.0) == pytest.approx(math.hypot(0.625, 0.025 / 2.3548), rel=1e-4)
    assert zoneplate.blur(energy, -10.0) == zoneplate.blur(energy, 10.0)


def test_transmission_is_the_exponential_of_the_optical_density(microscope):
    sample = microscope.sample
    particle, hole = sample.particles[0], sample.hole
    for energy, angle in ((280.0, None), (285.2, 30.0), (320.0, 90.0)):
        mu = [float(material.absorption(energy, angle)) for material in sample.materials]
        density = mu[0] * sample.film_thickness + mu[1] * particle.thickness
        assert sample.optical_density(particle.y, particle.x, energy, angle) == pytest.approx(density)
        assert sample.transmission(particle.y, particle.x, energy, angle) == pytest.approx(math.exp(-density))
        assert sample.transmission(hole.y, hole.x, energy, angle) == pytest.approx(1.0)
    y, x = np.meshgrid(*(axis[::9] for axis in sample.axes), indexing="ij")
    np.testing.assert_allclose(
        sample.transmission(y, x, 285.2), np.exp(-sample.optical_density(y, x, 285.2)), rtol=1e-12
    )
    assert sample.transmission(100.0, 0.0, 285.2) == 1.0


def test_a_turned_sample_is_thicker_and_narrower(microscope):
    sample = microscope.sample
    particle = sample.particles[0]
    straight = float(sample.optical_density(particle.y, particle.x, 285.2))
    assert sample.optical_density(particle.y, particle.x / 2, 285.2, None, 60.0) == pytest.approx(2 * straight)
    assert sample.transmission(particle.y, particle.x / 2, 285.2, None, -60.0) == pytest.approx(math.exp(-2 * straight))
    with pytest.raises(ValueError, match=r"turned by 85\.0 degrees"):
        sample.transmission(0, 0, 285.2, None, 85.0)


def test_the_particles_show_on_their_resonance_and_hardly_below_it(microscope):
    def contrast(energy: float, angle: float) -> float:
        particle, edge = microscope.sample.particles[0], microscope.sample
        beside = edge.transmission(particle.y, particle.x + particle.radius + 0.2, energy, angle)
        return float(beside / edge.transmission(particle.y, particle.x, energy, angle))

    assert contrast(285.2, 30) > 5 * contrast(280, 30) / 2
    # Their dichroism: 1.8 times the mean along the axis, 0.2 times across.
    particle, material = microscope.sample.particles[0], microscope.sample.particle
    along, across = (microscope.sample.optical_density(particle.y, particle.x, 285.2, a) for a in (30, 120))
    assert along - across == pytest.approx(particle.thickness * 1.6 * material.resonances[0].height)


@pytest.mark.parametrize(
    ("polarization", "direction"),
    [
        (Polarization.CIRCULAR_LEFT, None),
        (Polarization.CIRCULAR_RIGHT, None),
        (Polarization.LINEAR_HORIZONTAL, 0.0),
        (Polarization.LINEAR_VERTICAL, 90.0),
        (Polarization.LINEAR_INCLINED, 25.0),
    ],
)
def test_the_undulator_gives_a_direction(polarization, direction):
    assert Conditions(285, -1400, polarization=polarization, angle=25.0).direction == direction


def test_the_border_of_the_aperture_is_sharpest_where_the_focus_is_on_it(microscope):
    energy = 285.2

    def width(zoneplate_z: float) -> float:
        """Distance in which the flux falls from 90 to 10 percent."""
        y, x = microscope.osa_centre
        away = np.linspace(0, 100, 20_001)
        through = [
            microscope.osa_transmission(Conditions(energy, zoneplate_z, osa_y=y, osa_x=x + distance))
            for distance in away
        ]
        return float(np.interp(-0.1, -np.array(through), away) - np.interp(-0.9, -np.array(through), away))

    focus = microscope.osa_focus(energy)
    widths = [width(focus + distance) for distance in (-20, -10, 0, 10, 20)]
    assert widths[2] == min(widths)
    # 10-90 of a gaussian is 2.563 of its standard deviations.
    assert widths[4] == pytest.approx(2.563 * microscope.zoneplate.blur(energy, 20), rel=0.01)
    # Focused on the sample, the aperture is clear.
    assert microscope.osa_transmission(aligned(microscope)) > 0.999


def test_the_detector_sees_the_beam_on_its_face_only(microscope):
    assert microscope.detection(aligned(microscope)) == pytest.approx(1.0)
    y, x = microscope.detector_centre
    assert microscope.detection(aligned(microscope, detector_y=y + 300)) == pytest.approx(0.5)
    assert microscope.detection(aligned(microscope, detector_x=x + 400)) < 1e-6


def test_the_rate_is_the_product_of_all_that_the_beam_passes(microscope):
    at = aligned(microscope, seconds=90.0)
    assert microscope.rate(at) == pytest.approx(
        microscope.flux
        * math.exp(-90 / 36_000)
        * microscope.osa_transmission(at)
        * microscope.detection(at)
        * microscope.transmission(at)
    )
    # A particle is much larger than the spot: in its middle the blur does nothing.
    assert microscope.transmission(at) == pytest.approx(
        math.exp(-microscope.sample.optical_density(at.y, at.x, at.energy, 0.0))
    )


def test_a_ring_decays_and_is_topped_up():
    assert Ring(200, lifetime=100, top_up=None).current(100) == pytest.approx(200 / math.e)
    topped = Ring(200, lifetime=100, top_up=10)
    assert topped.current(25) == topped.current(5) == pytest.approx(200 * math.exp(-0.05))
    assert topped.current(30) == 200


def test_a_diffraction_pattern_has_the_power_of_the_exit_wave(microscope):
    at = aligned(microscope, zoneplate_z=microscope.focus(285.2) + 3)
    assert (np.abs(microscope.probe(at, 64)) ** 2).sum() == pytest.approx(1)
    # In the middle of a particle all of the probe has the same material in its way.
    assert microscope.diffraction(at, 64).sum() == pytest.approx(microscope.rate(at), rel=1e-3)
    # At its border the power is that of the transmission under the probe.
    particle = microscope.sample.particles[0]
    border = dataclasses.replace(at, x=particle.x + particle.radius)
    offsets = 0.015 * (np.arange(64) - 32)
    density = microscope.sample.optical_density(border.y + offsets[:, None], border.x + offsets, 285.2, 0.0)
    power = (np.abs(microscope.probe(border, 64)) ** 2 * np.exp(-density)).sum() * microscope.incident(border)
    assert microscope.diffraction(border, 64).sum() == pytest.approx(power)
    assert microscope.rate(at) < power < microscope.incident(at)


def test_the_pattern_of_an_empty_place_is_that_of_the_probe(microscope):
    hole = microscope.sample.hole
    at = aligned(microscope, y=hole.y, x=hole.x)
    probe = microscope.probe(at, 64)
    np.testing.assert_allclose(microscope.exit_wave(at, 64), probe)
    expected = np.abs(np.fft.fftshift(np.fft.fft2(probe))) ** 2 / 64**2 * microscope.incident(at)
    np.testing.assert_allclose(microscope.diffraction(at, 64), expected)
    # The object can be had back from the wave, which is what ptychography does.
    particle = microscope.sample.particles[0]
    at = aligned(microscope, x=particle.x + particle.radius)
    seen = (microscope.exit_wave(at, 64) / microscope.probe(at, 64))[32]
    density = microscope.sample.optical_density(at.y, at.x + 0.015 * (np.arange(64) - 32), 285.2, 0.0)
    np.testing.assert_allclose(np.abs(seen), np.exp(-density / 2))
    np.testing.assert_allclose(np.angle(seen), 0.5 * density)


def test_particles_and_hole_keep_apart():
    sample = Specimen(seed=1, n_particles=10)
    places = [*sample.particles, sample.hole]
    assert len(sample.particles) == 10
    for one in places:
        for other in places:
            if one is not other:
                assert math.hypot(one.y - other.y, one.x - other.x) > one.radius + other.radius


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: Specimen(n_particles=500), "only .* have room"),
        (lambda: Specimen(extents=((1, -1), (0, 1))), "extents in y"),
        (lambda: Specimen(pixel=0), "pixel is 0"),
        (lambda: Microscope(flux=-1), "flux is -1"),
        (lambda: ZonePlate(central_stop=300), "central_stop is 300"),
        (lambda: ZonePlate(diameter=0), "diameter is 0"),
        (lambda: Resonance(285, 1, 0), "width of the resonance is 0"),
        (lambda: Resonance(285, 1, 1, dichroism=2), "dichroism is 2"),
        (lambda: Material("m", -1, 290), "background of m is -1"),
        (lambda: Ring(lifetime=0), "lifetime is 0"),
    ],
)
def test_what_cannot_be_is_said_at_once(make, word):
    with pytest.raises(ValueError, match=word) as raised:
        make()
    assert "\n" not in str(raised.value)
