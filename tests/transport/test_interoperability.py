"""Our ends and Bluesky's, in all combinations, with and without keys."""

from __future__ import annotations

import multiprocessing
from typing import Any

import bluesky.callbacks.zmq as theirs
import numpy as np
import pytest
from runs import feed

import bluesky_ext.transport as ours
from bluesky_ext.transport import dumps, loads

IMAGE = np.arange(12, dtype=">u2").reshape(3, 4)


def their_proxy(connection: Any, curve: Any) -> None:
    """A proxy of Bluesky's, in a process that can be ended."""
    # With keys on one end only: on both, it fails.
    proxy = theirs.Proxy("127.0.0.1", "127.0.0.1", in_curve=curve)
    connection.send((proxy.in_port, proxy.out_port))
    proxy.start()


@pytest.fixture(scope="module", params=["our proxy", "their proxy"])
def addresses(request, curves):
    in_curve, out_curve, *_ = curves
    if request.param == "our proxy":
        with ours.Proxy(in_curve=in_curve, out_curve=out_curve) as proxy:
            yield proxy.in_address, proxy.out_address
        return
    if out_curve is not None:
        pytest.skip("Bluesky's proxy can have keys at one end only, see FACTS")
    receiver, sender = multiprocessing.get_context("spawn").Pipe(False)
    process = multiprocessing.get_context("spawn").Process(target=their_proxy, args=(sender, in_curve), daemon=True)
    process.start()
    yield receiver.recv()
    process.kill()
    process.join()
    process.close()


@pytest.fixture(scope="module", params=["no keys", "keys in", "keys in and out"])
def curves(request, keys):
    """Of the proxy in and out, of a publisher, of a dispatcher."""
    if request.param == "no keys":
        return None, None, None, None
    if request.param == "keys in":
        return keys.server, None, keys.client, None
    return keys.server, keys.server, keys.client, keys.client


@pytest.mark.parametrize("listener", ["our listener", "their listener"])
@pytest.mark.parametrize("sender", ["our publisher", "their publisher"])
def test_the_ends_understand_each_other(addresses, curves, sender, listener, run_of, listen, listen_theirs) -> None:
    documents = run_of(image=IMAGE)
    into, out = addresses
    *_, in_keys, out_keys = curves
    if listener == "our listener":
        heard = listen(out, prefix=b"raw", curve_config=out_keys).heard
    else:
        heard = listen_theirs(out, prefix=b"raw", deserializer=loads, curve_config=out_keys)
    if sender == "our publisher":
        publisher: Any = ours.Publisher(into, prefix=b"raw", curve_config=in_keys, wait=60.0)
    else:
        publisher = theirs.Publisher(into, prefix=b"raw", serializer=dumps, curve_config=in_keys)
    try:
        # Neither Bluesky's publisher nor ours at a plain proxy can know when the first listener is there.
        while not heard.documents:
            publisher("start", {"uid": "hello", "time": 0.0})
            with heard.changed:
                heard.changed.wait(0.05)
        feed(publisher, documents)
        came = heard.wait()
    finally:
        publisher.close()
    of_the_run = [(name, doc) for name, doc in came if "hello" not in (doc.get("uid"), doc.get("run_start"))]
    np.testing.assert_equal(of_the_run, documents)
    assert {doc["data"]["image"].dtype for name, doc in of_the_run if name == "event"} == {IMAGE.dtype}
