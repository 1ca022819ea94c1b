"""Callers that go away, and two processes: the drill sees each fault, and passes what is right."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import drill
import psycopg
import pytest
from drill.servers import execute, made
from labs import until
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from helpers import lab


@pytest.fixture(scope="module")
def pg() -> str:
    return made(lab.postgres("84").dsn)


# Cancellation.


def engine(url: str) -> AsyncEngine:
    url = url.replace("postgresql:", "postgresql+psycopg:")
    return create_async_engine(url, pool_size=1, max_overflow=0, pool_timeout=1)


async def good(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE t SET n = n + 1"))
        await connection.execute(text("UPDATE t SET n = n - 1"))


async def swallows(engine: AsyncEngine) -> None:
    with suppress(asyncio.CancelledError):
        await good(engine)


async def changes_the_error(engine: AsyncEngine) -> None:
    try:
        await good(engine)
    except asyncio.CancelledError:
        raise LookupError("no rows") from None


async def leaks(engine: AsyncEngine) -> None:
    connection = await engine.connect()
    kept.append(connection)
    await connection.execute(text("SELECT 1"))
    await asyncio.sleep(0)  # some other work
    await connection.close()
    kept.remove(connection)


async def halves(engine: AsyncEngine) -> None:
    """Does in two transactions what belongs together."""
    for change in (1, -1):
        async with engine.begin() as connection:
            await connection.execute(text(f"UPDATE t SET n = n + {change}"))


async def goes_on(engine: AsyncEngine) -> None:
    """Lets its work go on without it, for longer than anybody waits."""
    background.append(asyncio.create_task(sleeps(engine)))
    await asyncio.sleep(0.05)


async def sleeps(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("SELECT pg_sleep(2)"))


async def hands_over(engine: AsyncEngine) -> None:
    """Takes a connection back when nobody waits for it; not when somebody has just left."""
    given: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def take() -> None:
        connection = await engine.connect()
        await connection.execute(text("SELECT 1"))
        if given.cancelled():
            await connection.close()
        else:
            kept.append(connection)
            given.set_result(connection)

    background.append(asyncio.create_task(take()))
    connection = await given
    kept.remove(connection)
    await asyncio.shield(connection.close())


async def deaf(engine: AsyncEngine) -> None:
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        await asyncio.sleep(30)


kept: list[Any] = []
background: list[asyncio.Task[None]] = []
Work = Callable[[AsyncEngine], Awaitable[None]]


def walk(
    pg: str, work: Work, way: Any = "task", limit: float = 5, *, until: Any = None, but: Any = ()
) -> Any:
    one = engine(pg)

    async def again() -> None:
        async with one.connect() as connection:
            assert (await connection.scalar(text("SELECT n FROM t"))) == 0, "half"

    async def finish() -> None:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        background.clear()
        for connection in kept:
            await connection.close()
        kept.clear()
        await one.dispose()

    async def run() -> None:
        await work(one)

    return drill.survives_cancellation(
        run,
        busy=drill.busy(pg, 1, but),
        until=until,
        again=again,
        finish=finish,
        way=way,
        limit=limit,
    )


@pytest.mark.parametrize(
    ("work", "way", "places"), [(good, "task", 5), (good, "late", 5), (hands_over, "task", 2)]
)
def test_a_good_function_survives_cancellation_everywhere(
    pg: str, work: Work, way: Any, places: int
) -> None:
    """Also one that a cancellation at the last moment finds: another way, another fault."""
    assert walk(pg, work, way).places >= places


@pytest.mark.parametrize(
    ("work", "way", "reason"),
    [
        (swallows, "task", "the cancellation was swallowed"),
        (swallows, "late", "the cancellation was swallowed"),
        (changes_the_error, "task", "LookupError came out instead"),
        (leaks, "task", r"idle in transaction(.|\n)*afterwards: no connection"),
        (halves, "task", "afterwards: AssertionError: half"),
        (goes_on, "task", "still on the server after 0.5 s|no connection or no answer"),
        (hands_over, "late", "still on the server"),
        (deaf, "task", "it did not end within 0.5 s"),
    ],
)
def test_a_function_that_cannot_be_cancelled_is_found(
    pg: str, work: Work, way: Any, reason: str
) -> None:
    try:
        with pytest.raises(AssertionError, match=reason):
            walk(pg, work, way, 0.5)
    finally:
        until(lambda: not drill.busy(pg)(), 10, "the end of the sessions")
        execute(pg, "UPDATE t SET n = 0")


@pytest.mark.parametrize("patience", [None, 200])
def test_cancellation_while_the_server_is_at_work(pg: str, patience: int | None) -> None:
    """A scope cancels the cleaning up too, so the server works on, unless it has a limit itself.

    Args:
        patience: the server's own limit for a lock, in milliseconds.
    """
    url = f"{pg}?options=-clock_timeout%3D{patience}" if patience else pg
    with psycopg.connect(pg) as other:
        other.execute("SELECT n FROM t FOR UPDATE")
        but = [other.info.backend_pid]
        assert walk(url, good, until=drill.blocked(pg), but=but).places == 2
        if patience:
            walk(url, good, "anyio", until=drill.blocked(pg), but=but)
            return
        with pytest.raises(AssertionError, match="still on the server"):
            walk(url, good, "anyio", 0.5, until=drill.blocked(pg), but=but)
    until(lambda: not drill.busy(pg)(), 10, "the end of the sessions")


# Two processes.

ADD = """
import psycopg
connection = psycopg.connect(url, autocommit=True)
def main():
    if {safe}:
        connection.execute("UPDATE t SET n = n + 1")
    else:
        n = connection.execute("SELECT n FROM t").fetchone()[0]
        connection.execute("SELECT pg_sleep(0.3)")
        connection.execute("UPDATE t SET n = %s", [n + 1])
    connection.execute("SELECT pg_sleep(0.4)")
    return number
"""


@pytest.mark.parametrize(("safe", "after"), [(True, 2), (False, 1)])
def test_two_processes_at_once(pg: str, safe: bool, after: int) -> None:
    said = drill.twice(ADD.replace("{safe}", str(safe)), pg)
    assert [(one.result, one.error) for one in said] == [(0, None), (1, None)]
    assert drill.overlap(said) > 0
    assert execute(pg, "SELECT n FROM t") == [(after,)]
    execute(pg, "UPDATE t SET n = 0")


def test_a_process_that_fails_tells_why(pg: str, tmp_path: Path) -> None:
    (tmp_path / "final.py").write_text("async def f(): raise LookupError('no row')")
    said = drill.twice(
        "from final import f as main; import os; print(os.getcwd())", pg, folder=tmp_path
    )
    assert [one.error for one in said] == ["LookupError: no row"] * 2
    said = drill.twice("1 / 0", pg)
    assert [one.error for one in said] == ["ZeroDivisionError: division by zero"] * 2
    with pytest.raises(RuntimeError, match="ended, or did not answer in time"):
        drill.twice("import time; main = lambda: time.sleep(60)", pg, seconds=1.5)
    later = [drill.Said(None, None, 0, 1), drill.Said(None, None, 2, 3)]
    assert drill.overlap(later) == -1
