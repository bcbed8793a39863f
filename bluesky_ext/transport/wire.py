"""What a document is on the wire: ``prefix name payload``, as `bluesky.callbacks.zmq` has it."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

from bluesky_ext.engine.codec.arrays import raw
from bluesky_ext.engine.codec.documents import DecodeError, decode, dumps, encode, loads
from bluesky_ext.engine.codec.framing import Buffer, parts

log = logging.getLogger(__name__)

Serializer: TypeAlias = Callable[[Any], bytes] | Literal["msgpack", "pickle"]
Deserializer: TypeAlias = Callable[[bytes], Any] | Literal["msgpack", "pickle"]

#: The largest document that goes over the wire unless told otherwise, in bytes: 60 frames of 2048 x 2048 uint16.
MAX_BYTES = 512 * 2**20


def check_prefix(prefix: bytes) -> bytes:
    """Return the prefix, or raise the error that says what is wrong with it."""
    if not isinstance(prefix, bytes):
        raise TypeError(f"prefix {prefix!r} is no bytes: give b{str(prefix)!r}")
    if len(prefix) > 200:
        raise ValueError(f"prefix of {len(prefix)} bytes: give 200 or less")
    if b" " in prefix:
        raise ValueError(f"prefix {prefix!r} may not contain b' ', which is what ends it on the wire")
    if prefix.startswith(b"\0"):
        raise ValueError(f"prefix {prefix!r} begins with a zero byte, as messages do that are no documents")
    return prefix


def serializer_of(serializer: Serializer, where: str) -> Callable[[Any], bytes] | None:
    """The function that makes bytes of a document; None if that is `pack` itself."""
    return _function_of(serializer, dumps, pickle.dumps, where)


def deserializer_of(deserializer: Deserializer, where: str) -> Callable[[bytes], Any] | None:
    """The function that makes a document of bytes; None if that is `unpack` itself."""
    return _function_of(deserializer, loads, pickle.loads, where)


def _function_of(codec: Any, ours: Callable[..., Any], pickles: Callable[..., Any], where: str) -> Any:
    if codec == "msgpack" or codec is ours:
        return None
    function = pickles if codec == "pickle" else codec
    if not callable(function):
        raise ValueError(f"no way from documents to bytes or back: {codec!r}: give 'msgpack', 'pickle' or a function")
    if function is pickles:
        log.warning(
            "%s: documents are pickled, as asked for: whoever can send there can run any program where they are read",
            where,
        )
    return function


def pack(header: bytes, document: Any, serializer: Callable[[Any], bytes] | None, multipart: bool) -> list[Buffer]:
    """Return the parts of the message of a document: one, or with ``multipart`` one more for each of its arrays.

    With one part, each array is copied once, into the message. With several they are not copied at all, and must
    not change until they are sent. The ``header`` is prefix and name, with a space after each.
    """
    if serializer is not None:
        return [header + serializer(document)]
    head, arrays = encode(document)
    if multipart:
        return [header + head, *map(raw, arrays)]
    # From the beginning of the message, so that its arrays are aligned where they arrive.
    return [b"".join([header, *parts(head, map(raw, arrays), len(header))])]


def unpack(payload: Sequence[memoryview], deserializer: Callable[[bytes], Any] | None, max_bytes: int) -> Any:
    """Return the document of the payload and the arrays that a message has.

    It raises whatever the deserializer raises, `DecodeError` if there is none.
    """
    head, *arrays = payload
    if deserializer is not None:
        if arrays:
            raise DecodeError("a message of several parts, which is not what this deserializer reads")
        return deserializer(bytes(head))
    if not arrays:
        return loads(head, max_bytes=max_bytes)
    if (nbytes := sum(map(len, payload))) > max_bytes:
        raise DecodeError(f"a message of {nbytes} bytes: no more than {max_bytes} are allowed")
    return decode(head, iter(arrays))


def is_pickle(payload: memoryview) -> bool:
    """Whether some bytes that are no document of ours look like a pickle, of protocol 2 or later."""
    return payload[:1] == b"\x80" and payload[-1:] == b"."
