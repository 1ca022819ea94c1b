"""Database sessions stepped statement by statement: locks and isolation, shown without luck.

Each session is a psycopg connection in autocommit mode: the lesson itself writes BEGIN and COMMIT.
One more connection asks PostgreSQL who blocks whom. Every limit is in seconds.
"""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import psycopg

# https://www.postgresql.org/docs/17/functions-info.html#FUNCTIONS-INFO-SESSION
WATCH = """SELECT concat_ws(', ', 'state ' || state, 'wait_event_type ' || wait_event_type,
    'wait_event ' || wait_event), (SELECT string_agg(coalesce(nullif(application_name, ''),
    backend_type), ', ' ORDER BY application_name) FROM pg_stat_activity
    WHERE pid = ANY (pg_blocking_pids(me.pid))) FROM pg_stat_activity AS me WHERE pid = %s"""


@dataclass
class Event:
    """One statement in the log. Times are time.monotonic() seconds."""

    session: str
    step: int  # 1 for the statement that started first
    statement: str
    started: float
    ended: float | None = None  # None while it runs
    outcome: str = "running"  # then "UPDATE 1", "SELECT 2", "DeadlockDetected (40P01)"
    blocked_by: str = ""  # "A"; "A, C" for two
    rows: Any = None  # a query's
    failed: bool = False


class Session:
    """One session: run() a statement that ends by itself, start() one that has to wait."""

    def __init__(self, name: str, connection: psycopg.Connection[Any], group: SimpleNamespace):
        self.name, self.connection, self._group = name, connection, group
        self._future: Future[Any] | None = None

    def run(self, sql: str, params: Any = None, limit: float = 10) -> Any:
        """start() and finish() in one call."""
        self.start(sql, params)
        return self.finish(limit)

    def start(self, sql: str, params: Any = None) -> None:
        """Send a statement from a thread and return at once."""
        if self._future:
            raise RuntimeError(f"session {self.name} is busy: call {self.name}.finish() first")
        log, statement = self._group.log, " ".join(sql.split())
        self.event = Event(self.name, len(log) + 1, statement, time.monotonic())
        log.append(self.event)
        self._future = self._group.pool.submit(self._execute, self.event, sql, params)

    def wait_blocked(self, limit: float = 10) -> str:
        """Return who blocks the statement, such as "A". RuntimeError if it ends instead."""
        for blockers in self._watch("to be blocked", limit):
            if blockers:
                return blockers
        event = self.event
        raise RuntimeError(f"{event.statement!r} was not blocked: it ended with {event.outcome}")

    def finish(self, limit: float = 10) -> Any:
        """Return the rows, or a status such as "UPDATE 1"; raise the statement's psycopg error."""
        for _ in self._watch("to end", limit):
            pass
        future, self._future = self._future, None
        return future and future.result()

    def _watch(self, goal: str, limit: float) -> Iterator[str | None]:
        """Yield who blocks the statement until it ends. TimeoutError when the limit is over."""
        if not self._future:
            raise RuntimeError(f"session {self.name} runs nothing: call {self.name}.start() first")
        deadline = time.monotonic() + limit
        while not wait([self._future], 0.005).done:
            asked = self._group.observer.execute(WATCH, [self.connection.info.backend_pid])
            activity, blockers = asked.fetchone() or ("backend gone", None)
            self.event.blocked_by = blockers or self.event.blocked_by
            yield blockers
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"session {self.name}: waited {limit:g} s for {self.event.statement!r} {goal}."
                    f" PostgreSQL says: {activity}, blocked by {blockers or 'nobody'}."
                    " End the transaction that blocks it, or give a larger limit."
                )

    def _cancel(self) -> None:
        if self._future:
            for _ in self._watch("to be cancelled", 10):
                self._group.observer.execute(
                    "SELECT pg_cancel_backend(%s)", [self.connection.info.backend_pid]
                )

    def _execute(self, event: Event, sql: str, params: Any) -> Any:
        try:
            cursor = self.connection.execute(sql, params)
            event.outcome = cursor.statusmessage or ""
            event.rows = cursor.fetchall() if cursor.description else None
            return event.outcome if event.rows is None else event.rows
        except psycopg.Error as error:
            event.failed, event.outcome = (
                True,
                f"{type(error).__name__} ({error.sqlstate})",
            )
            raise
        finally:
            event.ended = time.monotonic()


@contextmanager
def open(server: Any, *names: str) -> Iterator[SimpleNamespace]:
    """Open sessions s.A, s.B ... with their log s.log; nothing of them is left after the block.

    server: lab.postgres(...).
    """
    with ExitStack() as stack:
        group = SimpleNamespace(log=[], pool=stack.enter_context(ThreadPoolExecutor(len(names))))
        connections = {
            name: stack.enter_context(
                closing(
                    server.connect(autocommit=True, prepare_threshold=None, application_name=name)
                )
            )
            for name in (*names, "observer")
        }
        group.observer = connections.pop("observer")
        for name in names:
            setattr(group, name, Session(name, connections[name], group))
        try:
            yield group
        finally:
            for name in names:
                getattr(group, name)._cancel()
