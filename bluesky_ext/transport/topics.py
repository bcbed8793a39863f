"""Subscriptions that ask for no documents: by them publishers, proxies and listeners of ours know of each other.

They begin with a zero byte, as no prefix of documents does. Our proxy keeps those that begin with `MARK` to itself, and
passes on the others.
"""

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

#: What a listener of ours subscribes to with the prefix that it listens to, so that publishers tell how many documents
#: they had of their latest runs, and a proxy tells it again. Both are silent where somebody subscribed to everything,
#: as Bluesky's listeners do, some of which do not survive what is no document.
COUNTS = b"\0bluesky-ext-counts:"

#: What a listener of ours subscribes to beside that, with a word of its own behind it, so that a publisher can say
#: which of its runs were published since.
JOINED = b"\0bluesky-ext-joined:"

#: What a listener of ours subscribes to if it wants all documents: all but what begins with a zero byte.
ALL = [bytes([byte]) for byte in range(1, 256)]
