"""Stacks of images: over energies, polarisations, angles; of counts, or of diffraction patterns."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from bluesky.protocols import Readable
from bluesky.utils import CustomPlanMetadata, MsgGenerator, plan

from bluesky_ext.plans.check import check_finite
from bluesky_ext.stxm.axes import Axis, Dimension, as_list, points
from bluesky_ext.stxm.parameters import scan_plan
from bluesky_ext.stxm.scan import Image, Scan

__all__ = ["ptychography_scan", "sample_image_stack", "tomography_scan"]


@scan_plan
def sample_image_stack(
    detectors: Sequence[Readable] | Readable,
    station: Readable,
    regions: Sequence[Sequence[float]],
    energies: Sequence[float],
    *,
    polarizations: Sequence[float | Sequence[float]] | None = None,
    dwell: float = 1.0,
    single_run: bool = False,
    per_step: Callable[..., Any] | None = None,
    md: CustomPlanMetadata | None = None,
) -> MsgGenerator[str]:
    """Take an image of each region of the sample at each energy and each polarisation.

    Each region at each polarisation becomes an entry of the file. The baseline is read in the first run of each.

    Parameters
    ----------
    detectors : list or tuple
        Point detectors, or line detectors, which count a row for each trigger, or a single one.
    regions : list of lists
        The images, ``(y_start, y_stop, y_num, x_start, x_stop, x_num)`` of each, of SampleFineY and SampleFineX in um.
    """
    return (yield from _stack(Scan("sample_image_stack", locals()), regions))


@scan_plan
def tomography_scan(
    detectors: Sequence[Readable] | Readable,
    station: Readable,
    region: Sequence[float],
    energies: Sequence[float],
    angles: Sequence[float],
    *,
    polarizations: Sequence[float | Sequence[float]] | None = None,
    dwell: float = 1.0,
    single_run: bool = False,
    per_step: Callable[..., Any] | None = None,
    md: CustomPlanMetadata | None = None,
) -> MsgGenerator[str]:
    """Take an image of the sample at each angle, each energy and each polarisation.

    Each angle at each polarisation becomes an entry of the file. The baseline is read in the first run of each.

    Parameters
    ----------
    detectors : list or tuple
        Point detectors, or line detectors, which count a row for each trigger, or a single one.
    region : list
        The image, ``(y_start, y_stop, y_num, x_start, x_stop, x_num)``, of SampleFineY and SampleFineX in um.
    angles : list of float
        Angles of GoniTheta in degrees.
    """
    return (yield from _stack(Scan("tomography_scan", locals()), [region]))


@scan_plan
def ptychography_scan(
    detectors: Sequence[Readable] | Readable,
    station: Readable,
    region: Sequence[float],
    energies: Sequence[float],
    *,
    polarizations: Sequence[float | Sequence[float]] | None = None,
    dwell: float = 10.0,
    single_run: bool = False,
    per_step: Callable[..., Any] | None = None,
    md: CustomPlanMetadata | None = None,
) -> MsgGenerator[str]:
    """Take a diffraction pattern at each point of an image, at each energy and each polarisation.

    Each polarisation becomes an entry of the file. The baseline is read in the first run of each.

    Parameters
    ----------
    detectors : list or tuple
        A camera, and point detectors beside it, or a single one.
    region : list
        The image, ``(y_start, y_stop, y_num, x_start, x_stop, x_num)``, of SampleFineY and SampleFineX in um. Its
        points should be closer together than the spot is wide.
    """
    return (yield from _stack(Scan("ptychography_scan", locals()), [region]))


@plan
def _stack(scan: Scan, regions: Any) -> MsgGenerator[str]:
    """A stack of one kind: the undulator is slow, then the rotation, then the energy, then the regions."""
    images = _images(scan, regions)
    energy = scan.listed("ENERGY", scan.given["energies"], "energies")
    turn = scan.listed("GoniTheta", scan.given["angles"], "angles") if "angles" in scan.given else None
    undulator, settings = _undulator(scan, scan.given["polarizations"])
    single_run = scan.given["single_run"]
    if scan.by_line and len({columns.axes for _, columns in images}) > 1:
        raise ValueError(f"{scan.detectors[0].name} counts lines of one length and place: give regions with the same x")
    if single_run and len({(len(rows), len(columns)) for rows, columns in images}) > 1:
        raise ValueError("single_run is True and the regions differ in their numbers of points: leave it out")
    turned = {"GONI.T": turn} if turn else {}
    areas = [{"Y": rows.axes[0], "X": columns.axes[0], **turned} for rows, columns in images]
    slow = [Dimension(axes) for axes in (undulator, tuple(turned.values()), (energy,)) if axes]
    turns = turn.setpoints if turn else (None,)
    places = product(range(max(len(settings), 1)), enumerate(turns), range(len(energy.setpoints)))
    runs = []
    for moves, (pol, (number, angle), e) in zip(points(slow), places, strict=True):
        for sp, image in enumerate(images):
            entry = f"entry{(pol * len(turns) + number) * len(images) + sp}"
            index = {"e_idx": e, "pol_idx": pol, "sp_idx": sp, "sp_id": sp, "entry": entry}
            runs.append(Image(image, index if angle is None else {**index, "rotation_angle": angle}, moves))
    if single_run:
        index = {str(number): run.index for number, run in enumerate(runs)}
        runs = [Image((*slow, *_joined(images, scan.by_line)), index)]
    return (yield from scan.measure(runs, areas, energies=energy.setpoints, polarizations=settings))


def _images(scan: Scan, regions: Any) -> list[tuple[Dimension, ...]]:
    """Rows and columns of each region."""
    images = []
    for region in as_list("regions", regions, "the regions"):
        ends = list(region) if hasattr(region, "__iter__") else []
        if len(ends) != 6:
            raise ValueError(f"{region!r} is no region: give (y_start, y_stop, y_num, x_start, x_stop, x_num)")
        names = [f"{axis}_{end}" for axis in "yx" for end in ("start", "stop", "num")]
        given = dict(zip(names, ends, strict=True))
        images.append(tuple(scan.even(axis, given[f"{axis}_num"], ends=given) for axis in "yx"))
    if not images:
        raise ValueError("regions is empty: give one region or more")
    return images


def _undulator(scan: Scan, polarizations: Any) -> tuple[tuple[Axis, ...], list[tuple[float, float, float]]]:
    """The devices of the undulator and their settings; none if they are to stay as they are."""
    if polarizations is None:
        return (), []
    settings = []
    for given in as_list("polarizations", polarizations, "the settings"):
        values = list(given) if hasattr(given, "__iter__") else [given]
        if not 1 <= len(values) <= 3:
            raise ValueError(f"polarizations has {given!r} in it: give a number, or (polarization, offset, angle)")
        for value in values:
            check_finite("a value in polarizations", value)
        settings.append((*map(float, values), *[0.0] * (3 - len(values))))
    if not settings:
        raise ValueError("polarizations is empty: give one or more, or leave it out")
    columns = zip(("EPUPolarization", "EPUOffset", "EPUAngle"), zip(*settings, strict=True), strict=True)
    moved = [(name, values) for name, values in columns if name == "EPUPolarization" or name in scan.station]
    return tuple(scan.listed(name, values, "polarizations") for name, values in moved), settings


def _joined(images: list[tuple[Dimension, ...]], by_line: bool) -> tuple[Dimension, ...]:
    """The dimensions of all regions in one run: of several, their points or lines one after the other."""
    if len(images) == 1:
        return images[0]
    stepped = 1 if by_line else 2
    places = [place for image in images for place in points(image[:stepped])]
    devices = [dim.axes[0] for dim in images[0][:stepped]]
    axes = [replace(axis, setpoints=tuple(place[axis.device] for place in places)) for axis in devices]
    return (Dimension(tuple(axes)), *images[0][stepped:])
