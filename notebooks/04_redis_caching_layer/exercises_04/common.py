"""What several exercises of lesson 04 use."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from helpers.exercises import Incorrect, Place

END = "the end of the block that is monitored"
PATIENCE = 30  # seconds until something hangs: a slow machine is not a wrong answer


def shown(value: Any) -> str:
    """Return a value for a reason: short, and without an address, which differs in every run."""
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))
    return text if len(text) <= 120 else f"{text[:117]}..."


class Since:
    """The moment of its making, to judge what is left of a time in Redis, however slow we are."""

    def __init__(self) -> None:
        self.began = time.monotonic()

    def left(self, found: float, wanted: float) -> bool:
        """Whether `found` seconds may be left of `wanted`, whole seconds rounded either way."""
        return wanted - (time.monotonic() - self.began) - 1 <= found <= wanted

    def about(self, found: float, wanted: float) -> bool:
        """The same in milliseconds, of which Redis may have counted one more."""
        return wanted - 1000 * (time.monotonic() - self.began) - 1 <= found <= wanted


@dataclass(frozen=True)
class Command:
    """A command that Redis has run."""

    name: str  # in small letters
    arguments: tuple[str, ...]
    inside: bool  # by a script


@contextmanager
def monitored(rd: Place) -> Iterator[list[Command]]:
    """Note every command that Redis runs in this database, those inside scripts too.

    The list is filled when the block ends. It stays empty where the account may not MONITOR.
    """
    import redis

    found: list[Command] = []
    with ExitStack() as stack:
        watching, other = (stack.enter_context(rd.connect()) for _ in range(2))
        number = other.client_info()["db"]
        try:
            monitor = stack.enter_context(watching.monitor())
        except redis.ResponseError:
            yield found
            return
        yield found
        other.echo(END)
        while END not in (seen := monitor.next_command())["command"]:
            if str(seen["db"]) == str(number):
                name, *arguments = seen["command"].split(" ")
                inside = seen["client_type"] == "lua"
                found.append(Command(name.lower(), tuple(arguments), inside))


class Source:
    """A slow function for checks: it counts its runs and goes on only when it is told to."""

    def __init__(self, *results: Any) -> None:
        """Args: what each run returns or raises, in turn; the last one again and again."""
        self.results = list(results)
        self.runs = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> Any:
        """Run once."""
        self.runs += 1
        result = self.results[min(self.runs, len(self.results)) - 1]
        await self.gate.wait()
        if isinstance(result, Exception):
            raise result
        return result


@contextmanager
def counted() -> Iterator[list[tuple[str, int]]]:
    """Note the commands that this program sends to Redis; the server also counts others'.

    Gives a list of each command's name and how many arguments it has.
    """
    from redis import connection
    from redis.asyncio.connection import AbstractConnection

    sent: list[tuple[str, int]] = []
    # Every command goes through one of these, those of a pipeline too.
    packers: list[tuple[Any, str]] = [
        (AbstractConnection, "pack_command"),
        (connection.PythonRespSerializer, "pack"),
        (connection.HiredisRespSerializer, "pack"),
    ]

    def counting(pack: Callable[..., Any]) -> Callable[..., Any]:
        def pack_and_count(packer: Any, *command: Any) -> Any:
            sent.append((str(command[0]).split()[0].lower(), len(command) - 1))
            return pack(packer, *command)

        return pack_and_count

    before = [getattr(kind, name) for kind, name in packers]
    for (kind, name), pack in zip(packers, before, strict=True):
        setattr(kind, name, counting(pack))
    try:
        yield sent
    finally:
        for (kind, name), pack in zip(packers, before, strict=True):
            setattr(kind, name, pack)


def was_cancelled(task: asyncio.Task[Any]) -> bool:
    """Whether a task of the learner's ended by a cancellation, its own or somebody else's."""
    if task.cancelled():
        return True
    error = task.exception()
    return isinstance(error, Incorrect) and isinstance(error.__cause__, asyncio.CancelledError)


async def ended(tasks: list[asyncio.Task[Any]], what: str) -> list[Any]:
    """Return the tasks' results; raise the first error; Incorrect when one hangs."""
    _, hanging = await asyncio.wait(tasks, timeout=PATIENCE)
    for task in hanging:
        task.cancel()
    if any(was_cancelled(task) for task in tasks if task not in hanging):
        raise Incorrect(f"{what} ended with CancelledError, although nobody cancelled it.")
    errors = [task.exception() for task in tasks if task not in hanging]
    for error in filter(None, errors):
        raise error
    if hanging:
        raise Incorrect(f"{what} still waited after {PATIENCE} s.")
    return [task.result() for task in tasks]
