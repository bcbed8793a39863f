"""Where the points of a scan were: on a grid or scattered, from the readings of its motors.

Positions in, cells of an array out; numpy only. Every map of the package is laid out here.
"""

from bluesky_ext.positions.layout import Layout, lay_out
from bluesky_ext.positions.planned import Planned
from bluesky_ext.positions.scan import motors_of, planned_by, setpoint_of

__all__ = ["Layout", "Planned", "lay_out", "motors_of", "planned_by", "setpoint_of"]
