"""A picture of what a reduce publishes, while a scan goes on."""

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
from typing import TYPE_CHECKING, Any

from bluesky_ext.engine import Map, Reduce
from bluesky_ext.engine.documents.complaints import Complaints
from bluesky_ext.engine.documents.file_name import file_name
from bluesky_ext.plots.canvas import new_figure
from bluesky_ext.view.painters import MapsAndPeaks, Tree

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Seconds from one picture to the next, at least; and how many times as long as drawing takes there is none.
INTERVAL, REST = 0.5, 9.0


class _Followed:
    """A run that is drawn in the page of a notebook."""

    def __init__(self, uid: str, page: Any) -> None:
        self.uid = uid
        self.page = page  # its display
        self.is_over = threading.Event()
        self.last: Any = None  # what there was at its end


class LiveMap:
    """A picture of a scan while it goes on: the default plot of what a stage publishes.

    With a `PeakTracker` beside a crystal map it is the latest image, its peaks in circles, and the brightest maps.

    It is drawn in a window if matplotlib has one (of Qt, as for BestEffortCallback: windows of other toolkits stand
    still while the RunEngine is at work), or in the page of a notebook, below the cell that scans. It is drawn at most
    twice a second, and for at most a tenth of the time, beside the scan; and when a run ends. The part that is zoomed
    into stays. Closing the window, or `close`, ends it.

    Parameters
    ----------
    stage : Reduce
        What publishes: a `CrystalMap`, a `LiveAnalysis`, or another reduce.
    pt : PeakTracker, or a map composed of one
        For a stage whose ``dataset`` has crystal maps: what has the latest image and its peaks. Let the stage be
        subscribed to it already.
    directory : path, optional
        Where the last picture of each run is saved, as ``<uid of the scan>.png``, also where there is no screen.

    Examples
    --------
    >>> from bluesky_ext import CrystalMap, LiveMap, PeakTracker
    >>> pt = PeakTracker("dexela_image", diameter=15, percentile=80, separation=100)
    >>> cm = CrystalMap(search_range=50)
    >>> token = pt.subscribe(cm)
    >>> live = LiveMap(cm, pt)
    >>> live
    <LiveMap of CrystalMap and PeakTracker>
    >>> live.close()
    """

    def __init__(self, stage: Any, pt: Any = None, *, directory: str | os.PathLike[str] | None = None) -> None:
        if not isinstance(stage, Reduce):
            raise TypeError(f"LiveMap({stage!r:.200}): give a reduce, as a CrystalMap or a LiveAnalysis")
        if pt is not None and not (isinstance(pt, Map) and pt.makes_rows and hasattr(stage, "dataset")):
            raise TypeError(f"LiveMap(..., {pt!r:.200}): give a CrystalMap, then the PeakTracker that feeds it")
        from matplotlib import pyplot  # noqa: F401 - by which `new_figure` knows that windows are wanted

        self._content = Tree(stage) if pt is None else MapsAndPeaks(stage, pt)
        self._names = stage.name if pt is None else f"{stage.name} and {pt.name}"
        self._stage = stage
        self._directory = None if directory is None else Path(directory)
        self._complaints = Complaints(logging.getLogger(__name__))
        self._lock = threading.Lock()  # of the figure
        self._painter = self._content.painter(new_figure())
        self._drawn: Any = self._content.look()
        self._is_due = False  # whatever was drawn
        self._due = 0.0
        self._scans: dict[str, Mapping[str, Any]] = {}  # the start documents of open runs
        self._title = "waiting for a scan"
        self._timer = self._open_window()
        self._is_in_page = self._timer is None and _in_notebook()
        self._followed: _Followed | None = None
        # Files, and the page of a notebook, are drawn in this thread, one picture at a time.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="LiveMap")
        self._job = self._pool.submit(lambda: None)
        self._tokens = [stage.subscribe(self._on_start, "start"), stage.subscribe(self._on_stop, "stop")]

    @property
    def figure(self) -> Figure:
        """The picture, drawn up to now."""
        if self._followed is None:
            self._job.result()
        self._draw_news()
        return self._painter.figure

    def close(self) -> None:
        """Stop following the scans; the picture stays as it is."""
        tokens, self._tokens = self._tokens, []
        for token in tokens:
            self._stage.unsubscribe(token)
        if self._timer is not None:
            self._timer.stop()
        self._end_page(None)
        self._pool.shutdown()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._names}{'' if self._tokens else ', closed'}>"

    # In the thread of the scan

    def _on_start(self, name: str, doc: Mapping[str, Any]) -> None:
        self._end_page(None)
        self._job.result()  # so that pictures don't pile up
        self._scans[doc["uid"]] = doc
        self._title = f"scan {doc.get('scan_id', '')}"
        if self._is_in_page:  # now, as the page has the cell's output only while that runs
            from IPython.display import display

            page = display({"text/plain": "waiting for data"}, raw=True, display_id=True)
            self._followed = _Followed(doc["uid"], page)
            self._job = self._pool.submit(self._follow, self._followed)

    def _on_stop(self, name: str, doc: Mapping[str, Any]) -> None:
        self._is_due, self._due = True, 0.0
        start = self._scans.pop(doc["run_start"], None)
        if start is None or not (self._is_in_page or self._directory is not None):
            return
        with self._logging_errors():
            state = self._content.state()
            if self._followed is not None and self._followed.uid == doc["run_start"]:
                self._end_page(state)
            if self._directory is not None:
                uid = str(start.get("original_run_uid", start["uid"]))
                self._job = self._pool.submit(self._save, self._directory / f"{file_name(uid)}.png", state)

    def _end_page(self, state: Any) -> None:
        followed, self._followed = self._followed, None
        if followed is not None:
            followed.last = state
            followed.is_over.set()

    # In the thread of the window, or beside the scan

    def _follow(self, followed: _Followed) -> None:
        while not followed.is_over.wait(max(self._due - time.monotonic(), 0.1)):
            self._draw_news(followed.page)
        if followed.last is not None:
            self._draw(followed.last, followed.page)

    def _tick(self) -> None:
        if time.monotonic() >= self._due:
            self._draw_news()

    def _draw_news(self, page: Any = None) -> None:
        """Draw the picture that is seen, if there is anything new."""
        with self._logging_errors():
            seen = self._content.look()
            if seen is not self._drawn or self._is_due:
                self._drawn, self._is_due = seen, False
                self._draw(self._content.state(), page)

    def _draw(self, state: Any, page: Any = None) -> None:
        began = time.monotonic()
        with self._logging_errors(), self._lock:
            self._painter.paint(self._title, state)
            if self._timer is not None:
                self._painter.figure.canvas.draw()
            if page is not None:
                page.update(_Picture(self._painter.figure))
        now = time.monotonic()
        self._due = max(began + INTERVAL, now + REST * (now - began))

    def _save(self, path: Path, state: Any) -> None:
        """Save a picture of its own, which needs no screen; a file of its name is whole, whatever happens meanwhile."""
        from matplotlib.figure import Figure

        with self._logging_errors():
            painter = self._content.painter(Figure())
            painter.paint(self._title, state)
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(f"{path.name}.tmp")
            try:
                painter.figure.savefig(unfinished, format="png")
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

    def _open_window(self) -> Any:
        """Show the figure, if it is in a window of pyplot; return the timer of that, by which it is drawn."""
        canvas = self._painter.figure.canvas
        if canvas.manager is None:
            return None
        canvas.manager.set_window_title(self._names)
        canvas.mpl_connect("close_event", lambda event: self.close())
        self._painter.figure.show()
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
