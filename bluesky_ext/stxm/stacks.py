"""Stacks of images: over energies, polarisations, angles; of counts, or of diffraction patterns."""

# Annotations are not postponed here: bluesky-queueserver takes them for the types of a plan's parameters, and
# strings it cannot resolve.
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

from bluesky.protocols import Readable
from bluesky.utils import CustomPlanMetadata, MsgGenerator, plan

from bluesky_ext.plans.check import check_finite
from bluesky_ext.stxm.axes import Axis, Dimension, as_list, even, listed, points
from bluesky_ext.stxm.endstation import Endstation
from bluesky_ext.stxm.metadata import Polarized, Region, image_index
from bluesky_ext.stxm.scan import Image, Scan, check_flag

__all__ = ["ptychography_scan", "sample_image_stack", "tomography_scan"]


@plan
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
    station : Readable
        The `Endstation`: the devices, the shutter and the zone plate.
    regions : list of lists
        The images, ``(y_start, y_stop, y_num, x_start, x_stop, x_num)`` of each, of SampleFineY and SampleFineX in um.
    energies : list of float
        Photon energies in eV, in the order in which they are measured.
    polarizations : list, optional
        Settings of the undulator, each an entry of its own: the number of the polarisation, or ``(polarization,
        offset, angle)``. By default it stays as it is.
    dwell : float
        Counting time of a point in ms.
    single_run : bool
        Make one run of all images, which are of one shape then. By default each image is a run.
    per_step : callable, optional
        What is done at each point instead of `bluesky.plan_stubs.one_nd_step`, and with the same arguments.
    md : dict, optional
        More metadata for the start document.

    Returns
    -------
    str
        The uid of the first run.
    """
    scan = Scan("sample_image_stack", detectors, station, dwell, per_step, md)
    return (yield from _stack(scan, regions, energies, polarizations, None, single_run, dwell))


@plan
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
    station : Readable
        The `Endstation`: the devices, the shutter and the zone plate.
    region : list
        The image, ``(y_start, y_stop, y_num, x_start, x_stop, x_num)``, of SampleFineY and SampleFineX in um.
    energies : list of float
        Photon energies in eV, in the order in which they are measured.
    angles : list of float
        Angles of GoniTheta in degrees.
    polarizations : list, optional
        Settings of the undulator, each an entry of its own: the number of the polarisation, or ``(polarization,
        offset, angle)``. By default it stays as it is.
    dwell : float
        Counting time of a point in ms.
    single_run : bool
        Make one run of all images, which are of one shape then. By default each image is a run.
    per_step : callable, optional
        What is done at each point instead of `bluesky.plan_stubs.one_nd_step`, and with the same arguments.
    md : dict, optional
        More metadata for the start document.

    Returns
    -------
    str
        The uid of the first run.
    """
    scan = Scan("tomography_scan", detectors, station, dwell, per_step, md)
    turns = [] if angles is None else angles
    return (yield from _stack(scan, [region], energies, polarizations, turns, single_run, dwell))


