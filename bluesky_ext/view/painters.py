"""What live pictures are of, and how each is drawn into its figure again and again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import xarray as xr

from bluesky_ext.engine import Map, Reduce, Rows, image_of
from bluesky_ext.engine.stages.reduce import Published
from bluesky_ext.images import mean_frame
from bluesky_ext.plots.overview import Overview
from bluesky_ext.view.picture import NoPicture, dataset_of, draw
from bluesky_ext.view.snapshot import Snapshot

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Painter(Protocol):
    """Draws states into one figure."""

    figure: Figure

    def paint(self, title: str, state: Any) -> None:
        """Draw a state."""
        ...


class Tree:
    """The default plot of what a reduce publishes."""

    def __init__(self, stage: Reduce) -> None:
        self._stage = stage

    def look(self) -> Published | None:
        """What is published: another object when that is another."""
        return self._stage.publish()

    state = look

    def painter(self, figure: Figure) -> Painter:
        """What draws it."""
        return _TreePainter(figure)


class _Seen(NamedTuple):
    """The maps of a scan, its latest image and the peaks in that."""

    dataset: xr.Dataset
    event: Mapping[str, Any] | None
    rows: Rows | None


class MapsAndPeaks:
    """Crystal maps, and the latest image with its peaks."""

    def __init__(self, stage: Any, pt: Map) -> None:
        self._stage, self._pt = stage, pt

    def look(self) -> Any:
        """The latest image and its peaks: another object when these are others."""
        return self._pt.latest

    def state(self) -> _Seen:
        """What is to be drawn."""
        event, rows = self._pt.latest or (None, None)
        return _Seen(self._stage.dataset, event, rows)

    def painter(self, figure: Figure) -> Painter:
        """What draws it."""
        return _MapsPainter(figure, self._pt.data_keys[0])


class _TreePainter:
    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        self._home: list[Any] = []  # the limits of the axes as they were drawn
        self._say("waiting for a scan")

    def paint(self, title: str, state: Published | None) -> None:
        """Draw the default plot anew; what was zoomed into stays."""
        if state is None:
            return
        snapshot = Snapshot(state.tree, 0)
        try:
            dataset = dataset_of(snapshot)
        except NoPicture as error:
            self._say(f"{title}: {error}")
            return
        before = self._limits()
        draw(snapshot, dataset, self.figure)
        self.figure.text(0.995, 0.005, title, ha="right", va="bottom", fontsize="x-small", color="0.4")
        home, self._home = self._home, self._limits()
        if len(home) == len(before) == len(self._home):
            for axes, was, drawn in zip(self.figure.axes, before, home, strict=True):
                if was != drawn:
                    axes.set(xlim=was[0], ylim=was[1])

    def _limits(self) -> list[Any]:
        return [(axes.get_xlim(), axes.get_ylim()) for axes in self.figure.axes]

    def _say(self, text: str) -> None:
        self.figure.clear()
        self.figure.text(0.5, 0.5, text, ha="center", va="center")
        self._home = []


class _MapsPainter:
    def __init__(self, figure: Figure, data_key: str) -> None:
        self.figure = figure
        self._data_key = data_key
        self._overview = Overview(figure)

    def paint(self, title: str, state: _Seen) -> None:
        """Draw the latest image with its peaks, and the maps."""
        image, peaks = None, {}
        if state.event is not None and state.rows is not None:
            title, peaks = f"{title}, frame {state.event['seq_num']}", state.rows.columns
            image = image_of(state.event["data"], self._data_key)
            image = mean_frame(image) if image.ndim > 2 else image
        self._overview.show(title, state.dataset, image, peaks)
