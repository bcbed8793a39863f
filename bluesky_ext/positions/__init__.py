"""Where the points of a scan were: on a grid or scattered, from the readings of its motors.

Positions in, cells of an array out. Every map of the package is laid out here.
"""

from bluesky_ext.positions.layout import Layout, lay_out
from bluesky_ext.positions.planned import Planned
from bluesky_ext.positions.point_columns import PointColumns
from bluesky_ext.positions.regrid import Regridded, regrid
from bluesky_ext.positions.scan import motors_of, planned_by, setpoint_of

__all__ = [
    "Layout",
    "Planned",
    "PointColumns",
    "Regridded",
    "lay_out",
    "motors_of",
    "planned_by",
    "regrid",
    "setpoint_of",
]
