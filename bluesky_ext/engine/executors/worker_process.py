"""Processes of this machine that work: how they are made, and what each does when it begins."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor


def process_pool(workers: int) -> ProcessPoolExecutor:
    """So many processes. They are spawned: one that is forked may wait for a lock of a thread that it does not have."""
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_live_with_parent)


def _live_with_parent() -> None:
    """Have this process end with its parent, not before it and not after it."""
    # Ctrl-C reaches all processes of a terminal; the parent needs its workers for what has come in.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)  # nobody is there to hear anything

    # A parent that was killed tells nobody: its workers would wait for work forever.
    threading.Thread(target=follow, name="follow parent", daemon=True).start()