@plan
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
    station : Readable
        The `Endstation`: the devices, the shutter and the zone plate.
    region : list
        The image, ``(y_start, y_stop, y_num, x_start, x_stop, x_num)``, of SampleFineY and SampleFineX in um. Its
        points should be closer together than the spot is wide.
    energies : list of float
        Photon energies in eV, in the order in which they are measured.
    polarizations : list, optional
        Settings of the undulator, each an entry of its own: the number of the polarisation, or ``(polarization,
        offset, angle)``. By default it stays as it is.
    dwell : float
        Counting time of a point in ms.
    single_run : bool
        Make one run of all images, which are of one shape then. By default each image is a run.
    per_step : callable, optional
        What is done at each point instead of `bluesky.plan_stubs.one_nd_step`, and with the same arguments.
    md : dict, optional
        More metadata for the start document.

    Returns
    -------
    str
        The uid of the first run.
    """
    scan = Scan("ptychography_scan", detectors, station, dwell, per_step, md)
    return (yield from _stack(scan, [region], energies, polarizations, None, single_run, dwell))


@plan
def _stack(
    scan: Scan,
    regions: Any,
    energies: Any,
    polarizations: Any,
    angles: Any,
    single_run: bool,
    dwell: float,
) -> MsgGenerator[str]:
    """A stack of one kind: the undulator is slow, then the rotation, then the energy, then the regions."""
    check_flag("single_run", single_run)
    images = _images(scan.station, regions)
    energy = listed(scan.station, "ENERGY", energies, "energies")
    turn = None if angles is None else listed(scan.station, "GoniTheta", angles, "angles")
    undulator, settings = _undulator(scan.station, polarizations)
    if scan.by_line and len({columns.axes for _, columns in images}) > 1:
        raise ValueError(f"{scan.detectors[0].name} counts lines of one length and place: give regions with the same x")
    if single_run and len({(len(rows), len(columns)) for rows, columns in images}) > 1:
        raise ValueError("single_run is True and the regions differ in their numbers of points: leave it out")
    turned = {"GONI.T": turn} if turn else {}
    areas = [
        Region(number, {"Y": rows.axes[0], "X": columns.axes[0], **turned})
        for number, (rows, columns) in enumerate(images)
    ]
    slow = [Dimension(axes) for axes in (undulator, tuple(turned.values()), (energy,)) if axes]
    turns = turn.setpoints if turn else (None,)
    places = product(range(max(len(settings), 1)), enumerate(turns), range(len(energy.setpoints)))
    runs = []
    for moves, (pol, (number, angle), e) in zip(points(slow), places, strict=True):
        for sp, image in enumerate(images):
            entry = f"entry{(pol * len(turns) + number) * len(images) + sp}"
            at = {"energy": e, "polarization": pol, "region_index": sp, "rotation_angle": angle, "entry": entry}
            runs.append(Image(image, image_index(sp, **at), moves))
    if single_run:
        index = {str(number): run.index for number, run in enumerate(runs)}
        runs = [Image((*slow, *_joined(images, scan.by_line)), index)]
    plan_args = {
        **{"regions": [list(region) for region in regions], "energies": energy.setpoints, "dwell": dwell},
        **{"polarizations": [setting.as_dict() for setting in settings], "single_run": single_run},
        **({"angles": turn.setpoints} if turn else {}),
    }
    said = {"energies": energy.setpoints, "polarizations": settings}
    return (yield from scan.measure(runs, areas, plan_args, **said))


def _images(station: Endstation, regions: Any) -> list[tuple[Dimension, Dimension]]:
    """Rows and columns of each region."""
    images = []
    for region in as_list("regions", regions, "the regions"):
        ends = list(region) if hasattr(region, "__iter__") else []
        if len(ends) != 6:
            raise ValueError(f"{region!r} is no region: give (y_start, y_stop, y_num, x_start, x_stop, x_num)")
        y_start, y_stop, y_num, x_start, x_stop, x_num = ends
        rows = even(station, ["SampleFineY"], [y_start], [y_stop], y_num)
        images.append((rows, even(station, ["SampleFineX"], [x_start], [x_stop], x_num)))
    if not images:
        raise ValueError("regions is empty: give one region or more")
    return images


def _undulator(station: Endstation, polarizations: Any) -> tuple[tuple[Axis, ...], list[Polarized]]:
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
        settings.append(Polarized(*map(float, values)))
    if not settings:
        raise ValueError("polarizations is empty: give one or more, or leave it out")
    names = {"EPUPolarization": "polarization", "EPUOffset": "offset", "EPUAngle": "angle"}
    axes = [
        listed(station, name, [getattr(setting, part) for setting in settings], "polarizations")
        for name, part in names.items()
        if name == "EPUPolarization" or name in station
    ]
    return tuple(axes), settings


def _joined(images: list[tuple[Dimension, Dimension]], by_line: bool) -> tuple[Dimension, ...]:
    """The dimensions of all regions in one run: of several, their points or lines one after the other."""
    if len(images) == 1:
        return images[0]
    columns = images[0][1]
    stepped = [image[:1] if by_line else image for image in images]
    places = [point for dimensions in stepped for point in points(dimensions)]
    axes = [
        Axis(axis.name, tuple(place[axis.device] for place in places), axis.device)
        for axis in (dim.axes[0] for dim in stepped[0])
    ]
    return (Dimension(tuple(axes)), columns) if by_line else (Dimension(tuple(axes)),)
