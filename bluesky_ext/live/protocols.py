"""What a user's worker and reducer may have; they need no base class."""

from __future__ import annotations

from typing import Any, Protocol

from bluesky_ext.live.events import Event, Result
from bluesky_ext.live.parameters import Parameters


class Worker(Protocol):
    """A user's worker: it is given the events of a run, one after another, perhaps beside other workers.

    Only ``process_event`` is needed. Each method is called with those arguments that its signature takes, by name or
    by position. Beside those below it may have:

    - ``__init__(parameters, context, state)``: called at the start of each run. The ``context`` is a dict that the
      worker finds again in the next run; ``state`` has a ``name`` and ``versions``.
    - ``describe_parameters()``, static: a list of `IntParameter` and its like.
    - ``start(doc)``: with the start document.
    - ``get_tick_interval(parameters)``: in s; then ``tick`` is true for the first event, and after that for one event
      each so many seconds, of all workers together.
    - ``finish(parameters)``: when all events of the run are done.
    - ``close(context)``: when the instance goes.
    """

    def process_event(self, event: Event, parameters: Parameters, tick: bool) -> Any:
        """What the reducer is to know of an event: anything that can be pickled; None for nothing."""
        ...


class Reducer(Protocol):
    """A user's reducer: it is given what the workers made, in one thread, one result after another.

    Only ``process_result`` is needed. It may have ``__init__`` and ``describe_parameters()`` as a worker, and

    - ``publish``: a dict of arrays, numbers, texts and dicts, which is shown while the run goes; ``<name>_attrs`` and
      ``_attrs`` are attributes of a name and of the dict that they are in.
    - ``publish_rlock``: a lock that it holds where other threads of its own change that.
    - ``timer(parameters)``: called now and then between results; returns the seconds to the next call.
    - ``finish(parameters)``: when all results are there.
    - ``outcome(event_number, parameters)``: what came of the run, or of the event of this number, for plans that
      wait for it; or that and its uncertainty, as a tuple.
    """

    publish: dict[str, Any]

    def process_result(self, result: Result, parameters: Parameters) -> None:
        """Take a result."""
        ...
