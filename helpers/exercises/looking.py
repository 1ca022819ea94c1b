"""How a check looks at PostgreSQL: it never waits for ever, and it finds forgotten commits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import psycopg

from helpers.exercises import Incorrect, Place
from helpers.kinds.postgresql import USERS_OF_THE_SCHEMA

if TYPE_CHECKING:
    from sqlalchemy import Engine


def begin_with(engine: Engine, *settings: str) -> Engine:
    """Have each connection of a SQLAlchemy engine begin with SET statements; return the engine.

    Not by the connection's `options`: a URL may have some already.
    """
    from sqlalchemy import event

    @event.listens_for(engine, "connect")
    def begin(connection: Any, _: object) -> None:
        with closing(connection.cursor()) as cursor:
            for setting in settings:
                cursor.execute(setting)
        connection.commit()

    return engine


@contextmanager
def look(pg: Place) -> Iterator[psycopg.Connection[Any]]:
    """Open a PostgreSQL connection for a check: autocommit, and it never waits for ever.

    A statement runs for at most 20 s and waits for a lock for at most 2 s.

    Raises:
        Incorrect: another session holds a lock, as after a forgotten commit.
    """
    with pg.connect(connect_timeout=5, autocommit=True) as connection:
        connection.execute("SET lock_timeout = '2s'; SET statement_timeout = '20s'")
        try:
            yield connection
        except psycopg.errors.LockNotAvailable:
            raise Incorrect(
                "A transaction is still open and holds a lock on a table that the check reads. "
                "Commit it or roll it back, on the connection that began it."
            ) from None


# A transaction that has written has a transaction id (backend_xid). PostgreSQL reports the state
# before the client gets its answer, so this needs no waiting.
# https://www.postgresql.org/docs/17/monitoring-stats.html#MONITORING-PG-STAT-ACTIVITY-VIEW
# Where the lesson has only a schema, other people's sessions are in the same database.
_UNCOMMITTED = f"""
    FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
      AND state = 'idle in transaction' AND backend_xid IS NOT NULL
      AND (current_schema() = 'public' OR pid IN ({USERS_OF_THE_SCHEMA}))
"""


def uncommitted(pg: Place) -> bool:
    """Whether another session of this database has made changes and not committed them."""
    with look(pg) as connection:
        return connection.execute("SELECT 1" + _UNCOMMITTED).fetchone() is not None


def end_uncommitted(pg: Place) -> None:
    """End the sessions that hold changes they never committed; waits until each is gone (5 s)."""
    with look(pg) as connection:
        connection.execute("SELECT pg_terminate_backend(pid, 5000)" + _UNCOMMITTED)
