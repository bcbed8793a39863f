"""A user's class called as it is written: each hook gets the arguments that its signature takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_Parameter = inspect.Parameter


def hook(owner: Any, name: str, *arguments: str) -> Callable[..., Any] | None:
    """A function that calls a method with values for these arguments, those that it takes; None if there is no method.

    Arguments are handed over by their names where the method has such, the others in their order as long as it takes
    more; ``*args`` is given none that could be meant for a keyword.

    Examples
    --------
    >>> class Worker:
    ...     def process_event(self, event, *args, parameters=None, **kwargs):
    ...         return event, args, parameters, kwargs
    ...     def finish(self, settings):
    ...         return settings
    >>> hook(Worker(), "process_event", "event", "parameters", "tick")("e", "p", False)
    ('e', (), 'p', {'tick': False})
    >>> hook(Worker(), "finish", "parameters")("p")
    'p'
    """
    method = getattr(owner, name, None)
    if method is None:
        return None
    if not callable(method):
        raise TypeError(f"{type(owner).__name__}.{name} is a {type(method).__name__}: make it a method")
    positions, keywords = _taken(method, arguments)
    passed = [*(arguments[number] for number in positions), *(f"{key}={key}" for key in keywords)]
    if passed == list(arguments):
        return method
    # Written out, as that call is made for each event; in it are none but our own names.
    return eval(f"lambda {', '.join(arguments)}: method({', '.join(passed)})", {"method": method})


def _taken(method: Callable[..., Any], arguments: Sequence[str]) -> tuple[list[int], dict[str, int]]:
    """Which of the arguments a method takes by position, in order, and which by name."""
    try:
        parameters = list(inspect.signature(method).parameters.values())
    except ValueError:  # a builtin without a signature
        return list(range(len(arguments))), {}
    plain = [one for one in parameters if one.kind in (_Parameter.POSITIONAL_ONLY, _Parameter.POSITIONAL_OR_KEYWORD)]
    by_name = {one.name for one in parameters if one.kind is _Parameter.KEYWORD_ONLY}
    takes_any = any(one.kind is _Parameter.VAR_KEYWORD for one in parameters)
    names = {one.name for one in plain}
    positions: list[int] = []
    left = [number for number, name in enumerate(arguments) if name not in names | by_name]
    takes_more = any(one.kind is _Parameter.VAR_POSITIONAL for one in parameters)
    if takes_more and not plain and not by_name:  # as a decorated method
        return list(range(len(arguments))), {}
    for one in plain:
        if one.name in arguments:
            positions.append(arguments.index(one.name))
        elif left:
            positions.append(left.pop(0))
        elif one.default is _Parameter.empty:
            raise TypeError(f"{method.__qualname__}() wants {one.name!r}: it is called with {', '.join(arguments)}")
        else:
            break
    keywords = {arguments[number]: number for number in range(len(arguments)) if arguments[number] in by_name}
    if takes_any:
        keywords |= {arguments[number]: number for number in left}
    return positions, keywords


def build(made: type, given: Mapping[str, Any]) -> Any:
    """An instance of a user's class, given what it takes of these by name, or by position where it names others."""
    kinds = {one.kind for one in inspect.signature(made).parameters.values()}
    if _Parameter.VAR_KEYWORD in kinds and _Parameter.POSITIONAL_OR_KEYWORD not in kinds:
        return made(**given)
    positions, keywords = _taken(made, tuple(given))
    values = list(given.values())
    return made(*[values[number] for number in positions], **{key: values[at] for key, at in keywords.items()})
