"""What several exercises of lesson 06 use."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg

from helpers.exercises import Incorrect, NotAttempted, Place
from helpers.exercises.looking import uncommitted

LIMIT = "SELECT setting::int FROM pg_settings WHERE name = 'lock_timeout'"


class Stopped(BaseException):
    """The attempt is over; no `except Exception` goes on after this."""


@contextlib.contextmanager
def committed(pg: Place) -> Iterator[None]:
    """Tell whoever has not committed that this is why the check does not see the work."""
    try:
        yield
    except (Incorrect, NotAttempted):
        if uncommitted(pg):
            raise Incorrect(
                "Your changes are not committed, so nobody else sees them. Commit on the "
                "connection that made them, or open it with autocommit=True."
            ) from None
        raise


@contextlib.contextmanager
def sessions_left_alone(pg: Place) -> Iterator[None]:
    """Tell whoever ends the check's own sessions; a server that stops is another matter."""
    try:
        yield
    except psycopg.errors.AdminShutdown:
        with contextlib.suppress(psycopg.OperationalError), pg.connect(connect_timeout=5):
            raise Incorrect("Your answer ended the session of somebody who was at work.") from None
        raise


def let_go(holder: psycopg.Connection[Any]) -> None:
    """End a transaction that holds locks.

    Raises:
        Incorrect: somebody has ended its session.
    """
    with contextlib.suppress(psycopg.OperationalError):
        holder.rollback()
    if holder.closed:
        raise Incorrect(
            "Your function ended the session of the one who holds the lock, and what that one was "
            "doing is lost."
        )


class Attempt:
    """A learner's function at work in a thread; at the end of the block it is stopped.

    The function gets a connection of its own, and then `arguments`.

    raised: what the function raised.
    begun: each statement that it began.
    runs: each statement that ended, with when it began and ended, in seconds of time.monotonic().
    limits: the session's lock_timeout in ms, when a statement began that was one of `arguments`.
    ended: whether the function had ended by itself at the end of the block.
    """

    def __init__(
        self,
        pg: Place,
        function: Callable[..., object],
        *arguments: object,
        autocommit: bool = True,
    ) -> None:
        self.raised: list[BaseException] = []
        self.begun: list[str] = []
        self.runs: list[tuple[str, float, float]] = []
        self.limits: list[int] = []
        self.stopped = threading.Event()
        self.ended = False
        attempt = self

        class Noting(psycopg.Cursor[Any]):
            def execute(self, query: Any, *args: Any, **options: Any) -> Any:
                if attempt.stopped.wait(0):
                    time.sleep(0.1)
                    raise Stopped
                if query in arguments:
                    attempt.note_limit()
                attempt.begun.append(str(query))
                began = time.monotonic()
                try:
                    return super().execute(query, *args, **options)
                finally:
                    attempt.runs.append((str(query), began, time.monotonic()))

        self.connection = pg.connect(autocommit=True, cursor_factory=Noting)
        self.connection.autocommit = autocommit
        self.pid: int = self.connection.info.backend_pid

        def run() -> None:
            try:
                function(self.connection, *arguments)
            except BaseException as error:
                if not self.stopped.is_set():
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

    def note_limit(self) -> None:
        """Note the session's lock_timeout; in a failed transaction nobody can ask for it."""
        with contextlib.suppress(psycopg.Error):
            self.limits += psycopg.Cursor(self.connection).execute(LIMIT).fetchone() or ()

    def runs_of(self, sql: str) -> list[tuple[float, float]]:
        """Return when each run of this statement began and ended."""
        return [(began, ended) for query, began, ended in self.runs if sql in query]


NOTE = """
    CREATE OR REPLACE FUNCTION {table}_note() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        own bigint := pg_current_xact_id()::xid::text;
        number bigint := nextval('{table}_notes');
        held bigint := 0;
    BEGIN
        -- Of a thousand commits of a row each, not every one is worth a look at the whole table.
        IF number <= 200 OR number % 100 = 0 THEN
            SELECT count(*) INTO held FROM {table}
            WHERE xmin::text::bigint >= own OR xmax::text::bigint >= own;
            IF EXISTS (SELECT FROM pg_locks WHERE pid = pg_backend_pid() AND granted
                       AND relation = TG_RELID AND mode ~ '^(Share|Exclusive|AccessEx)'
                       AND mode <> 'ShareUpdateExclusiveLock')
            THEN SELECT count(*) INTO held FROM {table}; END IF;
        END IF;
        INSERT INTO {table}_noted SELECT pg_current_xact_id(), count(*), held FROM written;
        RETURN NULL;
    END $$
"""


def note_updates(connection: Any, table: str) -> None:
    """Let a trigger note how many rows each transaction updates, and how many it holds locked.

    A row's xmin alone would not do: below a savepoint it is the number of the subtransaction,
    which is larger than its transaction's. A row that is only locked has the number in xmax.
    https://www.postgresql.org/docs/17/functions-info.html#FUNCTIONS-INFO-SNAPSHOT
    """
    connection.execute(f"DROP TABLE IF EXISTS {table}_noted")
    connection.execute(f"DROP SEQUENCE IF EXISTS {table}_notes")
    connection.execute(f"CREATE TABLE {table}_noted (transaction xid8, rows bigint, held bigint)")
    connection.execute(f"CREATE SEQUENCE {table}_notes")
    connection.execute(NOTE.format(table=table).encode())
    connection.execute(f"""
        CREATE TRIGGER {table}_note AFTER UPDATE ON {table} REFERENCING NEW TABLE AS written
        FOR EACH STATEMENT EXECUTE FUNCTION {table}_note()
    """)


def filled_in_small_commits(connection: Any, table: str) -> bool:
    """Return whether anything was updated; raise Incorrect for over 1,000 rows in a transaction."""
    largest = connection.execute(
        f"SELECT sum(rows)::int, count(DISTINCT xmin::text), max(held) FROM {table}_noted "
        "GROUP BY transaction ORDER BY greatest(sum(rows), max(held)) DESC LIMIT 1"
    ).fetchone()
    rows, parts, held = largest or (0, 0, 0)
    if max(rows, held) <= 1000:
        return bool(rows)
    if rows <= 1000:
        raise Incorrect(
            f"One transaction wrote {rows:,} rows and held {held:,} locked, and 1,000 is the "
            "limit. A row that is picked FOR UPDATE is held as well."
        )
    if parts > 1:
        raise Incorrect(
            f"One transaction wrote {rows:,} rows, and 1,000 is the limit. Its {parts} parts are "
            "savepoints: `with connection.transaction()` commits only when no transaction is open."
        )
    raise Incorrect(
        f"One commit held {rows:,} rows, and 1,000 is the limit. All that time those rows were "
        "locked."
    )
