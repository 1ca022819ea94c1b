"""What several exercises of lesson 04 use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from helpers.exercises import Incorrect


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


async def ended(tasks: list[asyncio.Task[Any]], what: str) -> list[Any]:
    """Return the tasks' results within 5 s; raise the first error; Incorrect when one hangs."""
    _, hanging = await asyncio.wait(tasks, timeout=5)
    for task in hanging:
        task.cancel()
    errors = [task.exception() for task in tasks if task not in hanging]
    for error in filter(None, errors):
        raise error
    if hanging:
        raise Incorrect(f"{what} still waited after 5 s.")
    return [task.result() for task in tasks]
