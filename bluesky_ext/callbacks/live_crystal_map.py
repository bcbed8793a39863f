"""A picture of the crystal maps while a scan goes on."""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import xarray as xr

from bluesky_ext.engine import Map, Rows, image_of
from bluesky_ext.engine.documents.complaints import Complaints
from bluesky_ext.engine.documents.file_name import file_name
from bluesky_ext.images import mean_frame
from bluesky_ext.plots.canvas import new_figure
from bluesky_ext.plots.overview import Overview

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Seconds from one picture to the next, at least; and how many times as long as drawing takes there is none.
INTERVAL, REST = 0.5, 9.0


class _State(NamedTuple):
    """What is to be drawn of a scan, and when this was asked for."""

    since: float
    dataset: xr.Dataset
    event: Mapping[str, Any] | None
    rows: Rows | None
    page: Any  # the display of the run in a notebook


class LiveCrystalMap:
    """A picture of a scan while it goes on: the latest image, its peaks in circles, and the brightest crystal maps.

    It is drawn in a window if matplotlib has one (of Qt, as for BestEffortCallback: windows of other toolkits stand
    still while the RunEngine is at work), or in the page of a notebook, below the cell that scans. It is drawn at most
    twice a second, and for at most a tenth of the time, beside the scan; and when a run ends. Closing the window,
    or `close`, ends it.

    Parameters
    ----------
    cm : CrystalMap or CrystalMapper
        Whose ``dataset`` has the maps.
    pt : PeakTracker, or a map composed of one
        Which has the latest image and its peaks. Let ``cm`` be subscribed to it already.
    directory : path, optional
        Where the last picture of each run is saved, as ``<uid of the scan>.png``, also where there is no screen.

    Examples
    --------
    >>> from bluesky_ext import CrystalMap, LiveCrystalMap, PeakTracker
    >>> pt = PeakTracker("dexela_image", diameter=15, percentile=80, separation=100)
    >>> cm = CrystalMap(search_range=50)
    >>> token = pt.subscribe(cm)
    >>> live = LiveCrystalMap(cm, pt)
    >>> live.close()
    """

    def __init__(self, cm: Any, pt: Map, *, directory: str | os.PathLike[str] | None = None) -> None:
        if not (isinstance(pt, Map) and pt.makes_rows and hasattr(cm, "dataset") and not isinstance(cm, type)):
            raise TypeError(f"LiveCrystalMap({cm!r}, {pt!r}): give a CrystalMap, then the PeakTracker that feeds it")
        from matplotlib import pyplot  # noqa: F401 - by which `new_figure` knows that windows are wanted

        self._cm, self._pt = cm, pt
        self._directory = None if directory is None else Path(directory)
        self._complaints = Complaints(logging.getLogger(__name__))
        self._lock = threading.Lock()  # of the figure
        self._overview = Overview(new_figure())
        self._is_new = False
        self._due = 0.0
        self._timer = self._open_window()
        self._is_in_page = self._timer is None and _in_notebook()
        self._page: Any = None
        # Files, and the page of a notebook, are drawn in this thread, one picture at a time.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="LiveCrystalMap")
        self._job = self._pool.submit(lambda: None)
        self._subscriptions = [(pt, pt.subscribe(self._on_document)), (cm, cm.subscribe(self._on_stop, "stop"))]

    @property
    def figure(self) -> Figure:
        """The picture, drawn up to now."""
        self._job.result()
        if self._is_new:
            self._draw(self._newest())
        return self._overview.figure

    def close(self) -> None:
        """Stop following the scans; the picture stays as it is."""
        subscriptions, self._subscriptions = self._subscriptions, []
        for stage, token in subscriptions:
            stage.unsubscribe(token)
        if self._timer is not None:
            self._timer.stop()
        self._pool.shutdown()

    def __repr__(self) -> str:
        closed = "" if self._subscriptions else ", closed"
        return f"<{type(self).__name__} of {self._cm.name} and {self._pt.name}{closed}>"

    # In the thread of the scan

    def _on_document(self, name: str, doc: Mapping[str, Any]) -> None:
        if name == "start" and self._is_in_page:  # now, as the page has the cell's output only while that runs
            from IPython.display import display

            self._page = display({"text/plain": "waiting for an image"}, raw=True, display_id=True)
        if name != "event":  # of which there is one for each frame, beside the page of its peaks
            return
        self._is_new = True
        if self._is_in_page and self._job.done() and time.monotonic() >= self._due:
            self._job = self._pool.submit(self._draw, self._newest())

    def _on_stop(self, name: str, doc: Mapping[str, Any]) -> None:
        self._is_new, self._due = True, 0.0
        self._job.result()  # so that pictures don't pile up
        if self._is_in_page:
            self._job = self._pool.submit(self._draw, self._newest())
        if self._directory is not None:
            self._job = self._pool.submit(self._save, self._directory, self._state())

    def _newest(self) -> _State:
        """The present state, which the picture that is seen will have."""
        self._is_new = False
        return self._state()

    def _state(self) -> _State:
        event, rows = self._pt.latest or (None, None)
        return _State(time.monotonic(), self._cm.dataset, event, rows, self._page)

    # In the thread of the window, or beside the scan

    def _tick(self) -> None:
        if self._is_new and time.monotonic() >= self._due:
            self._draw(self._newest())

    def _draw(self, state: _State) -> None:
        """Draw the picture that is seen."""
        with self._logging_errors(), self._lock:
            self._paint(self._overview, state)
            if self._timer is not None:
                self._overview.figure.canvas.draw()
            if state.page is not None:
                state.page.update(_Picture(self._overview.figure))
            now = time.monotonic()
            self._due = max(state.since + INTERVAL, now + REST * (now - state.since))

    def _save(self, directory: Path, state: _State) -> None:
        """Save a picture of its own, which needs no screen; a file of its name is whole, whatever happens meanwhile."""
        from matplotlib.figure import Figure

        with self._logging_errors():
            overview = Overview(Figure())
            self._paint(overview, state)
            directory.mkdir(parents=True, exist_ok=True)
            path = directory / f"{file_name(str(state.dataset.attrs['original_run_uid']))}.png"
            unfinished = path.with_name(f"{path.name}.tmp")
            try:
                overview.figure.savefig(unfinished, format="png")
                unfinished.replace(path)
            finally:
                unfinished.unlink(missing_ok=True)

    @contextmanager
    def _logging_errors(self) -> Iterator[None]:
        """The scan goes on without its picture; the first error of a kind is reported."""
        try:
            yield
        except Exception as error:
            message = "%r can't draw: %s: %s"
            self._complaints(type(error).__name__, message, self, type(error).__name__, error, exc_info=error)

    def _paint(self, overview: Overview, state: _State) -> None:
        title, image, peaks = f"scan {state.dataset.attrs.get('scan_id', '')}", None, {}
        if state.event is not None and state.rows is not None:
            title, peaks = f"{title}, frame {state.event['seq_num']}", state.rows.columns
            image = image_of(state.event["data"], self._pt.data_keys[0])
            image = mean_frame(image) if image.ndim > 2 else image
        overview.show(title, state.dataset, image, peaks)

    def _open_window(self) -> Any:
        """Show the figure, if it is in a window of pyplot; return the timer of that, by which it is drawn."""
        canvas = self._overview.figure.canvas
        if canvas.manager is None:
            return None
        canvas.manager.set_window_title("crystal maps")
        canvas.mpl_connect("close_event", lambda event: self.close())
        self._overview.figure.show()
        timer = canvas.new_timer(interval=int(INTERVAL * 500))
        timer.add_callback(self._tick)
        timer.start()
        return timer


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class _Picture:
    """A figure for the page of a notebook, whatever backend that has."""

    def __init__(self, figure: Figure) -> None:
        self._png = io.BytesIO()
        figure.savefig(self._png, format="png")

    def _repr_png_(self) -> bytes:
        return self._png.getvalue()
