"""The drill's instruments that call functions: each sees its fault, and passes what is right."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import drill
import psycopg
import pytest
import redis
from drill.servers import execute, made
from labs import until

from helpers import lab

SMALL = {"an id of another type": "1", "none": None, "zero": 0}


@pytest.fixture(scope="module")
def pg() -> str:
    return made(lab.postgres("86").dsn)


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

    outcome = drill.once(lambda: crowd(), 1)
    assert (outcome.answers, dict(outcome.errors)) == (0, {"TypeError": 1})
    began = time.monotonic()
    assert drill.callers(2, deaf, 0, patience=0.1).hanging == 2
    assert time.monotonic() - began < 6
