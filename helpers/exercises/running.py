"""The learner's code inside a check: what it raises is told in words, as the learner's."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from helpers.base.errors import LabError
from helpers.exercises import Incorrect, NotAttempted, Place
from helpers.kinds.kind import NotReady


def in_words(error: BaseException) -> str:
    """Return an exception as a sentence: its type and the first line of its message."""
    if isinstance(error, LabError):
        return str(error)
    first = (str(error).strip().splitlines() or [""])[0].rstrip(".")
    return f"{type(error).__name__}: {first}." if first else f"{type(error).__name__}."


@contextmanager
def running(what: str) -> Iterator[None]:
    """Run code or SQL of the learner inside a check.

    Args:
        what: its name, at the beginning of a sentence: "Your query".

    Raises:
        Incorrect: the block raised; says in words what.
    """
    try:
        yield
    except (Incorrect, NotAttempted, LabError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # SystemExit and CancelledError are the learner's too
        raise Incorrect(f"{what} raised {in_words(error)}") from error


def guarded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a learner's function: what it raises is Incorrect, a returned `...` NotAttempted."""

    def call_in_words(arguments: tuple[Any, ...]) -> str:
        plain = (str, int, float, bool, type(None))
        shown = (repr(a) if isinstance(a, plain) else type(a).__name__ for a in arguments)
        return f"{name}({', '.join(shown)})"

    def answered(value: Any) -> Any:
        if value is ...:
            raise NotAttempted(f"Write your answer in place of the `...` in `{name}`.")
        return value

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with running(call_in_words(args)):
            return answered(function(*args, **kwargs))

    @functools.wraps(function)
    async def call_async(*args: Any, **kwargs: Any) -> Any:
        with running(call_in_words(args)):
            return answered(await function(*args, **kwargs))

    return call_async if inspect.iscoroutinefunction(function) else call


def trouble(servers: Iterable[Place], error: Exception) -> str:
    """Return in words what is broken when a check, or the learner's code in it, raised `error`.

    That is a server that does not answer, a connection that was lost, or else the error itself;
    but "" for an Incorrect, when the servers are well.
    """
    for database in servers:
        try:
            database.server.ask(3)
        except NotReady as silence:
            return f"{database.server.title} does not answer. {in_words(silence)}"
    cause = error.__cause__ if isinstance(error, Incorrect) else error
    cause = getattr(cause, "orig", cause)  # SQLAlchemy keeps psycopg's error there
    if isinstance(cause, psycopg.OperationalError):
        # Without a code the client lost the server; 57P0x is the server saying that it stops.
        # A connection that the learner closed is the learner's.
        stopped = (cause.sqlstate or "57P0").startswith("57P0")
        if stopped and "connection is closed" not in str(cause):
            return f"A connection to the server was lost. {in_words(cause)}"
    return "" if isinstance(error, Incorrect) else in_words(error)
