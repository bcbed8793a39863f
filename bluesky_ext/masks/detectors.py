"""Detectors and the shapes of their images, as sites fill them in."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches


class DetectorShapes(Mapping[str, tuple[int, ...]]):
    """Shapes by detector: a mask of a detector has its shape, and that of an unknown detector is refused.

    Parameters
    ----------
    shapes : dict, optional
        What is known from the start.

    Examples
    --------
    >>> shapes = DetectorShapes({"dexela": (3888, 3072)})
    >>> shapes.add("dexela_binned", (1944, 1536))
    >>> shapes["dexela_binned"]
    (1944, 1536)
    """

    def __init__(self, shapes: Mapping[str, Sequence[int]] | None = None) -> None:
        self._shapes: dict[str, tuple[int, ...]] = {}
        for detector, shape in (shapes or {}).items():
            self.add(detector, shape)

    def add(self, detector: str, shape: Sequence[int]) -> None:
        """Make a detector known; one that is known already has its shape for good.

        Raises
        ------
        ValueError
            If the shape is none, or another than the one that is known.
        """
        if not isinstance(detector, str) or not detector:
            raise ValueError(f"detector {detector!r}: give its name, as masks are registered for it")
        try:
            lengths = tuple(operator.index(length) for length in shape)
        except TypeError:
            lengths = ()
        if not lengths or min(lengths) < 1:
            raise ValueError(f"detector {detector!r} cannot have images of shape {shape!r}: give whole numbers above 0")
        known = self._shapes.setdefault(detector, lengths)
        if known != lengths:
            raise ValueError(f"detector {detector!r} has images of shape {known}, and not {lengths}: use another name")

    def check(self, detector: str, shape: tuple[int, ...]) -> None:
        """Refuse a mask of this shape for a detector that is unknown, or has images of another shape.

        Raises
        ------
        ValueError
            It says what is known.
        """
        known = self._shapes.get(detector)
        if known is None:
            near = get_close_matches(detector, self._shapes, n=3) or sorted(self._shapes)[:12]
            raise ValueError(
                f"detector {detector!r} is not known, only {', '.join(map(repr, near))}, ...: tell the shape of its "
                f"images first, as in DETECTOR_SHAPES.add({detector!r}, {shape})"
            )
        if known != shape:
            raise ValueError(f"the mask has shape {shape}, and images of {detector!r} have {known}: they must be equal")

    def __getitem__(self, detector: str) -> tuple[int, ...]:
        return self._shapes[detector]

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)


# https://www.dectris.com/en/detectors/x-ray-detectors/eiger2; each under the model's name and the data key that
# ophyd's area detectors of it are commonly given.
_EIGERS = {"eiger4m": (2167, 2070), "eiger1m": (1065, 1030), "eiger500K": (514, 1030), "eiger500k": (514, 1030)}

#: The detectors that every `MaskClient` knows unless it is given others; a site's startup file adds its own.
DETECTOR_SHAPES = DetectorShapes(
    {**_EIGERS, **{f"{model}_single_image": shape for model, shape in _EIGERS.items()}},
)
