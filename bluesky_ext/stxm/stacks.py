"""Stacks of images: over energies, polarisations, angles; of counts, or of diffraction patterns."""

# Annotations are not postponed here: bluesky-queueserver takes them for the types of a plan's parameters, and
# strings it cannot resolve.
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bluesky.protocols import Readable
from bluesky.utils import CustomPlanMetadata, MsgGenerator, plan

from bluesky_ext.plans.check import check_finite
from bluesky_ext.plans.grid import Axis
from bluesky_ext.stxm.detectors import check_detectors, check_lines, is_line_det, set_dwell, set_lines
from bluesky_ext.stxm.endstation import Endstation, as_endstation
from bluesky_ext.stxm.grid import Dimension, as_list, check_flag, check_setpoints, dimension, raster
from bluesky_ext.stxm.metadata import image_index, make_standard_metadata, sequence_map
from bluesky_ext.stxm.region import Polarized, Region, Span
from bluesky_ext.stxm.runs import Run, polarized, run_scan, start_document
from bluesky_ext.stxm.scan_type import ScanType

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
    md : dict, optional
        More metadata for the start document.

    Returns
    -------
    str
        The uid of the first run.
    """
    kind = Stack("sample_image_stack", ScanType.SAMPLE_IMAGE_STACK, single_run, lines=True)
    return (yield from _stack(kind, detectors, station, regions, energies, polarizations, None, dwell, md))


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
    md : dict, optional
        More metadata for the start document.

    Returns
    -------
    str
        The uid of the first run.
    """
    kind = Stack("tomography_scan", ScanType.TOMOGRAPHY_SCAN, single_run, lines=True)
    return (
        yield from _stack(
            kind, detectors, station, [region], energies, polarizations, () if angles is None else angles, dwell, md
        )
    )


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
    md : dict, optional
        More metadata for the start document.

    Returns
    -------
    str
        The uid of the first run.
    """
    kind = Stack("ptychography_scan", ScanType.PTYCHOGRAPHY_SCAN, single_run)
    return (yield from _stack(kind, detectors, station, [region], energies, polarizations, None, dwell, md))


@dataclass(frozen=True)
class Stack:
    """What one kind of stack has of its own.

    Parameters
    ----------
    plan_name : str
        Name of the plan.
    scan_type : ScanType
        Number of the type.
    single_run : bool
        Whether all images are one run.
    lines : bool
        Whether it can be taken line by line.
    """

    plan_name: str
    scan_type: ScanType
    single_run: bool
    lines: bool = False


@dataclass(frozen=True)
class Plane:
    """One image of a stack.

    Parameters
    ----------
    index : dict
        Where in the file it belongs.
    settings : mapping
        What is set for it.
    image : tuple of Dimension
        Its rows and columns.
    """

    index: dict[str, Any]
    settings: Mapping[Any, Any]
    image: tuple[Dimension, Dimension]


@plan
def _stack(
    kind: Stack,
    detectors: Any,
    station: Any,
    regions: Any,
    energies: Any,
    polarizations: Any,
    angles: Any,
    dwell: float,
    md: CustomPlanMetadata | None,
) -> MsgGenerator[str]:
    """A stack of one kind."""
    station_ = as_endstation(station)
    dets = check_detectors(detectors, dwell, lines=kind.lines)
    by_line = is_line_det(dets[0])
    check_flag("single_run", kind.single_run)
    images = _images(station_, regions)
    values = check_setpoints("energies", energies, station_["ENERGY"])
    turns = () if angles is None else check_setpoints("angles", angles, station_["GoniTheta"])
    given = _polarizations(station_, polarizations)
    if by_line and len({columns.axes for _, columns in images}) > 1:
        raise ValueError(f"{dets[0].name} counts lines of one length and place: give regions with the same x")
    if kind.single_run and len({(rows.num, columns.num) for rows, columns in images}) > 1:
        raise ValueError("single_run is True and the regions differ in their numbers of points: leave it out")
    if by_line:
        check_lines(dets, images[0][1])
    settings = given if given else (yield from polarized(station_))
    turned = {"GONI.T": Span("GoniTheta", turns, station_["GoniTheta"].name)} if turns else {}
    places = [
        Region(number, {"Y": rows.span(), "X": columns.span(), **turned})
        for number, (rows, columns) in enumerate(images)
    ]
    planes = list(_planes(station_, places, images, values, given, turns or (None,)))

    def metadata(index: Mapping[str, Any], entry: str, planes: int, image: tuple[Dimension, Dimension]) -> str:
        rows, columns = image
        return make_standard_metadata(
            kind.scan_type,
            places,
            primary_det=[det.name for det in dets],
            energies=values,
            polarizations=settings,
            dwell=dwell,
            img_idx_map=index,
            sequence_map=sequence_map(planes, rows.num, 1 if by_line else columns.num),
            rev_lu_dct=station_.sources,
            zp_def=station_.zp_def,
            entry_name=entry,
        )

    def start(metadata: str, image: tuple[Dimension, Dimension], *slow: Sequence[Axis]) -> dict[str, Any]:
        rows, columns = image
        plan_args = {
            **{"regions": [list(region) for region in regions], "energies": list(values), "dwell": dwell},
            **{"polarizations": [setting.as_dict() for setting in settings], "single_run": kind.single_run},
            **({"angles": list(turns)} if turns else {}),
        }
        axes = [*slow, rows.axes] if by_line else [*slow, rows.axes, columns.axes]
        return start_document(kind.plan_name, metadata, dets, axes, plan_args, md)

    def points(plane: Plane) -> Iterator[dict[Any, float]]:
        rows, columns = plane.image
        # The energy is set before the run; here it is said again so that every event has it.
        return raster(rows, None if by_line else columns, fixed=plane.settings)

    if kind.single_run:
        index = {str(number): plane.index for number, plane in enumerate(planes)}
        # The images are one dimension more, whatever it is that changes from one to the next.
        slow = Axis(station_["ENERGY"], values[0], values[-1], len(planes), False)
        md_ = start(metadata(index, "entry0", len(planes), images[0]), images[0], (slow,))
        runs = [Run(md_, [point for plane in planes for point in points(plane)])]
    else:
        seen: set[str] = set()
        runs = []
        for plane in planes:
            entry = plane.index["entry"]
            md_ = start(metadata(plane.index, entry, 1, plane.image), plane.image)
            runs.append(Run(md_, points(plane), before=plane.settings, baseline=entry not in seen))
            seen.add(entry)
    scanned = list(planes[0].settings)
    moved = planes[0].image[0].motors if by_line else [*planes[0].image[0].motors, *planes[0].image[1].motors]
    carried = {images[0][1].motors[0]: images[0][1].setpoints()[0]} if by_line else {}
    yield from set_dwell(dets, dwell)
    if by_line:
        yield from set_lines(dets, images[0][1])
    return (yield from run_scan(runs, dets, [*scanned, *moved], station_, carried=carried))


def _planes(
    station: Endstation,
    places: Sequence[Region],
    images: Sequence[tuple[Dimension, Dimension]],
    energies: Sequence[float],
    polarizations: Sequence[Polarized],
    angles: Sequence[float | None],
) -> Iterator[Plane]:
    """The images in the order in which they are taken: the undulator is slow, then the rotation, then the energy."""
    energy = station["ENERGY"]
    for pol_idx, polarization in enumerate(polarizations or (None,)):
        for turn, angle in enumerate(angles):
            for e_idx, value in enumerate(energies):
                for sp_idx, (place, image) in enumerate(zip(places, images, strict=True)):
                    entry = (pol_idx * len(angles) + turn) * len(places) + sp_idx
                    index = image_index(
                        place,
                        energy=e_idx,
                        polarization=pol_idx,
                        region_index=sp_idx,
                        rotation_angle=angle,
                        entry=f"entry{entry}",
                    )
                    settings: dict[Any, float] = {}
                    if polarization is not None:
                        settings |= _undulator(station, polarization)
                    if angle is not None:
                        settings[station["GoniTheta"]] = angle
                    settings[energy] = value
                    yield Plane(index, settings, image)


def _undulator(station: Endstation, setting: Polarized) -> dict[Any, float]:
    """Where the devices of the undulator are set to."""
    values = {
        "EPUPolarization": setting.polarization,
        "EPUOffset": setting.offset,
        "EPUAngle": setting.angle,
    }
    return {station[name]: value for name, value in values.items() if name == "EPUPolarization" or name in station}


def _images(station: Endstation, regions: Any) -> list[tuple[Dimension, Dimension]]:
    """Rows and columns of each region."""
    images = []
    for region in as_list("regions", regions, "the regions"):
        ends = list(region) if hasattr(region, "__iter__") else []
        if len(ends) != 6:
            raise ValueError(f"{region!r} is no region: give (y_start, y_stop, y_num, x_start, x_stop, x_num)")
        y_start, y_stop, y_num, x_start, x_stop, x_num = ends
        rows = dimension(station, ["SampleFineY"], [y_start], [y_stop], y_num)
        images.append((rows, dimension(station, ["SampleFineX"], [x_start], [x_stop], x_num)))
    if not images:
        raise ValueError("regions is empty: give one region or more")
    return images


def _polarizations(station: Endstation, polarizations: Any) -> list[Polarized]:
    """The settings of the undulator; none if it is to stay as it is."""
    if polarizations is None:
        return []
    settings = []
    for given in as_list("polarizations", polarizations, "the settings"):
        values = list(given) if hasattr(given, "__iter__") else [given]
        if not 1 <= len(values) <= 3:
            raise ValueError(f"polarizations has {given!r} in it: give a number, or (polarization, offset, angle)")
        for value in values:
            check_finite("a value in polarizations", value)
        setting = Polarized(*map(float, values))
        for device, value in _undulator(station, setting).items():
            check_setpoints("polarizations", [value], device)
        settings.append(setting)
    if not settings:
        raise ValueError("polarizations is empty: give one or more, or leave it out")
    return settings
