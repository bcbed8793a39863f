"""What a document is on the wire: ``prefix name payload``, as `bluesky.callbacks.zmq` has it; and who listens to it."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

from event_model import DocumentNames

from bluesky_ext.engine.codec.arrays import raw
from bluesky_ext.engine.codec.documents import DecodeError, decode, encode, loads
from bluesky_ext.engine.codec.framing import Buffer, parts

__all__ = ["NAMES", "Deserializer", "Serializer", "Wire", "check_prefix", "pack", "unpacker"]

log = logging.getLogger(__name__)

Serializer: TypeAlias = Callable[[Any], bytes] | Literal["msgpack", "pickle"]
Deserializer: TypeAlias = Callable[[bytes], Any] | Literal["msgpack", "pickle"]
Wire: TypeAlias = Literal["single", "multipart"]

MAX_BYTES = 512 * 2**20
"""The largest document that goes over the wire unless told otherwise, in bytes: 60 frames of 2048 x 2048 uint16."""

LARGE = 65536
"""From so many bytes on a message is handed to 0MQ without a copy."""

NAMES = {name.name.encode(): name.name for name in DocumentNames}
"""The names of documents, as they are on the wire."""

MARK = b"\0bluesky-ext "
"""Subscriptions that begin so ask for no documents (none has such a prefix): they say who subscribes. Our proxy keeps
them to itself; it passes on those that begin with ``\\0bluesky-ext-``, such as `STALLED`."""

PROXY = MARK + b"proxy"
"""What our proxy subscribes to, so that a publisher knows that its other subscriptions are those of listeners."""

BLOCKING = MARK + b"blocking proxy"
"""The same if the proxy waits for its listeners."""

LISTENER = MARK + b"listener "
"""What a listener of ours subscribes to, with its name. A message to this name alone, which it leaves out, tells a
proxy whether there is room for it."""

READY = MARK + b"ready "
"""What a listener of ours subscribes to last, with a word of its own behind it; our proxy answers with the same,
so that the listener knows that the proxy has heard of all its subscriptions."""

LAST = PROXY + b" last "
"""What a publisher sends last, with a word of its own behind it; our proxy subscribes to the same for a moment, when
it has passed on all that came before."""

STALLED = b"\0bluesky-ext-stalled"
"""What our proxies subscribe to for a moment, when they go on without a listener that took nothing."""

PASSING = b"\0bluesky-ext-passing"
"""What our proxies subscribe to every second while documents come: a publisher that waits knows that they go on."""

ALL = b"\0bluesky-ext-all"
"""What a listener of ours subscribes to with the `PROBES` if it wants documents of all prefixes. (With a subscription
to everything it would also get what is no document.)"""

PROBES = [bytes([byte]) for byte in range(1, 256)]
"""Subscriptions to all documents, of a listener that looks whether there are any; by themselves no wish for them."""

#: What a pickle begins with, from protocol 2 on.
_PICKLE = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1))


def check_prefix(prefix: bytes) -> bytes:
    """Return the prefix, or raise the error that says what is wrong with it."""
    if not isinstance(prefix, bytes):
        raise TypeError(f"prefix {prefix!r} is no bytes: give b{str(prefix)!r}")
    if len(prefix) > 200:
        raise ValueError(f"prefix of {len(prefix)} bytes: give 200 or less")
    if b" " in prefix:
        raise ValueError(f"prefix {prefix!r} may not contain b' ', which is what ends it on the wire")
    if prefix.startswith(b"\0"):
        raise ValueError(f"prefix {prefix!r} begins with a zero byte, as what the ends tell each other does")
    return prefix


def pack(header: bytes, document: Any, serializer: Serializer, wire: Wire) -> list[Buffer]:
    """Return the parts of the message of a document: one, or one more for each of its arrays.

    With one part, each array is copied once, into the message. With several they are not copied at all, and must
    not change until they are sent.

    Parameters
    ----------
    header : bytes
        Prefix and name, with a space after each.
    """
    if serializer == "pickle":
        return [header + pickle.dumps(document)]
    if serializer != "msgpack":
        return [header + serializer(document)]
    head, arrays = encode(document)
    if wire == "multipart":
        return [header + head, *map(raw, arrays)]
    # From the beginning of the message, so that its arrays are aligned where they arrive.
    return [b"".join([header, *parts(head, map(raw, arrays), len(header))])]


def unpacker(deserializer: Deserializer, max_bytes: int, where: str) -> Callable[[Sequence[memoryview]], Any]:
    """Return what makes the document of the payload and the arrays that a message has.

    It raises whatever the deserializer raises: `DecodeError` if that is ours.
    """
    if deserializer == "msgpack" or deserializer is loads:
        return lambda payload: _unpack(payload, max_bytes)
    function = pickle.loads if deserializer == "pickle" else deserializer
    if not callable(function):
        raise ValueError(f"deserializer {deserializer!r}: give 'msgpack', 'pickle' or a function of bytes")
    if function is pickle.loads:
        log.warning(
            "%s: documents are unpickled, as asked for: whoever can send there can run any program in this process",
            where,
        )

    def unpack(payload: Sequence[memoryview]) -> Any:
        if len(payload) > 1:
            raise DecodeError("a message of several parts, which is not what this deserializer reads")
        return function(bytes(payload[0]))

    return unpack


def check_serializer(serializer: Serializer, where: str) -> Serializer:
    """Return the serializer; say what it means if it is pickle."""
    if serializer not in ("msgpack", "pickle") and not callable(serializer):
        raise ValueError(f"serializer {serializer!r}: give 'msgpack', 'pickle' or a function of a document")
    if serializer == "pickle" or serializer is pickle.dumps:
        log.warning(
            "%s: documents are pickled, as asked for: those who read them must run whatever a sender there puts in",
            where,
        )
    return serializer


def check_wire(wire: Wire, serializer: Serializer) -> Wire:
    """Return how documents are sent, or raise the error that says what is wrong with it."""
    if wire not in ("single", "multipart"):
        raise ValueError(f"wire={wire!r}: give 'single' or 'multipart'")
    if wire == "multipart" and serializer != "msgpack":
        raise ValueError(f"wire='multipart' with serializer={serializer!r}: only 'msgpack' keeps arrays apart")
    return wire


def is_pickle(payload: memoryview) -> bool:
    """Whether some bytes that are no document of ours look like a pickle."""
    return bytes(payload[:2]) in _PICKLE and payload[-1:] == b"."


def _unpack(payload: Sequence[memoryview], max_bytes: int) -> Any:
    if len(payload) == 1:
        return loads(payload[0], max_bytes=max_bytes)
    nbytes = sum(map(len, payload))
    if nbytes > max_bytes:
        raise DecodeError(f"a message of {nbytes} bytes: no more than {max_bytes} are allowed")
    head, *arrays = payload
    rest = iter(arrays)

    def take(nbytes: int) -> Buffer:
        data = next(rest, None)
        if data is None:
            raise DecodeError(f"an array of {nbytes} bytes that is not in the message")
        return data

    document = decode(head, take)
    if next(rest, None) is not None:
        raise DecodeError("a message with more arrays than its document has")
    return document
