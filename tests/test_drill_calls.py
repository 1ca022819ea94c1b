"""The drill's instruments that call functions: each sees its fault, and passes what is right."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import drill
import psycopg
import pytest
import redis
from conftest import until
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from helpers import lab

SMALL = {"an id of another type": "1", "none": None, "zero": 0}


@pytest.fixture(scope="module")
def pg() -> str:
    """The URL of a database with a table `t`, whose row 1 holds 0."""
    url = lab.postgres("86").dsn
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL, made timestamptz)")
        connection.execute("INSERT INTO t VALUES (1, 0)")
        connection.execute("CREATE SEQUENCE s")
    return url


def execute(url: str, *statements: str) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


# Wrong values.


def refuse(value: Any) -> None:
    if type(value) is not int or value < 1:
        raise ValueError("an id is a whole number above 0")


def refusing_late(url: str, *, rolled_back: bool) -> Callable[[Any], None]:
    def function(value: Any) -> None:
        with psycopg.connect(url) as connection:
            connection.execute("UPDATE t SET n = n + 1")
            if not rolled_back:
                connection.commit()
            refuse(value)

    return function


def test_a_function_that_refuses_passes(pg: str) -> None:
    async def later(value: Any) -> None:
        await asyncio.sleep(0)
        refuse(value)

    kinds: tuple[Any, ...] = ("id", "amount")
    for kind in kinds:
        values = drill.bad_inputs(kind, fine=["above int4", "above int8", "far above int8"])
        for function in (refuse, later):
            drill.refuses(function, values, state=drill.contents(pg), secrets=drill.secrets_of(pg))


def test_a_function_that_writes_before_it_refuses_is_found(pg: str) -> None:
    written = refusing_late(pg, rolled_back=False)
    with pytest.raises(AssertionError, match=r"3 of 3(.|\n)*something was written"):
        drill.refuses(written, SMALL, state=drill.contents(pg))
    rolled_back = refusing_late(pg, rolled_back=True)
    drill.refuses(rolled_back, SMALL, state=drill.contents(pg))  # nothing is left to be seen
    with (
        drill.no_writes(pg),
        pytest.raises(AssertionError, match=r"3 of 3(.|\n)*ReadOnlySqlTransaction"),
    ):
        drill.refuses(rolled_back, SMALL, state=drill.contents(pg))
    rolled_back(1)  # and the database takes writes again
    execute(pg, "UPDATE t SET n = 0")


def test_contents_see_every_change(pg: str) -> None:
    look = drill.contents(pg)
    for statement in ("UPDATE t SET n = 5", "SELECT nextval('s')", "CREATE TABLE u (id int)"):
        before = look()
        assert look() == before
        execute(pg, statement)
        assert look() != before, statement
    execute(pg, "DROP TABLE u", "UPDATE t SET n = 0")
    url = lab.redis("86").url
    look = drill.contents(url)
    before = look()
    with redis.Redis.from_url(url) as client:
        client.set("new", 1)
    assert look() != before
    mg = lab.mongodb("86")
    look = drill.contents(mg.url)
    before = look()
    with mg.connect() as mongo:
        mongo[mg.database].t.insert_one({"a": 1})
    assert look() != before


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        (None, "it was accepted"),
        (KeyError("id"), "KeyError is not documented"),
        (psycopg.DataError("NUL"), "DataError is not documented"),
        (ValueError(), "says nothing"),
        (ValueError("x" * 1000), "1,000 characters"),
        (ValueError("no user on {url}"), "shows a secret"),
        (ValueError(f"not {object()}"), "memory address"),
    ],
)
def test_what_is_no_clear_error_is_found(pg: str, raised: Exception | None, reason: str) -> None:
    def function(value: Any) -> None:
        if raised:
            raise type(raised)(*(str(word).replace("{url}", pg) for word in raised.args))

    with pytest.raises(AssertionError, match=reason):
        drill.refuses(function, SMALL, secrets=drill.secrets_of(pg))


def test_the_tables_of_values() -> None:
    kinds: tuple[Any, ...] = ("id", "amount", "count", "seconds", "text", "moment", "flag")
    assert all(drill.bad_inputs(kind)["None"] is None for kind in kinds)
    assert "zero" in drill.bad_inputs("id")
    assert "zero" not in drill.bad_inputs("count")
    naive = drill.bad_inputs("moment")["a zone without offset"]
    assert naive.tzinfo and naive.utcoffset() is None
    for name in ("before the calendar in UTC", "after the calendar in UTC"):
        with pytest.raises(OverflowError):
            drill.bad_inputs("moment")[name].astimezone(drill.MOMENTS[0].tzinfo)
    with pytest.raises(ValueError, match="no bad id is named zeor"):
        drill.bad_inputs("id", fine=["zeor"])


# Time zones.


def store(url: str, moment: datetime, *, aware: bool) -> datetime:
    """Store a moment in `t` and read it back. Without its zone, it means another moment."""
    with psycopg.connect(url) as connection:
        given = moment if aware else moment.replace(tzinfo=None)
        connection.execute("UPDATE t SET made = %s", [given])
        row = connection.execute("SELECT made FROM t").fetchone()
        assert row
        stored: datetime = row[0].astimezone(UTC)
        return stored


def test_a_function_that_needs_utc_is_found(pg: str) -> None:
    wrong = []
    for name, url in drill.in_zones(pg):
        assert all(store(url, moment, aware=True) == moment for moment in drill.MOMENTS), name
        if any(store(url, moment, aware=False) != moment for moment in drill.MOMENTS):
            wrong.append(name)
    assert len(wrong) == 4
    assert not any("UTC" in name for name in wrong)
    assert execute(pg, "SHOW timezone") == [("UTC",)]


@drill.each_zone
def test_a_zone_is_there(pg: str, zone: str, way: Any) -> None:
    with drill.in_zone(pg, zone, way) as url:
        assert execute(url, "SHOW timezone") == [(zone,)]
    assert execute(pg, "SHOW timezone") == [("UTC",)]


def test_a_url_that_takes_no_options_is_refused() -> None:
    with pytest.raises(ValueError, match="asyncpg URL takes no options"):
        drill.in_zone("postgresql+asyncpg://a/b", "UTC", "session").__enter__()


# Callers. A server of the test's own, which is restarted and held still.


@pytest.fixture(scope="module")
def own() -> Iterator[Any]:
    yield lab.postgres("86", private=True)


@pytest.mark.parametrize("tasks", [False, True])
def test_callers_during_a_restart(own: Any, tasks: bool) -> None:
    async def ask_async() -> None:
        async with await psycopg.AsyncConnection.connect(own.dsn) as connection:
            await connection.execute("SELECT pg_sleep(0.01)")

    outcome = drill.callers(
        3,
        ask_async if tasks else lambda: execute(own.dsn, "SELECT pg_sleep(0.01)"),
        0.2,
        meanwhile=own.server.restart,
    )
    assert outcome.hanging == 0, outcome
    assert outcome.after >= 3
    assert outcome.answers > outcome.after
    assert sum(outcome.errors.values()) >= 1
    assert isinstance(outcome.examples[next(iter(outcome.errors))], psycopg.Error)


def test_callers_of_a_server_that_is_held_still(own: Any) -> None:
    """Only the one without a limit hangs, and it gets its answer in the end."""
    answers: list[Any] = []

    async def limited() -> None:
        async with asyncio.timeout(0.2):
            async with await psycopg.AsyncConnection.connect(own.dsn) as connection:
                await connection.execute("SELECT 1")

    with drill.paused(own.server):
        outcome = drill.callers(2, limited, 0.3, patience=3)
        assert (outcome.hanging, outcome.answers) == (0, 0), outcome
        assert set(outcome.errors) == {"TimeoutError"}
        assert 0.15 < outcome.longest < 2
        outcome = drill.once(lambda: answers.append(execute(own.dsn, "SELECT 1")), 0.5)
        assert (outcome.hanging, outcome.answers) == (1, 0)
        assert not answers
    until(lambda: answers, 20, "the answer")


def test_callers_are_really_at_once_and_counted() -> None:
    inside, most = 0, 0

    async def crowd() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0.01)
        inside -= 1
        if most == 5:
            raise KeyError

    outcome = drill.callers(5, crowd, 0)
    assert (most, outcome.answers, outcome.errors["KeyError"]) == (5, 0, 5)

    async def deaf() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(1)

    began = time.monotonic()
    assert drill.callers(2, deaf, 0, patience=0.1).hanging == 2
    assert time.monotonic() - began < 6


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


@pytest.mark.parametrize("way", ["task", "late"])
def test_a_good_function_survives_cancellation_everywhere(pg: str, way: Any) -> None:
    found = walk(pg, good, way)
    assert found.places >= 5


@pytest.mark.parametrize(
    ("work", "way", "reason"),
    [
        (swallows, "task", "the cancellation was swallowed"),
        (swallows, "late", "the cancellation was swallowed"),
        (changes_the_error, "task", "LookupError came out instead"),
        (leaks, "task", r"idle in transaction(.|\n)*afterwards: TimeoutError"),
        (halves, "task", "afterwards: AssertionError: half"),
        (goes_on, "task", "still on the server after 0.5 s"),
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
    connection.execute("SELECT pg_sleep(0.1)")
    return number
"""


@pytest.mark.parametrize(("safe", "after"), [(True, 2), (False, 1)])
def test_two_processes_at_once(pg: str, safe: bool, after: int) -> None:
    said = drill.twice(ADD.replace("{safe}", str(safe)), pg)
    assert [(one.result, one.error) for one in said] == [(0, None), (1, None)]
    assert drill.overlap(said) > 0.05
    assert abs(said[0].began - said[1].began) < 0.05
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
