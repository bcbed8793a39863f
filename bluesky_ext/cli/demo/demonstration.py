"""What a simulated beamline shows: a plan, the stages that follow it, and what came out beside the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Settings:
    """What is scanned, and where results go.

    Parameters
    ----------
    directory : Path
        Where the files go.
    points : (int, int)
        Points of the grids, along y and x.
    size : int
        Height and width of the detector of the crystal, in pixels.
    seed : int
        Another seed is another sample.
    """

    directory: Path
    points: tuple[int, int]
    size: int
    seed: int

    @property
    def grid(self) -> str:
        """The points in words."""
        return "x".join(map(str, self.points))


@dataclass(frozen=True)
class Outcome:
    """What a demonstration found, the files that it wrote and what they are, and whether it found what is there."""

    found: Sequence[str]
    is_true: bool
    files: Mapping[Path, str] = field(default_factory=dict)
    pictures: Sequence[Path] = ()


class Demonstration(Protocol):
    """A simulated beamline with its analysis. It is made before the scan: kernels are compiled then."""

    #: What is scanned, in a line, and what the progress of it is counted in.
    title: str
    unit: str
    total: int
    #: The stages that the live server shows, and those whose runs are kept.
    shown: Sequence[Any]
    kept: Sequence[Any]

    def plan(self) -> Any:
        """The scan."""
        ...

    def subscribers(self, advance: Callable[[], object]) -> dict[str, list[Any]]:
        """What takes the documents of the scan, by their names; it calls ``advance`` for each of the total."""
        ...

    def outcome(self, uids: Sequence[str]) -> Outcome:
        """What came out, when the scan is over; its files and pictures are written now."""
        ...
