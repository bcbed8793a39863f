"""The form of a map: a grid, scattered points, or a line; and how a map of each form is drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import xarray as xr

from bluesky_ext.plots.canvas import colours
from bluesky_ext.plots.ruler import Ruler, label_of, real_aspect, rulers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The number of an event, which is along the points as the motors are.
SEQ_NUM = "seq_num"
LINE = "#0072B2"
# Points that leave a straight line by less than this part of its length are on it: no motor stands still exactly.
STRAIGHT = 0.01


@dataclass(frozen=True)
class Grid:
    """Maps on a grid, (y, x): an image."""

    y: Ruler
    x: Ruler

    @property
    def ratio(self) -> float:
        """Height over width of a panel that fits."""
        return _proportion(self.y, self.x)

    def draw(self, ax: Axes, image: xr.DataArray, *, yincrease: bool | None = None, **kwargs: Any) -> Any:
        """Draw one map; return what has the colours."""
        y, x = self.y, self.x
        aspect = kwargs.pop("aspect", real_aspect(y, x) or "auto")
        kwargs["cmap"] = colours(kwargs.get("cmap"))
        values = image.to_numpy()
        if y.is_even and x.is_even:
            extent = (x.edges[0], x.edges[-1], y.edges[0], y.edges[-1])
            drawn = ax.imshow(values, extent=extent, origin="lower", aspect=aspect, **kwargs)
        else:
            drawn = ax.pcolormesh(x.edges, y.edges, values, **kwargs)
            ax.set_aspect(aspect)
        ax.set_xlim(x.edges.min(), x.edges.max())
        upwards = not y.is_numbered if yincrease is None else yincrease
        low, high = y.edges.min(), y.edges.max()
        ax.set_ylim(*(low, high) if upwards else (high, low))
        return drawn


@dataclass(frozen=True)
class Points:
    """Maps at points in a plane: a coloured disc each, as wide as the points are apart.

    Parameters
    ----------
    y, x : Ruler
        The positions, and the borders of the picture.
    height, width : float
        Of a disc, in units of y and of x.
    """

    y: Ruler
    x: Ruler
    height: float
    width: float

    @property
    def ratio(self) -> float:
        """Height over width of a panel that fits."""
        return _proportion(self.y, self.x)

    def draw(self, ax: Axes, image: xr.DataArray, *, yincrease: bool | None = None, **kwargs: Any) -> Any:
        """Draw one map; return what has the colours."""
        from matplotlib.collections import EllipseCollection

        scale = {name: kwargs.pop(name) for name in ("vmin", "vmax") if name in kwargs}
        discs = EllipseCollection(
            self.width,
            self.height,
            0,
            units="xy",
            offsets=np.column_stack([self.x.centres, self.y.centres]),
            offset_transform=ax.transData,
            cmap=colours(kwargs.pop("cmap", None)),
            linewidths=0,
            **kwargs,
        )
        discs.set_array(image.to_numpy())
        discs.set_clim(**scale)
        ax.add_collection(discs, autolim=False)
        ax.set_xlim(*self.x.edges)
        ax.set_ylim(*self.y.edges[:: -1 if yincrease is False else 1])
        ax.set_aspect(real_aspect(self.y, self.x) or "auto")
        return discs


@dataclass(frozen=True)
class Line:
    """Maps along one axis: their values over it.

    Parameters
    ----------
    x : Ruler
        Along the line; its centres are in the order of the points.
    """

    x: Ruler
    ratio = 0.6

    def draw(self, ax: Axes, image: xr.DataArray, *, yincrease: bool | None = None, **kwargs: Any) -> None:
        """Draw one map; its values always go upwards."""
        vmin, vmax = kwargs.pop("vmin"), kwargs.pop("vmax")
        order = np.argsort(self.x.centres, kind="stable")
        style = {"color": LINE, "marker": ".", "markersize": 4, "linewidth": 0.8}
        ax.plot(self.x.centres[order], image.to_numpy()[order], **{**style, **kwargs})
        room = 0.05 * (vmax - vmin)
        ax.set(xlim=self.x.edges, ylim=(vmin - room, vmax + room))


Form: TypeAlias = Grid | Points | Line


def form_of(image: xr.DataArray) -> Form:
    """The form of a map of one or two dimensions.

    Along one dimension are the points of a line, or scattered ones: that is told by its coordinates, which are the
    motors. Points of two motors that all lie on a straight line are drawn along the one that went farther.
    """
    if image.ndim == 2:
        return Grid(*rulers(image))
    (dim,) = image.dims
    motors = [_positions(image, name) for name in motors_of(image)]
    if len(motors) > 2:  # what stands still is no axis of the scan
        motors = [motor for motor in motors if _extent(motor)]
    if len(motors) > 2:
        raise ValueError(
            f"the points have the positions of {[motor.label for motor in motors]}: choose two of them, with drop_vars"
        )
    if not motors:
        return Line(_positions(image, SEQ_NUM if SEQ_NUM in image.coords else str(dim)))
    if len(motors) == 1 or (points := _in_a_plane(*motors)) is None:
        return Line(max(motors, key=_extent))
    return points


def motors_of(image: xr.DataArray) -> list[str]:
    """The names of the coordinates along the points of a map that are positions of motors."""
    (dim,) = image.dims
    along = [str(name) for name, one in image.coords.items() if one.dims == (dim,) and one.dtype.kind in "iuf"]
    return [str(dim)] if dim in along else [name for name in along if name != SEQ_NUM]


def _proportion(y: Ruler, x: Ruler) -> float:
    """Height over width of the picture between two rulers."""
    aspect = real_aspect(y, x)
    return 0.75 if aspect is None else aspect * y.span / x.span


def _positions(image: xr.DataArray, name: str) -> Ruler:
    """The positions along the points, which are in any order."""
    coordinate = image[name]  # of a dimension without one, the numbers from 0
    centres = coordinate.to_numpy().astype(float)
    if not np.isfinite(centres).any():
        raise ValueError(f"the map has no points with a position of {name!r}: there is nothing to draw")
    ruler = Ruler(label_of(coordinate, name), coordinate.attrs.get("units"), centres, centres, False, False)
    return _with_room(ruler, 0.04 * _extent(ruler) or 1.0)


def _in_a_plane(y: Ruler, x: Ruler) -> Points | None:
    """Points at positions of two motors; None if all are on a straight line."""
    aspect = real_aspect(y, x)
    known = np.isfinite(y.centres) & np.isfinite(x.centres)
    extents = _extent(y), _extent(x)
    if not all(extents):
        return None
    # What one unit along each is in a unit that they have in common.
    scales = 1 / np.array(extents) if aspect is None else np.array([aspect, 1.0])
    places = np.column_stack([y.centres[known], x.centres[known]]) * scales
    longest, *others = np.linalg.svd(places - places.mean(axis=0), compute_uv=False)
    if not others or others[0] < STRAIGHT * longest:
        return None
    # As if the points were spread evenly.
    height, width = np.sqrt(np.prod(np.ptp(places, axis=0)) / len(places)) / scales
    return Points(_with_room(y, height), _with_room(x, width), float(height), float(width))


def _extent(ruler: Ruler) -> float:
    return float(np.nanmax(ruler.centres) - np.nanmin(ruler.centres))


def _with_room(ruler: Ruler, size: float) -> Ruler:
    edges = np.array([np.nanmin(ruler.centres) - size / 2, np.nanmax(ruler.centres) + size / 2])
    return replace(ruler, edges=edges)
