"""A window of silx with a dataset of a server, which follows it if that is wanted."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from bluesky_ext.view.remote import Remote

#: Of a stack so many images are read.
IMAGES = 1000

_BINDINGS = ("PySide6", "PyQt6", "PyQt5")


def has_windows() -> bool:
    """Whether silx can open windows here: it and Qt are installed, and there is a screen."""
    has_screen = sys.platform in ("win32", "darwin") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    )
    if not has_screen or not any(importlib.util.find_spec(name) for name in _BINDINGS):
        return False
    try:
        import silx.gui.plot  # noqa: F401 - what it needs beside Qt depends on its version
    except ImportError:
        return False
    return True


def show(remote: Remote, path: str | None, every: float | None, say: Callable[[str], object]) -> None:
    """Open a window with a dataset, and return when it is closed.

    Parameters
    ----------
    remote : Remote
        Where it is.
    path : str, optional
        What is shown; what is to be plotted unless given.
    every : float, optional
        Read it again after so many seconds, and keep the part that is looked at.
    say : callable
        Called with a line when it can't be read for a while.
    """
    name, tree = remote.read(path, IMAGES)
    from silx.gui import qt as bindings
    from silx.gui.colors import Colormap
    from silx.gui.plot import Plot1D, Plot2D, StackView

    qt: Any = bindings  # of what is installed
    app = qt.QApplication.instance() or qt.QApplication([])
    array = np.asarray(tree[name])
    plot: Any = {1: Plot1D, 2: Plot2D}.get(array.ndim, StackView)()
    plot.setWindowTitle(f"{path or name} - {remote.url}")
    plot.resize(900, 650)
    if array.ndim == 2:
        plot.setDefaultColormap(Colormap("viridis"))
    elif array.ndim > 2:
        plot.setColormap("viridis")
    _draw(plot, name, tree, is_first=True)
    plot.show()
    timer, trouble = qt.QTimer(), ""

    def again() -> None:
        nonlocal trouble
        try:
            _draw(plot, *remote.read(path, IMAGES), is_first=False)
            trouble = ""
        except (OSError, LookupError, ValueError) as error:  # it may come back
            if str(error) != trouble:
                say(str(error))
            trouble = str(error)

    if every is not None:
        timer.timeout.connect(again)
        timer.start(int(every * 1000))
    app.exec_() if hasattr(app, "exec_") else app.exec()
    timer.stop()


def _draw(plot: Any, name: str, tree: dict[str, Any], *, is_first: bool) -> None:
    array = np.asarray(tree[name])
    said = np.atleast_1d(tree["_attrs"].get("axes", [])).tolist()
    axes = [np.asarray(tree[axis]) if axis in tree else None for axis in said] if len(said) == array.ndim else []
    axes = [
        axis if axis is not None and axis.shape == (n,) else np.arange(n)
        for axis, n in zip(axes or [None] * array.ndim, array.shape, strict=True)
    ]
    labels = said if len(said) == array.ndim else [f"axis {number}" for number in range(array.ndim)]
    if array.ndim == 1:
        plot.addCurve(axes[0], array, legend=name, xlabel=labels[0], ylabel=name, resetzoom=is_first)
    elif array.ndim == 2:
        scale = [_step(axis) for axis in axes]
        origin = [float(axis[0]) - step / 2 for axis, step in zip(axes, scale, strict=True)]
        about = {"xlabel": labels[1], "ylabel": labels[0], "resetzoom": is_first, "replace": True}
        plot.addImage(array, legend=name, origin=origin[::-1], scale=scale[::-1], **about)
    else:
        plot.setStack(array.reshape(-1, *array.shape[-2:]), reset=is_first)


def _step(axis: np.ndarray) -> float:
    """From one point of an axis to the next, on the average."""
    length = float(axis[-1] - axis[0]) if np.isfinite(axis[[0, -1]]).all() else 0.0
    return length / (len(axis) - 1) if length else 1.0
