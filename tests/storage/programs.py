"""What tests of storage do in processes of their own."""

from __future__ import annotations

import logging
import os
import resource
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

from bluesky import RunEngine
from bluesky.plans import count
from ophyd.sim import SynSignal
from runs import assert_same, feed, images, run_of, uid_of
from servers import KEY

from bluesky_ext import Recording
from bluesky_ext.storage import close_catalog, documents, open_catalog, save

LONGEST = 1_200_000


def limit(longest: int = LONGEST) -> None:
    """No file may be longer than this: to those who write, as if the disk were full, since Python ignores SIGXFSZ."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (longest, resource.RLIM_INFINITY))


def open_at_once(directory: Path, barrier: Any) -> None:
    warnings.simplefilter("error")
    barrier.wait(60)
    client = open_catalog(directory)
    for _ in range(3):
        client.create_container()
    close_catalog(client)


def open_as_nobody(directory: Path) -> None:
    # Imported here, where nobody may read no library.
    import bluesky_tiled_plugins  # noqa: F401

    os.setuid(65534)
    try:
        open_catalog(directory)
    except OSError as error:
        sys.stdout.write(f"refused with {type(error).__name__}: {error}\n")


def save_and_be_killed(catalog: Path, backup: Path) -> None:
    sink = save(open_catalog(catalog), backup=backup)
    feed(sink, run_of([{"camera": images("u2", n, (64, 64))} for n in range(3)])[:-1])
    os.kill(os.getpid(), signal.SIGKILL)


def save_until_killed(catalog: Path, backup: Path) -> None:
    """Say of each event how often the call returned."""
    sink = save(open_catalog(catalog), backup=backup)
    docs = run_of([{"camera": images("u2", n, (512, 512)), "x": float(n)} for n in range(2)])
    feed(sink, docs[:2])
    for n in range(10_000):
        sink("event", {**docs[2 + n % 2][1], "uid": str(n), "seq_num": n + 1})
        sys.stdout.write(f"{n + 1}\n")
        sys.stdout.flush()


def save_to_a_server_that_hangs(server: int, address: str, backup: Path) -> None:
    client = open_catalog(address, api_key=KEY)
    logging.basicConfig(stream=sys.stdout, level=logging.WARNING, force=True)
    camera = SynSignal(func=lambda: images("u2", 1, (512, 512)), name="camera")

    def hang(name: str, document: dict[str, Any]) -> None:
        if name == "event" and document["seq_num"] == 3:
            os.kill(server, signal.SIGSTOP)  # it accepts, and never answers
            limit()

    sink = save(client, backup=backup, timeout=1)
    run_engine = RunEngine(call_returns_result=False)
    run_engine.subscribe(sink)
    run_engine.subscribe(hang)
    (uid,) = run_engine(count([camera], 6))
    assert sink.lost == 4, sink.lost  # three events and the stop
    (path,) = sink.backups
    assert [name for name, _ in Recording(path)] == ["start", "descriptor", "event", "event", "event"]
    sys.stdout.write(f"went on {uid}\n")
    sys.stdout.flush()

    # While one run waits for the server, another one goes into its backup.
    large = run_of([{"camera": images("u2", n, (1024, 1024))} for n in range(2)])
    small = run_of([{"x": float(n)} for n in range(3)])
    waits = threading.Event()
    sink = save(client, backup=backup, timeout=1000)

    class Waits(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if uid_of(large) in record.getMessage():
                waits.set()

    logging.getLogger("bluesky_ext").addHandler(Waits())
    thread = threading.Thread(target=feed, args=(sink, large), daemon=True)
    thread.start()
    assert waits.wait(30)
    feed(sink, small[:-1])
    assert thread.is_alive()
    os.kill(server, signal.SIGCONT)
    thread.join()
    feed(sink, small[-1:])
    for docs in (large, small):
        assert_same(docs, list(documents(client[uid_of(docs)])))
    assert sink.lost == 0
    assert sink.backups == []
