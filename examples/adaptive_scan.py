"""A plan that scans where its last scan says, until it knows where a grain ends."""

from itertools import pairwise

import bluesky.plans as bp
from bluesky import RunEngine

from bluesky_ext import LiveAnalysis
from bluesky_ext.plans import wait_for_outcome
from bluesky_ext.sim import beamline


class Spot:
    """The brightness of one spot of the detector."""

    def process_event(self, event):
        """Say where the motor was, and how bright the spot."""
        return event.data["sample_x"], float(event.data["dexela_image"][0, 23:32, 1:10].mean())


class Edge:
    """Where that falls most."""

    def __init__(self):
        self.points = {}
        self.publish = {}

    def process_result(self, result):
        """Keep a point."""
        self.points[result.event_number] = result.payload

    def outcome(self):
        """The middle of the two points between which it falls most, and half of their distance."""
        points = [self.points[number] for number in sorted(self.points)]
        (a, _), (b, _) = min(pairwise(points), key=lambda pair: pair[1][1] - pair[0][1])
        return (a + b) / 2, abs(b - a) / 2


def find_the_edge(analysis, detector, motor, low, high, precision):
    """Scan again around the edge until it is known so well; then go there, and return it."""
    while True:
        uid = yield from bp.scan([detector], motor, low, high, 6)
        edge, uncertainty, _, _ = yield from wait_for_outcome(analysis, uid)
        if uncertainty < precision:
            yield from bp.list_scan([detector], motor, [edge])
            return edge
        low, high = edge - 2 * uncertainty, edge + 2 * uncertainty


def main(precision=0.1):
    """Where the grain of a simulated sample ends along x, in mm."""
    b, RE = beamline(seed=2, shape=(64, 64), n_grains=1), RunEngine(call_returns_result=True)
    with LiveAnalysis(Spot, Edge, data_keys=["dexela_image"]) as analysis:
        RE.subscribe(analysis)
        return RE(find_the_edge(analysis, b.detector, b.x, -1, 1, precision)).plan_result


if __name__ == "__main__":
    print(main())
