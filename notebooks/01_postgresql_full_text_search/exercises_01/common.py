"""What several exercises of lesson 01 use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from helpers.exercises import Incorrect, NotAttempted, Place
from helpers.exercises.looking import look

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


def generated(connection: Any, table: str) -> None:
    """Raise unless the table has a column search_vector that is a generated tsvector."""
    column = connection.execute(COLUMN, [table, "search_vector"]).fetchone()
    if column is None:
        raise NotAttempted(f"{table} has no column search_vector yet.")
    if column[0] != "tsvector":
        raise Incorrect(f"search_vector has the type {column[0]}; it should be tsvector.")
    if column[1] != "s":
        raise Incorrect(
            "search_vector is an ordinary column. A product that is added or renamed tomorrow "
            "is not found. Use GENERATED ALWAYS AS (...) STORED."
        )
