"""A worker and a reducer of one's own: the sum of a region of each image, over the positions of a motor."""

import bluesky.plans as bp
from bluesky import RunEngine

from bluesky_ext import LiveAnalysis
from bluesky_ext.live import IntParameter
from bluesky_ext.sim import beamline


class Worker:
    """Makes something small of each event."""

    @staticmethod
    def describe_parameters():
        """What can be changed while a scan runs."""
        return [IntParameter(name="till_row", default=64, description="The last row of the region.")]

    def process_event(self, event, parameters):
        """Sum the counts of the region; what is returned reaches the reducer."""
        region = event.data["dexela_image"][..., : parameters["till_row"].value, :]
        return event.data["sample_x"], int(region.sum())


class Reducer:
    """Puts together what the workers made."""

    def __init__(self):
        self.points = {}
        self.publish = {"x": [], "counts": []}

    def process_result(self, result):
        """Keep results by the number of their event: after a pause the RunEngine repeats some."""
        self.points[result.event_number] = result.payload
        self.publish["x"], self.publish["counts"] = map(list, zip(*sorted(self.points.values()), strict=True))


def main():
    """Scan twice, the second time with a smaller region; what is shown after each."""
    b, RE = beamline(seed=1, shape=(64, 64)), RunEngine()
    with LiveAnalysis(Worker, Reducer, data_keys=["dexela_image"], workers=2) as analysis:
        RE.subscribe(analysis)
        RE(bp.scan([b.detector], b.x, -1, 1, 5))
        whole = analysis.publish().tree
        analysis.set_parameters({"till_row": 32})
        RE(bp.scan([b.detector], b.x, -1, 1, 5))
        return whole, analysis.publish().tree


if __name__ == "__main__":
    print(*main(), sep="\n")
