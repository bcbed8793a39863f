from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from bluesky_ext.cli import main
from bluesky_ext.transport import Proxy, Publisher, RemoteDispatcher


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_passes_on_documents_until_it_is_told_to_stop(number) -> None:
    command = [sys.executable, "-m", "bluesky_ext", "proxy", "--in-address", "127.0.0.1", "--out-address", "127.0.0.1"]
    with subprocess.Popen([*command, "--block"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        into, out = process.stdout.readline().removeprefix("documents in: ").strip().split(", out: ")
        dispatcher = RemoteDispatcher(out)
        names: list[str] = []
        dispatcher.subscribe(lambda name, doc: (names.append(name), dispatcher.stop()))
        import threading

        thread = threading.Thread(target=dispatcher.start)
        thread.start()
        with Publisher(into, block=True, wait=60.0) as publisher:
            publisher("start", {"uid": "x", "time": 0.0})
            thread.join(60)
        process.send_signal(number)
        try:
            assert process.wait(60) == 0
        finally:
            process.kill()
    assert names[0] == "start"


def test_an_address_in_use_is_one_line_and_exit_code_1(capsys) -> None:
    with Proxy() as taken:
        address = taken.in_address.removeprefix("tcp://")
        assert main(["proxy", "--in-address", address, "--out-address", "127.0.0.1"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"bluesky-ext proxy: tcp://{address} is in use")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--stall-limit", "soon"], "'soon' is no time"),
        (["--in-curve-allow", "127.0.0.1"], "need --in-curve-secret"),
        (["--in-address", "localhost:nine"], "has the port 'nine'"),
    ],
)
def test_a_command_that_makes_no_sense_is_an_error_of_usage(arguments, word, capsys) -> None:
    try:
        code = main(["proxy", "--out-address", "127.0.0.1", *arguments])
    except SystemExit as stopped:
        code = stopped.code
    assert code == 2
    assert word in capsys.readouterr().err


def test_a_key_that_is_not_there_is_named(tmp_path, capsys) -> None:
    secret = str(tmp_path / "no.key_secret")
    assert main(["proxy", "--in-address", "127.0.0.1", "--out-address", "127.0.0.1", "--in-curve-secret", secret]) == 1
    assert secret in capsys.readouterr().err
