"""What became of each run of a day: in the catalogue, in the analysis, and what is missing, by who counted it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from benchmarks.day.beamline import Run
from bluesky_ext import Recording
from bluesky_ext.storage import find_derived

WHOLE, IN_PART = "analysed whole", "analysed in part, the rest in `lost` and `failed` of its stop"
UNSENT, SAID, KILLED = "counted by the publisher", "said by the server", "with the server that was killed"
UNSAVED, SILENT = "not in the catalogue, as the saver counted", "lost in silence"


def losses_of_saving(runs: dict[str, Run], catalog: Any, saver: Any) -> dict[str, Any]:
    """How many runs are stored whole, and how many events are neither there nor in a backup file."""
    backed_up: Counter[str] = Counter()
    for path in saver.backups:
        recording = Recording(path)
        if recording.start is not None:
            backed_up[recording.start["uid"]] = sum(name == "event" for name, _ in recording)
    stored = {uid: _stored(catalog, uid) for uid in runs}
    missing = sum(run.events - max(stored[uid], backed_up[uid]) for uid, run in runs.items())
    return {
        "runs in the catalogue": sum(stored[uid] == run.events for uid, run in runs.items()),
        "runs in backup files": len(backed_up),
        "events in neither": missing,
        "documents that the saver counted as lost": saver.lost,
        "events that were not saved and not counted": max(0, missing - saver.lost),
    }


def losses_of_analysis(runs: dict[str, Run], catalog: Any, said: str) -> dict[str, str]:
    """What became of the analysis of each run.

    Parameters
    ----------
    runs : dict of Run
        By their uids, in the order in which they were played.
    catalog : client
        Where runs and derived runs are.
    said : str
        The log of the server.
    """
    kill = next(number for number, run in enumerate(runs.values()) if run.fault == "killed")
    became = {}
    for number, (uid, run) in enumerate(runs.items()):
        done = _analysed(catalog, uid)
        if any(frames == run.events for frames, _ in done):
            became[uid] = WHOLE
        elif any(frames + missing >= run.events for frames, missing in done):
            became[uid] = IN_PART
        elif run.unsent:
            became[uid] = UNSENT
        elif uid in said:
            became[uid] = SAID
        elif number <= kill:
            became[uid] = KILLED
        elif run.fault == "full":
            became[uid] = UNSAVED
        else:
            became[uid] = SILENT
    return became


def _stored(catalog: Any, uid: str) -> int:
    """The events of a run that is whole in the catalogue."""
    stop = (catalog[uid].metadata.get("stop") or {}) if uid in catalog else {}
    return stop.get("num_events", {}).get("primary", 0)


def _analysed(catalog: Any, uid: str) -> list[tuple[int, int]]:
    """Of each run of peaks that was made of a run: its frames, and how many it says are lost or failed."""
    if uid not in catalog:
        return []
    stops = [one.metadata.get("stop") or {} for one in find_derived(catalog, uid) if "frames" in one]
    missing = [sum(len(stop.get(name, {}).get("primary", ())) for name in ("lost", "failed")) for stop in stops]
    return [(stop.get("num_events", {}).get("frames", 0), n) for stop, n in zip(stops, missing, strict=True)]
