"""HDF5: the other files that a dataset leads to, by links, as a virtual dataset, or as its storage."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

from bluesky_ext.engine.frames.readable import Readable, Unreadable

_MOST_STEPS = 100


class Links:
    """Checks that what is read of HDF5 files lies in files that may be read.

    ``opened(path)`` opens one. What it checks need not be all there: then the reader finds that it is not.
    """

    def __init__(self, readable: Readable, opened: Callable[[str], Any]) -> None:
        self._readable = readable
        self._opened = opened
        self._known: set[tuple[str, str]] = set()

    def check(self, file: Any, name: str, steps: int = _MOST_STEPS) -> None:
        """Follow a name through the links of a file, and see where the values of a dataset lie; raise `Unreadable`."""
        import h5py

        here: Any = file["/"]
        parts = _parts(name)
        while parts:
            steps -= 1
            if steps < 0:
                raise Unreadable(f"{name!r} in {file.filename} goes through more than {_MOST_STEPS} links")
            part = parts.pop()
            link = here.get(part, getlink=True) if isinstance(here, h5py.Group) else None
            if link is None:
                return
            if isinstance(link, h5py.SoftLink):
                parts += _parts(link.path)
                here = file["/"] if link.path.startswith("/") else here
            elif isinstance(link, h5py.ExternalLink):
                target = "/".join([link.path, *reversed(parts)])
                self._check_other(file, link.filename, target, steps)
                return
            else:
                here = here[part]
        if isinstance(here, h5py.Dataset):
            self._check_storage(file, here, steps)

    def check_all(self, path: str) -> None:
        """See where all of a file leads to, if it is of HDF5: for readers of which nobody knows what they read."""
        import h5py

        real = self._readable.check_kind(self._readable.check_place(path))
        if (real, "") in self._known or not os.path.isfile(real) or not h5py.is_hdf5(real):
            return
        self._known.add((real, ""))
        with self._opened(real) as file:
            links: list[tuple[str, Any]] = []
            file.visititems_links(lambda name, link: links.append((name, link)))
            for name, link in links:
                if isinstance(link, h5py.ExternalLink):
                    for other in _candidates(file, link.filename):
                        self.check_all(other)
                elif isinstance(link, h5py.HardLink) and isinstance(found := file[name], h5py.Dataset):
                    self._check_storage(file, found, _MOST_STEPS)

    def _check_storage(self, file: Any, dataset: Any, steps: int) -> None:
        for filename, *_ in dataset.external or ():
            for path in _candidates(file, filename):
                self._readable.check(path)
        if dataset.is_virtual:
            for source in {(source.file_name, source.dset_name) for source in dataset.virtual_sources()}:
                self._check_other(file, *source, steps - 1)

    def _check_other(self, file: Any, filename: str, name: str, steps: int) -> None:
        """See where a name in another file leads to, or in this one if it is called ``"."``."""
        for path in [file.filename] if filename == "." else _candidates(file, filename):
            real = self._readable.check(path)
            if (real, name) not in self._known and os.path.exists(real):
                self._known.add((real, name))
                with nullcontext(file) if filename == "." else self._opened(real) as other:
                    self.check(other, name, steps)


def _parts(name: str) -> list[str]:
    """The parts of a name, the last one first."""
    return [part for part in reversed(name.split("/")) if part not in ("", ".")]


def _candidates(file: Any, filename: str | bytes) -> Iterator[str]:
    """The path of a file that another one names, and where else HDF5 looks for it and finds something."""
    name, folder = os.fsdecode(filename), os.path.dirname(file.filename)
    relative = os.path.basename(name) if os.path.isabs(name) else name
    for number, path in enumerate(
        [os.path.join(folder, name), os.path.join(folder, relative), os.path.abspath(relative)]
    ):
        # Sources of virtual datasets may be numbered, by "%b".
        found = glob.glob(glob.escape(path).replace("%b", "*")) if "%b" in path else [path]
        yield from (one for one in found if number == 0 or os.path.lexists(one))
