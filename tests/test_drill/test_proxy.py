"""The drill's instruments: each sees the fault it is there for, and passes what is right."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import asyncpg
import drill
import psutil
import psycopg
import pymongo
import pytest
import redis
from drill.servers import made
from labs import until
from redis import asyncio as redis_asyncio

from helpers import lab

ROUND = 60.0  # milliseconds: what a delay of half of it adds to each question


@pytest.fixture(scope="module")
def pg() -> str:
    return made(lab.postgres("85").dsn)


@pytest.fixture(scope="module")
def urls(pg: str) -> dict[str, str]:
    return {"postgresql": pg, "redis": lab.redis("85").url, "mongodb": lab.mongodb("85").url}


@pytest.fixture
def line(pg: str) -> Iterator[drill.Proxy]:
    with drill.Proxy(pg) as proxy:
        yield proxy


def value(url: str, query: str = "SELECT n FROM t WHERE id = 1") -> Any:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query).fetchone()
        return row and row[0]


# The proxy. Each client asks some times on one connection, and gets back what it sent.


def by_psycopg(url: str, sent: str, times: int) -> set[Any]:
    with psycopg.connect(url) as connection:
        return {connection.execute("SELECT %s", [sent]).fetchone()[0] for _ in range(times)}


def by_async_psycopg(url: str, sent: str, times: int) -> set[Any]:
    async def main() -> set[Any]:
        found = set()
        async with await psycopg.AsyncConnection.connect(url) as connection:
            for _ in range(times):
                found |= set(await (await connection.execute("SELECT %s", [sent])).fetchone())
        return found

    return asyncio.run(main())


def by_asyncpg(url: str, sent: str, times: int) -> set[Any]:
    async def main() -> set[Any]:
        connection = await asyncpg.connect(url)
        found = {await connection.fetchval("SELECT $1::text", sent) for _ in range(times)}
        await connection.close()
        return found

    return asyncio.run(main())


def by_redis(url: str, sent: str, times: int) -> set[Any]:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        return {client.echo(sent) for _ in range(times)}


def by_async_redis(url: str, sent: str, times: int) -> set[Any]:
    async def main() -> set[Any]:
        async with redis_asyncio.Redis.from_url(url, decode_responses=True) as client:
            return {await client.echo(sent) for _ in range(times)}

    return asyncio.run(main())


def by_pymongo(url: str, sent: str, times: int) -> set[Any]:
    with pymongo.MongoClient(url, serverSelectionTimeoutMS=5000) as client:
        sums = client.get_default_database().sums
        sums.replace_one({"_id": 1}, {"_id": 1, "text": sent}, upsert=True)
        return {sums.find_one({"_id": 1})["text"] for _ in range(times)}


CLIENTS: dict[str, tuple[str, Callable[[str, str, int], set[Any]]]] = {
    "psycopg": ("postgresql", by_psycopg),
    "async psycopg": ("postgresql", by_async_psycopg),
    "asyncpg": ("postgresql", by_asyncpg),
    "redis": ("redis", by_redis),
    "async redis": ("redis", by_async_redis),
    "pymongo": ("mongodb", by_pymongo),
}
each_client = pytest.mark.parametrize("client", CLIENTS)


def seconds(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


@each_client
def test_the_line_passes_everything_and_its_delay_is_there(
    urls: dict[str, str], client: str
) -> None:
    kind, ask = CLIENTS[client]
    with drill.Proxy(urls[kind]) as proxy:
        big = "ä" * 300_000
        assert ask(proxy.url, big, 1) == {big}
        fast = min(seconds(lambda: ask(proxy.url, "x", 6)) for _ in range(3))
        proxy.delay(ROUND / 2)
        slow = seconds(lambda: ask(proxy.url, "x", 6))
        assert slow > 7 * ROUND / 1000  # six questions, and the connection itself
        assert slow > 2 * fast
        until(lambda: not proxy.connections, 10, "the end of the connections")


def test_a_delay_does_not_make_the_line_narrow(line: drill.Proxy) -> None:
    """What takes many packets comes after one delay, not one for each."""
    line.delay(ROUND / 2)
    with psycopg.connect(line.url) as connection:
        ask = "SELECT repeat('x', 1000) FROM generate_series(1, 10_000)"  # 10 MB: 150 pieces
        once = seconds(lambda: connection.execute("SELECT 1"))
        assert seconds(lambda: connection.execute(ask)) < once + 30 * ROUND / 1000


def test_a_dropped_line_refuses_the_new_and_keeps_the_old(line: drill.Proxy) -> None:
    with psycopg.connect(line.url, autocommit=True) as old:
        for _ in range(2):
            line.drop()
            with pytest.raises(psycopg.OperationalError, match="refused"):
                value(line.url)
            assert old.execute("SELECT 1").fetchone() == (1,)
            line.restore()
            assert value(line.url) == 0


@each_client
def test_a_stalled_line_answers_nobody_until_it_is_restored(
    urls: dict[str, str], client: str
) -> None:
    """So a function without a limit on time hangs, and is seen to."""
    kind, ask = CLIENTS[client]
    with drill.Proxy(urls[kind]) as proxy:
        proxy.stall()
        seen: list[Any] = []
        outcome = drill.once(lambda: seen.append(ask(proxy.url, "x", 1)), 0.4)
        assert outcome.hanging == 1, outcome  # those that have a limit by default take 5 s or more
        assert outcome.longest >= 0.4
        proxy.restore()
        until(lambda: seen == [{"x"}], 10, "the answer")


def test_a_connection_that_is_there_stalls_too(line: drill.Proxy) -> None:
    with psycopg.connect(line.url, autocommit=True) as connection:
        line.stall()
        outcome = drill.once(lambda: connection.execute("SELECT 1"), 0.3)
        assert (outcome.hanging, line.held > 0, line.connections) == (1, True, 1)
        line.restore()


def test_a_limit_on_time_is_seen_to_work(urls: dict[str, str]) -> None:
    with drill.Proxy(urls["redis"]) as proxy:
        client = redis.Redis.from_url(proxy.url, socket_timeout=0.2, retry=None)
        client.ping()
        proxy.stall()
        outcome = drill.once(client.ping, 5)
        assert (outcome.hanging, dict(outcome.errors)) == (0, {"TimeoutError": 1})
        assert 0.15 < outcome.longest < 3


def test_a_cut_ends_every_connection_and_the_next_is_fine(line: drill.Proxy) -> None:
    both = [psycopg.connect(line.url) for _ in range(2)]
    line.cut()
    for connection in both:
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert (line.cuts, line.connections, value(line.url)) == (2, 0, 0)


@pytest.mark.parametrize("after", [0, 1, 5_000])
def test_an_answer_can_be_cut_in_the_middle(line: drill.Proxy, after: int) -> None:
    with psycopg.connect(line.url, autocommit=True) as connection:
        line.cut(after=after)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT repeat('x', 100000)")
    assert line.cuts == 1


LOST = [("answer_to", 1), ("before", 0)]


@pytest.mark.parametrize(("moment", "rows"), LOST)
@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_a_lost_commit(line: drill.Proxy, pg: str, driver: str, moment: str, rows: int) -> None:
    """The caller gets the same error, whether the server has committed or not."""
    value(pg, "DELETE FROM t WHERE id = 7 RETURNING 1")
    insert = "INSERT INTO t VALUES (7, 0)"

    async def by_asyncpg() -> None:
        connection = await asyncpg.connect(line.url)
        async with connection.transaction():
            await connection.execute(insert)
            line.cut(**{moment: b"COMMIT"})

    def by_psycopg() -> None:
        with psycopg.connect(line.url) as connection:
            connection.execute(insert)
            line.cut(**{moment: b"COMMIT"})

    with pytest.raises((psycopg.OperationalError, asyncpg.PostgresError, OSError)):
        asyncio.run(by_asyncpg()) if driver == "asyncpg" else by_psycopg()
    until(lambda: not drill.sessions(pg), 10, "the end of the session")
    assert value(pg, "SELECT count(*) FROM t WHERE id = 7") == rows
    assert line.cuts == 1


@pytest.mark.parametrize(("moment", "rows"), LOST)
def test_a_lost_write_to_the_others(urls: dict[str, str], moment: str, rows: int) -> None:
    with drill.Proxy(urls["redis"]) as proxy:
        client = redis.Redis.from_url(proxy.url, retry=None)
        client.delete("lost")
        proxy.cut(**{moment: b"SET"})
        with pytest.raises(redis.ConnectionError):
            client.set("lost", "value")
        assert client.exists("lost") == rows
    with (
        drill.Proxy(urls["mongodb"]) as proxy,
        pymongo.MongoClient(proxy.url, retryWrites=False) as mongo,
    ):
        table = mongo.get_default_database().lost
        table.drop()
        proxy.cut(**{moment: b"\x02insert\x00"})
        with pytest.raises(pymongo.errors.AutoReconnect):
            table.insert_one({"_id": 1})
        assert table.count_documents({}) == rows


def test_a_word_is_found_in_two_pieces(urls: dict[str, str]) -> None:
    with drill.Proxy(urls["redis"]) as proxy:
        client = socket.create_connection(("127.0.0.1", proxy.port), 10)
        client.sendall(b"PING\r\n")
        assert client.recv(100)
        proxy.cut(before=b"SECRET")
        client.sendall(b"SEC")
        time.sleep(0.05)  # two packets, most times; it holds for one too
        client.sendall(b"RET\r\n")
        try:
            answer = client.recv(100)
        except ConnectionError:
            answer = b""
        assert (answer, proxy.cuts) == (b"", 1)


def test_addresses_and_the_end(pg: str) -> None:
    with drill.Proxy(pg.replace("postgresql:", "postgresql+psycopg:")) as proxy:
        own = f"127.0.0.1:{proxy.port}"
        assert proxy.url.startswith("postgresql+psycopg://")
        assert proxy.url.split("@")[1].startswith(own)
        listening = psutil.Process().net_connections("tcp")
        assert {c.laddr.ip for c in listening if c.laddr.port == proxy.port} == {"127.0.0.1"}
    with pytest.raises(psycopg.OperationalError):
        value(pg.replace(pg.split("@")[1].split("/")[0], own))
    assert "directConnection=true" in drill.proxy.through("mongodb://a:1/db", 2)[2]
    for wrong in ("mongodb+srv://a/b", "mongodb://a:1,b:2/c", "http://a", "postgresql:///x?host=/"):
        with pytest.raises(ValueError, match=r"proxy|one host"):
            drill.Proxy(wrong)
