"""A simulated area detector behind a crystal."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from ophyd import Component, Device
from ophyd.signal import UNSET_VALUE, InternalSignal
from ophyd.status import DeviceStatus

from bluesky_ext.sim.imagefile import SPECS, ImageFile, Spec
from bluesky_ext.sim.setting import Setting

__all__ = ["CrystalDetector", "HasOpening", "HasPosition", "Sample"]

DTYPE = np.dtype(np.uint16)


class Sample(Protocol):
    """What is in the beam, as far as the detector is concerned: a `Crystal`, a `Powder`."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of its frames."""
        ...

    def frame(
        self, y: float, x: float, exposure: int = 0, *, acquire_time: float = 0.1, shutter_open: bool = True
    ) -> NDArray[np.uint16]:
        """One frame at a sample position in mm."""
        ...


class HasPosition(Protocol):
    """A motor, as far as the detector is concerned: a SimMotor, an `ophyd.sim.SynAxis`, a SoftPositioner."""

    @property
    def position(self) -> Any:
        """Where it is, in mm."""
        ...


class HasOpening(Protocol):
    """A shutter, as far as the detector is concerned."""

    @property
    def is_open(self) -> bool:
        """Whether the beam passes."""
        ...


class _Image(InternalSignal):
    """The image of the last trigger: the frames themselves, or the id of their datum."""

    def get(self, **kwargs: Any) -> Any:
        if self._readback is UNSET_VALUE:
            raise RuntimeError(
                f"{self.name}: there is no image since the detector was staged, trigger it before reading"
            )
        return super().get(**kwargs)

    def describe(self) -> dict[str, dict[str, Any]]:
        detector = self.parent
        if not isinstance(detector, CrystalDetector):
            raise TypeError(f"{self.name}: this signal is a part of a CrystalDetector, not of {detector!r}")
        key = {"source": self.source_name, "dtype": "array", "shape": list(detector.image_shape)}
        key["dtype_numpy"] = DTYPE.str
        if detector.directory is not None:
            key["external"] = "FILESTORE:"
        return {self.name: key}


class Cam(Device):
    """Settings of the exposure, named as in areaDetector."""

    acquire_time = Component(Setting, value=0.1, limits=(1e-6, 3600.0), kind="config")
    acquire_period = Component(Setting, value=0.1, limits=(0.0, 3600.0), kind="config")


class _Counts(InternalSignal):
    """A number of counts."""

    def describe(self) -> dict[str, dict[str, Any]]:
        return {name: {**about, "units": "counts"} for name, about in super().describe().items()}


class Stats(Device):
    """Numbers taken from the image, named as in areaDetector."""

    total = Component(_Counts, value=0.0, kind="hinted")


