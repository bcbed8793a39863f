"""Counts: what became of the runs and events that a stage, a writer or a dispatcher was given; for a monitor too."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any, ClassVar


@dataclass
class Stats:
    """Counts of a stage over all its runs; they only grow.

    Events, but for ``runs``, ``incomplete`` (runs that were closed without a stop, or could not be finished),
    ``not_concerned`` (runs that have none of the keys that the stage works on) and ``subscriber_failures`` (documents
    that a subscriber raised on); ``failed`` counts other documents and stops that could not be worked on as well.
    ``skipped`` are events of live runs that nobody looked at.
    """

    kind: ClassVar[str] = "stage"

    runs: int = 0
    received: int = 0
    emitted: int = 0
    repeated: int = 0
    failed: int = 0
    lost: int = 0
    skipped: int = 0
    orphaned: int = 0
    incomplete: int = 0
    not_concerned: int = 0
    subscriber_failures: int = 0

    def __str__(self) -> str:
        worse = "".join(f", {count} {name}" for name, count in (("failed", self.failed), ("lost", self.lost)) if count)
        return f"{self.runs} runs, {self.received} events{worse}"


def metrics(*counted: Any) -> str:
    """The counts of these objects in the text format of Prometheus: what a page ``/metrics`` has to say.

    They are the ``stats`` of stages, recorders, dispatchers, publishers, proxies and callbacks in the background. A
    count is called ``bluesky_ext_KIND_COUNT_total``, as ``bluesky_ext_dispatcher_lost_total``, and has the name or the
    address of its owner as the label ``name``; of a second owner of that name, it is ``NAME 2``.

    Examples
    --------
    >>> from bluesky_ext import ImageProcessor
    >>> print(metrics(ImageProcessor("camera_image"), ImageProcessor("other_image")).splitlines()[0])
    # TYPE bluesky_ext_stage_runs_total counter
    """
    samples: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for one in counted:
        names = (getattr(one, key, None) for key in ("name", "address", "in_address", "directory"))
        name = str(next(filter(None, names), type(one).__name__))
        for count, value in asdict(one.stats).items():
            values = samples[f"bluesky_ext_{one.stats.kind}_{count}_total"]
            label, copy = name, 1
            while label in values:
                copy += 1
                label = f"{name} {copy}"
            values[label] = value
    lines = []
    for metric, values in samples.items():
        lines.append(f"# TYPE {metric} counter")
        lines += [f'{metric}{{name="{_escaped(label)}"}} {value}' for label, value in values.items()]
    return "".join(f"{line}\n" for line in lines)


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
