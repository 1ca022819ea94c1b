"""What the servers hold and do, and servers that are set up otherwise than a lab's."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, Protocol
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import psycopg
import pytest
from psycopg import sql

ZONES = ("UTC", "Europe/Berlin", "America/Los_Angeles")
Way = Literal["database", "session"]
WAYS: tuple[Way, ...] = ("database", "session")
#: A test with this gets each zone, set in each way: parameters `zone` and `way` for `in_zone`.
each_zone = pytest.mark.parametrize(
    ("zone", "way"), [(zone, way) for zone in ZONES for way in WAYS]
)
#: Sessions on this database that work, or hold a transaction open.
BUSY = """
    SELECT pid, state, left(query, 60) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
      AND backend_type = 'client backend' AND state <> 'idle'
"""
TABLES = """
    SELECT schemaname, tablename FROM pg_tables
    WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2
"""
SEQUENCES = "SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2"


class Pausable(Protocol):
    """A server of one's own, as `lab.postgres("91", private=True).server` is."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


@contextmanager
def paused(server: Pausable) -> Iterator[None]:
    """Hold a server still for the block: it accepts connections and answers nothing."""
    server.pause()
    try:
        yield
    finally:
        server.resume()


def made(url: str) -> str:
    """Make what the drill's own tests work on: a table `t`, whose row 1 holds 0. Return the URL."""
    with direct(url) as connection:
        connection.execute("CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL, made timestamptz)")
        connection.execute("INSERT INTO t VALUES (1, 0)")
        connection.execute("CREATE SEQUENCE s")
    return url


def execute(url: str, *statements: str) -> list[Any]:
    """Run statements in a session of their own, in autocommit; return the rows of the last."""
    rows: list[Any] = []
    with psycopg.connect(plain(url), autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement.encode())
            rows = cursor.fetchall() if cursor.description else []
    return rows


def plain(url: str) -> str:
    """Return a PostgreSQL URL as psycopg reads it, without SQLAlchemy's driver."""
    return re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", url)


def direct(url: str, options: str = "") -> psycopg.Connection[Any]:
    """Open a session of the drill's own, in autocommit and UTC, which may write."""
    own = f"-ctimezone=UTC -cdefault_transaction_read_only=off {options}"
    return psycopg.connect(with_options(plain(url), own), autocommit=True, connect_timeout=10)


def with_options(url: str, options: str) -> str:
    """Return a PostgreSQL URL with more settings for its sessions, such as "-ctimezone=UTC".

    Raises ValueError for asyncpg, whose URLs take none.
    """
    if "asyncpg" in urlsplit(url).scheme:
        raise ValueError("an asyncpg URL takes no options: change the database instead")
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    query["options"] = f"{query.get('options', '')} {options}".strip()
    return parts._replace(query=urlencode(query, quote_via=quote)).geturl()


@contextmanager
def database_setting(url: str, name: str, value: str) -> Iterator[None]:
    """Change a setting of a database for new sessions, as an administrator does; put it back."""
    before = "SELECT unnest(setconfig) FROM pg_db_role_setting JOIN pg_database d"
    before += " ON d.oid = setdatabase WHERE setrole = 0 AND datname = current_database()"
    with direct(url) as connection:
        database = sql.Identifier(connection.info.dbname)
        found = dict(row[0].split("=", 1) for row in connection.execute(before))
        change = sql.SQL("ALTER DATABASE {} SET {} = {}")
        back = sql.SQL("ALTER DATABASE {} RESET {}").format(database, sql.Identifier(name))
        if name in found:
            back = change.format(database, sql.Identifier(name), sql.Literal(found[name]))
        connection.execute(change.format(database, sql.Identifier(name), sql.Literal(value)))
    try:
        yield
    finally:
        with direct(url) as connection:
            connection.execute(back)


@contextmanager
def in_zone(url: str, zone: str, way: Way = "database") -> Iterator[str]:
    """Give a URL whose new sessions are in a time zone.

    Args:
        way: "database": the database says so, as a server does that is not in UTC. "session":
            the URL's own options say so, as a client with another setting does.
    """
    if way == "session":
        yield with_options(url, f"-ctimezone={zone}")
        return
    with database_setting(url, "timezone", zone):
        yield url


def in_zones(url: str) -> Iterator[tuple[str, str]]:
    """Yield a name and a URL for each zone, set in each way. For a test that loops."""
    for zone in ZONES:
        for way in WAYS:
            if way == "session" and "asyncpg" in url:
                continue
            with in_zone(url, zone, way) as own:
                yield f"{zone}, by the {way}", own


def no_writes(url: str) -> AbstractContextManager[None]:
    """Make a PostgreSQL database refuse to write in every session that begins in the block.

    A function that writes before it looks at its input then raises ReadOnlySqlTransaction, also
    when it would have rolled back. Locking a row counts as writing.
    """
    return database_setting(url, "default_transaction_read_only", "on")


def busy(url: str, most: int | None = None, but: Collection[int] = ()) -> Callable[[], list[Any]]:
    """Give a function that tells which sessions on a PostgreSQL database are not idle.

    Args:
        most: how many sessions there may be in all, idle ones too: the pool's size.
        but: the process ids of sessions that the test itself keeps busy, such as with a lock.
    """

    def look() -> list[Any]:
        with direct(url) as connection:
            found = [row for row in connection.execute(BUSY) if row[0] not in but]
        if most is not None and (count := sessions(url) - len(but)) > most:
            found.append(f"{count} sessions, not {most}")
        return found

    return look


def blocked(url: str) -> Callable[[], list[Any]]:
    """Give a function that tells which sessions on a PostgreSQL database wait for a lock."""

    def look() -> list[Any]:
        with direct(url) as connection:
            return connection.execute(BUSY + " AND wait_event_type = 'Lock'").fetchall()

    return look


def sessions(url: str) -> int:
    """Count the clients' sessions on a PostgreSQL database, without the one that counts."""
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    with direct(url) as connection:
        found = connection.execute(
            count + " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ).fetchone()
    return int(found[0]) if found else 0


def contents(url: str) -> Callable[[], Any]:
    """Give a function that returns all that is stored at a URL, in a form that can be compared.

    PostgreSQL: every row of every table, and how far each sequence has come, which a rollback
    does not take back. Redis: every key of the URL's number, without its time to live. MongoDB:
    every document of the URL's database. For the small data of a test.
    """
    kind = urlsplit(url).scheme.split("+")[0]
    if kind.startswith("redis"):
        return lambda: _redis_contents(url)
    if kind == "mongodb":
        return lambda: _mongodb_contents(url)
    return lambda: _postgresql_contents(url)


def _postgresql_contents(url: str) -> Any:
    with direct(url) as connection:
        found: list[Any] = [connection.execute(SEQUENCES).fetchall()]
        for schema, table in connection.execute(TABLES).fetchall():
            every = sql.SQL("SELECT t::text FROM {} t ORDER BY 1")
            rows = every.format(sql.Identifier(schema, table))
            found.append((schema, table, connection.execute(rows).fetchall()))
        return found


def _redis_contents(url: str) -> Any:
    from redis import Redis

    with Redis.from_url(url) as client:
        return {key: client.dump(key) for key in sorted(client.scan_iter(count=1000))}


def _mongodb_contents(url: str) -> Any:
    from pymongo import MongoClient

    client: MongoClient[dict[str, Any]]
    with MongoClient(url) as client:
        database: Any = client.get_default_database()
        names = sorted(database.list_collection_names())
        return {name: sorted(map(repr, database[name].find())) for name in names}
