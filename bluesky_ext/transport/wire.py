"""What is on the wire: documents as ``prefix name payload``, as `bluesky.callbacks.zmq` has it, and topics of our own.

By subscriptions to these, which ask for no documents, publishers, proxies and listeners of ours know of each other.
They begin with a zero byte, as no prefix of documents does. Our proxy keeps those that begin with `MARK` to itself, and
passes on the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from bluesky_ext.engine.codec.arrays import raw
from bluesky_ext.engine.codec.documents import dumps, encode
from bluesky_ext.engine.codec.framing import parts

log = logging.getLogger(__name__)

Serializer: TypeAlias = Callable[[Any], bytes] | Literal["msgpack", "pickle"]
Deserializer: TypeAlias = Callable[[bytes], Any] | Literal["msgpack", "pickle"]

#: The largest document that goes over the wire unless told otherwise, in bytes: 60 frames of 2048 x 2048 uint16.
MAX_BYTES = 512 * 2**20


MARK = b"\0bluesky-ext "

#: What our proxy subscribes to: so a publisher knows that its other subscriptions are those of listeners.
PROXY = MARK + b"proxy"

#: What it subscribes to beside that if it waits for its listeners.
BLOCKING = MARK + b"blocking proxy"

#: What a listener of ours subscribes to, with its name. A message to this name alone, which it leaves out, tells a
#: proxy whether there is room for it.
LISTENER = MARK + b"listener "

#: A question, with a word of its own behind it, that our proxy answers when all that came before it has been worked on:
#: a subscription of a listener by the same as a message, a message of a publisher by the same as a subscription.
ECHO = PROXY + b" echo "

#: What our proxies subscribe to for a moment, when they go on without a listener that took nothing.
STALLED = b"\0bluesky-ext-stalled"

#: What they subscribe to for a moment, every second while documents come: a publisher that waits knows that they go on.
PASSING = b"\0bluesky-ext-passing"

#: What a listener of ours subscribes to with the prefix that it listens to, so that proxies of ours say stop documents
#: again, for which it may have had no room. They are silent where somebody subscribed to everything, as Bluesky's
#: listeners do, some of which do not survive what is no document.
AGAIN = b"\0bluesky-ext-again:"

#: What a listener of ours subscribes to if it wants all documents: all but what begins with a zero byte.
ALL = [bytes([byte]) for byte in range(1, 256)]


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


def codec_of(codec: Any, ours: Callable[..., Any], pickles: Callable[..., Any], where: str) -> Callable[..., Any]:
    """The function between documents and bytes that a user has given, or named."""
    function = ours if codec == "msgpack" else pickles if codec == "pickle" else codec
    if not callable(function):
        raise ValueError(f"no way from documents to bytes or back: {codec!r}: give 'msgpack', 'pickle' or a function")
    if function is pickles:
        log.warning(
            "%s: documents are pickled, as asked for: whoever can send there can run any program where they are read",
            where,
        )
    return function


def pack(header: bytes, document: Any, serializer: Callable[[Any], bytes] = dumps) -> bytes:
    """Return the message of a document; the ``header`` is prefix and name, with a space after each."""
    if serializer is not dumps:
        return header + serializer(document)
    # Each array is copied once, into the message: to where it is aligned when it arrives.
    head, arrays = encode(document)
    return b"".join([header, *parts(head, map(raw, arrays), len(header))])
