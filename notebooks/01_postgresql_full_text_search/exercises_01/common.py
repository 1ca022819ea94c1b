"""What several exercises of lesson 01 use."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import psycopg

from helpers.exercises import Incorrect, NotAttempted, Place
from helpers.exercises.looking import look, uncommitted
from helpers.exercises.running import guarded

MATCHES = """
    SELECT id FROM products WHERE search_vector @@ websearch_to_tsquery('english', %s) ORDER BY id
"""


@contextmanager
def reading(pg: Place) -> Iterator[psycopg.Connection[Any]]:
    """Open a connection for the learner's query: it can read, and it cannot change anything."""
    with look(pg) as connection:
        # Another configuration than the lesson's: a query that does not name one shows.
        connection.execute(
            "SET default_transaction_read_only = on; SET default_text_search_config = 'simple'"
        )
        try:
            yield connection
        except Incorrect as error:
            if isinstance(error.__cause__, psycopg.errors.ReadOnlySqlTransaction):
                raise Incorrect(
                    "Your statement changes the database. Write one SELECT. (A second index would "
                    "be used too, but every write would pay for it.)"
                ) from None
            raise


def catalogue(connection: psycopg.Connection[Any], text: str) -> list[int]:
    """Return the ids that match; NotAttempted when the lesson's table is not there yet."""
    try:
        found = [id for (id,) in connection.execute(MATCHES, [text])]
    except psycopg.errors.UndefinedTable:
        found = []
    if not found:
        raise NotAttempted("The catalogue is not in the table products. Run the cells above first.")
    return found


def first(connection: Any, query: str, *parameters: object) -> Any:
    """Return the first value of a query's first row; None without a row."""
    row = connection.execute(query, parameters).fetchone()
    return row[0] if row else None


COLUMN = """
    SELECT format_type(atttypid, atttypmod), attgenerated::text FROM pg_attribute
    WHERE attrelid = to_regclass(%s) AND attname = %s AND NOT attisdropped
"""


def generated(connection: Any, table: str, pg: Place) -> None:
    """Raise unless the table has a column search_vector that is a generated tsvector."""
    column = connection.execute(COLUMN, [table, "search_vector"]).fetchone()
    if column is None and uncommitted(pg):
        raise Incorrect("A transaction is still open: what it has changed is not committed.")
    if column is None:
        raise NotAttempted(f"{table} has no column search_vector yet.")
    if column[0] != "tsvector":
        raise Incorrect(f"search_vector has the type {column[0]}; it should be tsvector.")
    if column[1] != "s":
        raise Incorrect(
            "search_vector is an ordinary column. It should be a generated one, which PostgreSQL "
            "itself fills: GENERATED ALWAYS AS (...) STORED."
        )


def function(name: str, value: Any) -> Callable[..., Any]:
    """Return the learner's function, whose exceptions are told in words; Incorrect for others."""
    if not callable(value):
        raise Incorrect(f"`{name}` is {type(value).__name__}; it should be a function.")
    return value if inspect.isfunction(value) else guarded(name, value)


def with_settings(pg: Place, **settings: str) -> Any:
    """Return the same database, in whose new sessions these settings hold.

    Its `asked` says whether anybody has taken its address.
    """
    wanted = " ".join(f"-c{name}={value}" for name, value in settings.items())

    class Set(type(pg)):  # type: ignore[misc]
        @property
        def dsn(self) -> str:
            self.asked = True
            parts = urlsplit(super().dsn)
            query = dict(parse_qsl(parts.query))
            query["options"] = f"{query.get('options', '')} {wanted}".strip()
            # %20: libpq does not read a plus sign as a space.
            return parts._replace(query=urlencode(query, quote_via=quote)).geturl()

    other: Any = copy.copy(pg)
    other.__class__ = Set
    other.asked = False
    return other


@contextmanager
def asking(question: Callable[..., Any], pg: Place) -> Iterator[None]:
    """Let the learner's function ask this database, whatever `pg` means in the notebook by now."""
    names: dict[str, Any] = getattr(inspect.unwrap(question), "__globals__", {})
    before = names.get("pg")
    if "pg" in names:
        names["pg"] = pg
    try:
        yield
    finally:
        if "pg" in names:
            names["pg"] = before


def same_database(pg: Place, connection: object) -> None:
    """Raise when the notebook's connection is closed, or one to another database."""
    if not isinstance(connection, psycopg.Connection):
        return
    again = "Run the notebook's cell that makes `db`, and this cell again."
    if connection.closed:
        raise NotAttempted(f"The connection `db` is closed. {again}")
    with look(pg) as own:
        if connection.info.dbname != own.info.dbname or connection.info.port != own.info.port:
            raise NotAttempted(f"`db` is a connection to another database by now. {again}")
