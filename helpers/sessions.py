"""Database sessions stepped statement by statement: locks and isolation, shown without luck.

Each session is a psycopg connection in autocommit mode: the lesson itself writes BEGIN and COMMIT.
PostgreSQL is asked on one more connection who blocks whom. Every limit is in seconds.
"""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import psycopg

# https://www.postgresql.org/docs/17/functions-info.html#FUNCTIONS-INFO-SESSION
ACTIVITY = """SELECT state, wait_event_type, wait_event, (SELECT string_agg(DISTINCT
    coalesce(nullif(application_name, ''), backend_type), ', ') FROM pg_stat_activity
    WHERE pid = ANY (pg_blocking_pids(me.pid))) FROM pg_stat_activity AS me WHERE pid = %s"""


@dataclass
class Event:
    """A statement in the log. Times: seconds of time.monotonic(); ended is None while it runs."""

    session: str
    step: int  # 1 for the statement that started first
    statement: str
    started: float
    ended: float | None = None
    outcome: str = "still running"  # "UPDATE 1", one row's values, "✗ DeadlockDetected (40P01)"
    blocked_by: str = ""  # "A"; "A, C" for two


class Session:
    """One session: run() a statement, or start() one that will wait and finish() it later."""

    def __init__(self, name: str, connection: psycopg.Connection[Any], group: SimpleNamespace):
        self.name, self.connection, self.group = name, connection, group
        self.future: Future[Any] | None = None

    def run(self, sql: str, params: Any = None, limit: float = 10) -> Any:
        """Do start() and finish()."""
        self.start(sql, params)
        return self.finish(limit)

    def start(self, sql: str, params: Any = None) -> None:
        """Send a statement from a thread and return at once."""
        if self.future:
            raise RuntimeError(f"session {self.name} is busy: call {self.name}.finish() first")
        log = self.group.log
        self.event = Event(self.name, len(log) + 1, " ".join(sql.split()), time.monotonic())
        log.append(self.event)
        self.future = self.group.pool.submit(self._execute, self.event, sql, params)

    def wait_blocked(self, limit: float = 10) -> str:
        """Return who blocks the statement ("A"); RuntimeError at once when it ends instead."""
        if blockers := next(filter(None, self.watch("to be blocked", limit)), None):
            return blockers
        raise RuntimeError(f"{self.event.statement!r} ended, not blocked: {self.event.outcome}")

    def finish(self, limit: float = 10) -> Any:
        """Return a query's rows or a status ("UPDATE 1"); raise the statement's psycopg error."""
        list(self.watch("to end", limit))
        future, self.future = self.future, None
        return future and future.result()

    def watch(self, goal: str, limit: float) -> Iterator[str | None]:
        """Yield who blocks the statement, until it ends; TimeoutError when the limit is over."""
        if not self.future:
            raise RuntimeError(f"session {self.name} runs nothing: call {self.name}.start() first")
        deadline, pid = time.monotonic() + limit, self.connection.info.backend_pid
        while not wait([self.future], 0.005).done:
            *doing, blockers = self.group.ask(ACTIVITY, [pid]).fetchone() or ["gone", None]
            self.event.blocked_by = self.event.blocked_by or blockers or ""
            yield blockers
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"session {self.name}: waited {limit:g} s for {self.event.statement!r} {goal}. "
                    f"pg_stat_activity has state, wait_event_type, wait_event: {doing}, blocked by "
                    f"{blockers or 'nobody'}. End what it waits for, or give a larger limit."
                )

    def _execute(self, event: Event, sql: str, params: Any) -> Any:
        try:
            cursor = self.connection.execute(sql, params)
            rows = cursor.fetchall() if cursor.description else []
            one = ", ".join(map(str, rows[0])) if len(rows) == 1 else ""
            event.outcome = one or cursor.statusmessage or ""
            return rows if cursor.description else event.outcome
        except psycopg.Error as error:
            event.outcome = f"✗ {type(error).__name__} ({error.sqlstate})"
            raise
        finally:
            event.ended = time.monotonic()


@contextmanager
def open(server: Any, *names: str) -> Iterator[SimpleNamespace]:
    """Open sessions s.A, s.B ... on lab.postgres(...), and s.log; after the block all are gone."""
    with ExitStack() as stack:
        group = SimpleNamespace(log=[], pool=stack.enter_context(ThreadPoolExecutor(len(names))))
        for name in ("observer", *names):
            link = server.connect(application_name=name, autocommit=True)
            stack.enter_context(closing(link))
            setattr(group, name, Session(name, link, group))
        group.ask = group.observer.connection.execute
        try:
            yield group
        finally:
            for session in [getattr(group, name) for name in names]:
                for _ in session.watch("to be cancelled", 10) if session.future else ():
                    group.ask("SELECT pg_cancel_backend(%s)", [session.connection.info.backend_pid])