class CrystalDetector(Device):
    """An area detector that images a `Crystal`, or another sample, at the positions of two motors, through a shutter.

    Each trigger takes ``images_per_set`` frames, of ``cam.acquire_time`` seconds each, at the positions that
    the motors have at that moment. Readings are ``{name}_image``, shape (images_per_set, ny, nx), uint16, and
    ``{name}_stats_total`` (hinted), the sum of all its counts. The configuration is ``{name}_images_per_set``,
    ``{name}_cam_acquire_time`` and ``{name}_cam_acquire_period``. As on a beamline, configure, then stage, then
    trigger.

    The image is in the event itself, or in files: then the event has the id of a datum, and a new resource
    begins at the first trigger of each stage, and again when a plan is resumed.

    The frames are numbered from the construction of the detector on, darks too, and the noise of each goes by
    its number. So the same calls on a new detector give the same images bit for bit, while a second trigger at
    one place, as after a pause, is another draw of the noise.

    Parameters
    ----------
    name : str
        Name of the detector.
    crystal : Crystal, or another Sample
        What is in the beam.
    y, x : HasPosition
        The motors that move the sample, in mm.
    shutter : HasOpening, optional
        The shutter; without it the beam always passes.
    directory : path, optional
        Write the images to files here, and make the directory if it is missing. By default images are inline.
    spec : {"AD_TIFF", "AD_HDF5"}
        Which files: a TIFF file a frame, to be read at any time, or an HDF5 file a stage, to be read afterwards.
    frames_per_point : int
        ``images_per_set`` at the start.
    acquire_time : float
        ``cam.acquire_time`` at the start, in s.
    real_time : bool
        Let a trigger last as long as its exposures: ``images_per_set`` times the longer one of
        ``cam.acquire_time`` and ``cam.acquire_period``. If false, as for a test, it is done when the frames are.
    **kwargs
        As for `ophyd.Device`: prefix, kind, parent, labels.
    """

    cam = Component(Cam, kind="config")
    images_per_set = Component(Setting, value=1, limits=(1, 10_000), whole=True, kind="config")
    image = Component(_Image, value=UNSET_VALUE, kind="normal")
    stats = Component(Stats, kind="hinted")

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        crystal: Sample,
        y: HasPosition,
        x: HasPosition,
        shutter: HasOpening | None = None,
        directory: str | PathLike[str] | None = None,
        spec: Spec = "AD_TIFF",
        frames_per_point: int = 1,
        acquire_time: float = 0.1,
        real_time: bool = False,
        **kwargs: Any,
    ) -> None:
        if spec not in SPECS:
            raise ValueError(f"{name}: spec is {spec!r}, give one of {', '.join(SPECS)}")
        self.crystal = crystal
        self.directory = None if directory is None else Path(directory).absolute()
        self.real_time = real_time
        self._y, self._x, self._shutter = y, x, shutter
        self._spec: Spec = spec
        self._exposures = itertools.count()
        self._staged_shape: tuple[int, int, int] | None = None
        self._file: ImageFile | None = None
        self._asset_docs: deque[tuple[str, dict[str, Any]]] = deque()
        super().__init__(prefix, name=name, **kwargs)
        self.images_per_set.put(frames_per_point)
        self.cam.acquire_time.put(acquire_time)
        self.cam.acquire_period.put(acquire_time)
        if self.directory is not None:
            self.directory.mkdir(parents=True, exist_ok=True)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of the image of one trigger: frames, rows, columns."""
        return (int(self.images_per_set.get()), *self.crystal.shape)

    def stage(self) -> list[object]:
        """Get ready for triggers, with the settings as they are now.

        Returns
        -------
        list
            The devices staged: this one and its parts.
        """
        devices = super().stage()
        # An image of the stage before must not be taken for one of this run.
        self.image.put(UNSET_VALUE, internal=True)
        self._staged_shape = self.image_shape
        return devices

    def unstage(self) -> list[object]:
        """Close the file of the images; a second call does nothing.

        Returns
        -------
        list
            The devices unstaged: this one and its parts.
        """
        self._close_file()
        self._asset_docs.clear()
        self._staged_shape = None
        return super().unstage()

    def resume(self) -> None:
        """Begin a new resource after a pause.

        The RunEngine drops the documents that it had collected for an event which the pause cut short, and the
        resource may have been one of them.
        """
        super().resume()
        self._close_file()

    def trigger(self) -> DeviceStatus:
        """Take the frames of one image.

        Returns
        -------
        ophyd.status.DeviceStatus
            Done when the exposures are over.
        """
        if self._staged_shape is None:
            raise RuntimeError(f"{self.name}: the detector is not staged, stage() it before a trigger")
        if self.image_shape != self._staged_shape:
            raise RuntimeError(
                f"{self.name}: images_per_set went from {self._staged_shape[0]} to {self.image_shape[0]} while the "
                "detector was staged; unstage it, configure it, and stage it again"
            )
        acquire_time = float(self.cam.acquire_time.get())
        seconds = len(images := self._expose(acquire_time)) * max(acquire_time, self.cam.acquire_period.get())
        status = DeviceStatus(self, settle_time=seconds if self.real_time else 0.0)
        value = images if self.directory is None else self._write(images, self.directory)
        now = time.time()
        self.stats.total.put(float(images.sum(dtype=np.uint64)), timestamp=now, internal=True)
        self.image.put(value, timestamp=now, internal=True)
        status.set_finished()
        return status

    def collect_asset_docs(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Give the resource and datum documents made since the last call; none for inline images.

        Called by the RunEngine when it reads the detector.

        Yields
        ------
        tuple
            Name of the document, and the document.
        """
        while self._asset_docs:
            yield self._asset_docs.popleft()

    def _expose(self, acquire_time: float) -> NDArray[np.uint16]:
        """Take the frames of one trigger where the motors are now."""
        y, x = float(self._y.position), float(self._x.position)
        shutter_open = self._shutter is None or self._shutter.is_open
        images = np.empty(self.image_shape, DTYPE)
        for frame in images:
            frame[:] = self.crystal.frame(
                y, x, next(self._exposures), acquire_time=acquire_time, shutter_open=shutter_open
            )
        return images

    def _write(self, images: NDArray[np.uint16], directory: Path) -> str:
        """Write the frames of one trigger; returns the id of their datum."""
        if self._file is None:
            self._file = SPECS[self._spec](directory, self.name, self.image_shape)
            self._asset_docs.append(("resource", self._file.resource))
        datum = self._file.write(images)
        self._asset_docs.append(("datum", datum))
        return datum["datum_id"]

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None
