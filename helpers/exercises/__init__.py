'''What an exercise is made of. Lesson NN's exercises are in lesson_NN.py beside this file.

How to write an exercise
------------------------
1. In lesson_NN.py write `setup()`: it does what the notebook's cells before the exercise have
   done (servers, data) and returns the names that those cells define. A deeper section has a
   set-up cell and a function of its own: `[ex4] = check.exercises("01", pg, numbers=[4])`.
2. Write the notebook's exercise cell as `starter`, character by character. It runs without an
   error as it stands, and `...` marks the place of the answer (in a function: `return ...`).
3. Write `check_...(...)`. Its parameters are names: `pg`, `rd` and `mg` are the lesson's servers,
   every other name is a value or a function from the learner's cell. It returns when the answer is
   right and raises `Incorrect("why, in words")` or `NotAttempted("what is not there yet")`.
   It looks at values or at the database, never at the answer's text. A value that is still `...`
   is found before the check starts. Run twice, it gives the same answer. It may be `async def`;
   then the cell says `await ex1.check()`.
4. An exception in a function of the learner is the learner's, and is told in words. Put
   `with running("Your query"):` around the learner's SQL, class or generator for the same effect.
   Any other exception in a check means that the check has a problem, not the answer.
5. Does the answer change the database? Then give `prepare(...)`, which brings back the state that
   the exercise starts from, and begin the cell with `ex1.start()`. Both touch only tables that
   belong to this exercise, because no other cell may depend on it or be damaged by it. Call
   `end_uncommitted(pg)` first, so that a forgotten commit cannot block the next try.
6. `solution` and each of `wrong` are whole cells. `wrong` pairs a cell with words that only its
   own reason contains. Take the mistakes that people make, two or three of them.
7. Add it to `EXERCISES`, put the starter into the notebook, and run tests/test_exercises.py.

    STARTER = """
    rows = ...  # how many rows has products?

    ex2.check()
    """
    SOLUTION = STARTER.replace(
        "...", 'pg.connect().execute("SELECT count(*) FROM products").fetchone()[0]'
    )

    def check_rows(pg: Database, rows: object) -> None:
        with look(pg) as connection:
            (true,) = connection.execute("SELECT count(*) FROM products").fetchone()
        if rows != true:
            raise Incorrect(f"`rows` is {rows!r}, but products has {true} rows.")

    Exercise(
        number=2, title="Count", prompt="How many rows has products?", setup=setup,
        starter=STARTER, check=check_rows, solution=SOLUTION,
        hints=["An aggregate function counts rows."],
        wrong=[(STARTER.replace("...", "3"), "`rows` is 3"),
               (SOLUTION.replace("fetchone()[0]", "fetchone()"), "`rows` is (")],
        praise="count(*) reads every row; an estimate is in pg_class.reltuples.",
    )
'''

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import psycopg

from helpers.base.errors import LabError
from helpers.engines.server import Server
from helpers.kinds.kind import NotReady
from helpers.kinds.postgresql import USERS_OF_THE_SCHEMA

if TYPE_CHECKING:
    from sqlalchemy import Engine


class Database(Protocol):
    """What `lab.postgres`, `lab.redis` and `lab.mongodb` return, as far as checks need it."""

    kind: str
    server: Server

    def connect(self, **options: Any) -> Any:
        """Return a client of the server: psycopg.Connection, redis.Redis or MongoClient."""


class Incorrect(Exception):
    """The answer is wrong; the message is the reason, in words for the learner."""


class NotAttempted(Exception):
    """There is no answer yet; the message says what is missing."""


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """One exercise; the module's docstring explains each field."""

    number: int
    title: str
    prompt: str
    setup: Callable[[], dict[str, Any]]
    starter: str
    solution: str
    hints: Sequence[str]
    wrong: Sequence[tuple[str, str]]
    check: Callable[..., Any]
    prepare: Callable[..., None] | None = None
    praise: str = ""


def in_words(error: BaseException) -> str:
    """Return an exception as a sentence: its type and the first line of its message."""
    if isinstance(error, LabError):
        return str(error)
    first = (str(error).strip().splitlines() or [""])[0].rstrip(".")
    return f"{type(error).__name__}: {first}." if first else f"{type(error).__name__}."


@contextmanager
def running(what: str) -> Iterator[None]:
    """Run code or SQL of the learner inside a check.

    Args:
        what: its name, at the beginning of a sentence: "Your query".

    Raises:
        Incorrect: the block raised; says in words what.
    """
    try:
        yield
    except (Incorrect, NotAttempted, LabError):
        raise
    except Exception as error:
        raise Incorrect(f"{what} raised {in_words(error)}") from error


def guarded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a learner's function: what it raises is Incorrect, a returned `...` NotAttempted."""

    def call_in_words(arguments: tuple[Any, ...]) -> str:
        plain = (str, int, float, bool, type(None))
        shown = (repr(a) if isinstance(a, plain) else type(a).__name__ for a in arguments)
        return f"{name}({', '.join(shown)})"

    def answered(value: Any) -> Any:
        if value is ...:
            raise NotAttempted(f"Write your answer in place of the `...` in `{name}`.")
        return value

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with running(call_in_words(args)):
            return answered(function(*args, **kwargs))

    @functools.wraps(function)
    async def call_async(*args: Any, **kwargs: Any) -> Any:
        with running(call_in_words(args)):
            return answered(await function(*args, **kwargs))

    return call_async if inspect.iscoroutinefunction(function) else call


def trouble(servers: Iterable[Database], error: Exception) -> str:
    """Return in words what is broken when a check, or the learner's code in it, raised `error`.

    That is a server that does not answer, a connection that was lost, or else the error itself;
    but "" for an Incorrect, when the servers are well.
    """
    for database in servers:
        try:
            database.server.ask(3)
        except NotReady as silence:
            return f"{database.server.title} does not answer. {in_words(silence)}"
    cause = error.__cause__ if isinstance(error, Incorrect) else error
    cause = getattr(cause, "orig", cause)  # SQLAlchemy keeps psycopg's error there
    if isinstance(cause, psycopg.OperationalError):
        # Without a code the client lost the server; 57P0x is the server saying that it stops.
        # A connection that the learner closed is the learner's.
        stopped = (cause.sqlstate or "57P0").startswith("57P0")
        if stopped and "connection is closed" not in str(cause):
            return f"A connection to the server was lost. {in_words(cause)}"
    return "" if isinstance(error, Incorrect) else in_words(error)


def changed(cell: str, *parts: str) -> str:
    """Return a cell with parts replaced: old, new, old, new.

    Raises ValueError for a part that is not there: a wrong answer would be the right one.
    """
    for old, new in zip(parts[::2], parts[1::2], strict=True):
        if old not in cell:
            raise ValueError(f"{old!r} is not in the cell")
        cell = cell.replace(old, new)
    return cell


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
def look(pg: Database) -> Iterator[psycopg.Connection[Any]]:
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


def uncommitted(pg: Database) -> bool:
    """Whether another session of this database has made changes and not committed them."""
    with look(pg) as connection:
        return connection.execute("SELECT 1" + _UNCOMMITTED).fetchone() is not None


def end_uncommitted(pg: Database) -> None:
    """End the sessions that hold changes they never committed; waits until each is gone (5 s)."""
    with look(pg) as connection:
        connection.execute("SELECT pg_terminate_backend(pid, 5000)" + _UNCOMMITTED)
