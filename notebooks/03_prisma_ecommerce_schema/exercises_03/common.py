"""What several exercises of lesson 03 use."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from helpers import lab
from helpers.exercises import Incorrect, NotAttempted, Place
from helpers.exercises.looking import begin_with, look, uncommitted
from helpers.exercises.running import guarded, in_words

#: What PostgreSQL says when a table that an exercise has made is gone or has other columns.
CHANGED = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.WrongObjectType,
    psycopg.errors.DatatypeMismatch,
)
UNCOMMITTED = "A transaction with changes is still open. Commit it, or connect with autocommit."


@contextmanager
def engine_of(pg: Place, before: Callable[[str], None], *settings: str) -> Iterator[Any]:
    """Give an engine of the check's own, which tells of each statement before it is sent."""
    from sqlalchemy import create_engine, event

    url: Any = pg.url
    engine = create_engine(url, pool_size=10, max_overflow=0, pool_timeout=60)
    begin_with(engine, "SET lock_timeout = '30s'", "SET statement_timeout = '40s'", *settings)
    event.listen(engine, "before_cursor_execute", lambda *args: before(args[2]))
    try:
        yield engine
    finally:
        engine.dispose()


def empty_shop(number: str) -> Place:
    """Give a database of the check's own with the shop's seven tables: the learner's stays."""
    place = lab.postgres(number, "check")
    with place.connect(autocommit=True) as db:
        file = Path(__file__).parents[1] / "prisma.sql"
        db.execute(file.read_text(encoding="utf-8").encode())
    return place


def function(name: str, value: Any) -> Callable[..., Any]:
    """Return the learner's function: what it raises is the learner's.

    Raises:
        Incorrect: it is none.
    """
    if not callable(value):
        raise Incorrect(f"`{name}` should be a function; it is of the type {type(value).__name__}.")
    made: Callable[..., Any] = value if inspect.isfunction(value) else guarded(name, value)
    return made


def are_of(table: str, values: list[Any]) -> bool:
    """Whether all values are objects of the class that SQLAlchemy maps to a table."""
    from sqlalchemy import inspect as state

    found = [state(value, raiseerr=False) for value in values]
    tables = [getattr(getattr(s, "mapper", None), "local_table", None) for s in found]
    return all(t is not None and t.name == table for t in tables) and not any(
        isinstance(value, type) for value in values
    )


@contextmanager
def tables_of_the_exercise(pg: Place, number: int) -> Iterator[psycopg.Connection[Any]]:
    """Give a connection that looks at the tables which `start` has made.

    Raises:
        Incorrect: something is not committed, or a table or column is not there any more.
    """
    with look(pg) as db:
        try:
            yield db
        except NotAttempted:
            if uncommitted(pg):
                raise Incorrect(UNCOMMITTED) from None
            raise
        except Incorrect as reason:
            if uncommitted(pg) and not str(reason).startswith("A transaction"):
                raise Incorrect(f"{UNCOMMITTED} As it stands: {reason}") from None
            raise
        except CHANGED as error:
            raise Incorrect(
                f"The exercise's tables are not those that were made: {in_words(error)} "
                f"ex{number}.start() brings them back."
            ) from None
