"""What a worker process does when it begins."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading


def live_with_parent() -> None:
    """Have this process end with its parent, not before it and not after it; an ``initializer`` of process pools."""
    # Ctrl-C reaches all processes of a terminal; the parent needs its workers for what has come in.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)  # nobody is there to hear anything

    # A parent that was killed tells nobody: its workers would wait for work forever.
    threading.Thread(target=follow, name="follow parent", daemon=True).start()
