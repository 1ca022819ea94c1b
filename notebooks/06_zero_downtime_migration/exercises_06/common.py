"""What several exercises of lesson 06 use."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg

from helpers.exercises import Incorrect, Place


class Attempt:
    """A learner's function at work in a thread; at the end of the block it is stopped.

    The function gets a connection of its own, and then `arguments`.

    raised: what the function raised.
    runs: each statement that ended, with when it began and ended, in seconds of time.monotonic().
    ended: whether the function had ended by itself at the end of the block.
    """

    def __init__(self, pg: Place, function: Callable[..., object], *arguments: object) -> None:
        self.raised: list[Exception] = []
        self.runs: list[tuple[str, float, float]] = []
        self.stopped = threading.Event()
        self.ended = False
        attempt = self

        class Noting(psycopg.Cursor[Any]):
            def execute(self, query: Any, *args: Any, **options: Any) -> Any:
                if attempt.stopped.wait(0):
                    time.sleep(0.1)
                    raise SystemExit  # no `except Exception` goes on after this
                began = time.monotonic()
                try:
                    return super().execute(query, *args, **options)
                finally:
                    attempt.runs.append((str(query), began, time.monotonic()))

        self.connection = pg.connect(autocommit=True, cursor_factory=Noting)
        self.pid: int = self.connection.info.backend_pid

        def run() -> None:
            try:
                function(self.connection, *arguments)
            except SystemExit:
                return  # stopped
            except Exception as error:
                self.raised.append(error)

        self.thread = threading.Thread(target=run, daemon=True)

    def __enter__(self) -> Attempt:
        self.thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.ended = not self.thread.is_alive()
        self.stopped.set()
        if not self.ended:
            with contextlib.suppress(psycopg.Error):
                self.connection.cancel_safe(timeout=5)
            self.thread.join(5)
        self.connection.close()

    def runs_of(self, sql: str) -> list[tuple[float, float]]:
        """Return when each run of this statement began and ended."""
        return [(began, ended) for query, began, ended in self.runs if sql in query]


def note_updates(connection: Any, table: str) -> None:
    """Let a trigger note how many rows each transaction updates.

    A row's xmin would not do: below a savepoint it is the number of the subtransaction.
    https://www.postgresql.org/docs/17/functions-info.html#FUNCTIONS-INFO-SNAPSHOT
    """
    connection.execute(f"DROP TABLE IF EXISTS {table}_noted")
    connection.execute(f"CREATE TABLE {table}_noted (transaction xid8, rows bigint)")
    connection.execute(f"""
        CREATE OR REPLACE FUNCTION {table}_note() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO {table}_noted SELECT pg_current_xact_id(), count(*) FROM written;
            RETURN NULL;
        END $$
    """)
    connection.execute(f"""
        CREATE TRIGGER {table}_note AFTER UPDATE ON {table} REFERENCING NEW TABLE AS written
        FOR EACH STATEMENT EXECUTE FUNCTION {table}_note()
    """)


def filled_in_small_commits(connection: Any, table: str) -> bool:
    """Return whether anything was updated; raise Incorrect for over 1,000 rows in a transaction."""
    largest = connection.execute(
        f"SELECT sum(rows)::int, count(DISTINCT xmin::text) FROM {table}_noted "
        "GROUP BY transaction ORDER BY 1 DESC LIMIT 1"
    ).fetchone()
    rows, parts = largest or (0, 0)
    if rows <= 1000:
        return bool(rows)
    if parts > 1:
        raise Incorrect(
            f"One transaction wrote {rows:,} rows, and 1,000 is the limit. Its {parts} parts are "
            "savepoints: `with connection.transaction()` commits only when no transaction is open."
        )
    raise Incorrect(
        f"One commit held {rows:,} rows, and 1,000 is the limit. All that time those rows were "
        "locked."
    )
