"""Closing a catalogue while others are asking it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bluesky_ext.storage import close_catalog, open_catalog
from bluesky_ext.storage.requests import PendingRequests


def test_requests_under_way_come_back_and_none_begins_after_that():
    began, answer = threading.Event(), threading.Event()

    class Client:
        def send(self, request: str) -> str:
            began.set()
            assert answer.wait(60)
            return f"answer to {request}"

    gate = PendingRequests(Client(), Path("catalog"), None)
    with ThreadPoolExecutor(2) as pool:
        asked = pool.submit(gate, "a question")
        assert began.wait(60)
        assert not gate.shut(0)
        with pytest.raises(RuntimeError, match="has been closed: open it again with open_catalog"):
            gate("another question")
        closing = pool.submit(gate.shut, 60)
        answer.set()
        assert asked.result(60) == "answer to a question"
        assert closing.result(60)


def test_a_request_that_fails_is_over():
    gate = PendingRequests(object(), Path("catalog"), None)  # which has no send
    with pytest.raises(AttributeError):
        gate("a question")
    assert gate.shut(0)


@pytest.mark.timeout(120)
def test_who_asks_an_embedded_catalogue_while_it_is_closed_gets_an_answer_or_an_error(tmp_path):
    for number in range(2):
        client = open_catalog(tmp_path / str(number))
        asking = threading.Event()

        def ask(client=client, asking=asking) -> str:
            count = 0
            while True:
                try:
                    client.create_container(f"c{count}")
                except RuntimeError as error:
                    return str(error)
                count += 1
                if count == 3:
                    asking.set()

        with ThreadPoolExecutor(2) as pool:
            asked = [pool.submit(ask)]
            assert asking.wait(60)
            close_catalog(client)
            assert {"has been closed" in one.result(60) for one in asked} == {True}
