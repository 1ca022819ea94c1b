"""Exercise 06d-1: find the broken ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import psycopg

from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.looking import look
from helpers.exercises.running import running

STARTER = '''
query = ...  # """SELECT ..."""

ex1.check()
'''
RIGHT = (
    "SELECT indrelid::regclass::text, indexrelid::regclass::text\n"
    "           FROM pg_index WHERE NOT indisvalid"
)


def answer(sql: str) -> str:
    """Return the cell with this query in it."""
    return STARTER.replace('...  # """SELECT ..."""', f'"""{sql}"""')


def check(pg: Place, query: str) -> None:
    """Leave invalid indexes of several kinds behind, and run the query."""
    with look(pg) as connection, _other_schema(connection) as elsewhere:
        connection.execute("DROP TABLE IF EXISTS ex1_users, ex1_orders")
        connection.execute("CREATE TABLE ex1_users (id int PRIMARY KEY, email text)")
        connection.execute("CREATE TABLE ex1_orders (id int PRIMARY KEY, code text, note text)")
        connection.execute("INSERT INTO ex1_users VALUES (1, 'a'), (2, 'A')")
        connection.execute("INSERT INTO ex1_orders VALUES (1, 'x', 'y'), (2, 'x', 'z')")
        connection.execute("CREATE INDEX ex1_note ON ex1_orders (note)")
        for name, on in (
            ("ex1_email", "ex1_users (lower(email))"),
            ("ex1_code", "ex1_orders (code)"),
            elsewhere,
        ):
            with contextlib.suppress(psycopg.errors.UniqueViolation):
                connection.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON {on}".encode())
        with contextlib.suppress(psycopg.errors.DivisionByZero):  # one that is not unique
            connection.execute("CREATE INDEX CONCURRENTLY ex1_half ON ex1_orders ((9 / (id - 1)))")
        with pg.connect() as report:  # and one that is complete, but had to wait for a report
            report.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            report.execute("SELECT 1")
            connection.execute("SET lock_timeout = '300ms'")
            with contextlib.suppress(psycopg.errors.LockNotAvailable):
                connection.execute("CREATE INDEX CONCURRENTLY ex1_late ON ex1_users (email)")
            connection.execute("SET lock_timeout = 0")
        true = set(connection.execute(RIGHT.encode()).fetchall())
        try:
            with running("Your query"):
                rows = connection.execute(query.encode()).fetchall()
        finally:
            connection.execute("DROP TABLE ex1_users, ex1_orders")
    if any(len(row) != 2 or not all(isinstance(text, str) for text in row) for row in rows):
        raise Incorrect("Each row has two texts: table and index, each as ::regclass::text.")
    found = set(rows)
    if {row[::-1] for row in found} == true:
        raise Incorrect("The table comes first, then the index.")
    if missing := true - found:
        table, index = sorted(missing)[0]
        if (bare := index.rpartition(".")[2]) != index and bare in {row[1] for row in found}:
            raise Incorrect(
                f"Your query shows {bare} without its schema, so nobody finds it. Written as "
                f"::regclass::text it is {index}."
            )
        raise Incorrect(f"Your query misses {index} on {table}.")
    if extra := found - true:
        raise Incorrect(f"{sorted(extra)[0][1]} is a good index.")
    if len(rows) > len(found):
        raise Incorrect("Some index has several rows. One row for each is enough.")


@contextlib.contextmanager
def _other_schema(connection: psycopg.Connection[Any]) -> Iterator[tuple[str, str]]:
    """Make a table in a schema of its own; give the index that is to fail there.

    Its name begins with the lesson's own schema: others may be at work in this database.
    """
    (own,) = connection.execute("SELECT current_schema()").fetchone() or ("public",)
    schema = psycopg.sql.Identifier(f"{own}_archive")
    table = psycopg.sql.Identifier(f"{own}_archive", "ex1_old").as_string(connection)
    drop = psycopg.sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(schema)
    connection.execute(drop)
    connection.execute(psycopg.sql.SQL("CREATE SCHEMA {}").format(schema))
    try:
        connection.execute(f"CREATE TABLE {table} AS SELECT 1 AS id UNION ALL SELECT 1".encode())
        yield "ex1_old_id", f"{table} (id)"
    finally:
        connection.execute(drop)


EXERCISE = Exercise(
    title="Find the broken ones",
    minutes=4,
    prompt="Write a query that lists the invalid indexes with their tables.",
    starter=STARTER,
    solution=answer(RIGHT),
    check=check,
    hints=[
        "pg_index has a row for each index. indrelid is the table, indexrelid the index.",
        "WHERE NOT indisvalid.",
    ],
    wrong=[
        (answer(RIGHT.replace(" WHERE NOT indisvalid", "")), "is a good index"),
        (
            answer(
                "SELECT indexrelid::regclass::text, indrelid::regclass::text "
                "FROM pg_index WHERE NOT indisvalid"
            ),
            "The table comes first",
        ),
        (
            answer(
                "SELECT tablename::text, indexname::text FROM pg_indexes "
                "WHERE indexname LIKE '%email%'"
            ),
            "Your query misses ex1_code on ex1_orders",
        ),
        (answer(RIGHT + " AND indisunique"), "misses ex1_half on ex1_orders"),
        (
            answer(
                RIGHT + " AND EXISTS (SELECT FROM pg_class WHERE oid = indrelid "
                "AND relnamespace = current_schema()::regnamespace)"
            ),
            "_archive.ex1_old.",
        ),
        (
            answer(
                RIGHT.replace(
                    "WHERE",
                    "JOIN pg_attribute ON attrelid = indexrelid OR attrelid = indrelid WHERE",
                )
            ),
            "has several rows",
        ),
        (
            answer(RIGHT.replace("NOT indisvalid", "NOT indisready")),
            "misses ex1_late on ex1_users",
        ),
        (
            answer("SELECT indrelid, indexrelid FROM pg_index WHERE NOT indisvalid"),
            "two texts",
        ),
        (
            answer(
                "SELECT t.relname::text, i.relname::text FROM pg_index "
                "JOIN pg_class AS t ON t.oid = indrelid JOIN pg_class AS i ON i.oid = indexrelid "
                "WHERE NOT indisvalid"
            ),
            "without its schema",
        ),
    ],
    equal={
        "43ea9f8f": "psycopg reads a regclass as the same text",
        "c9a43ce0": "psycopg reads a regclass as the same text",
    },
    praise="Put it on the dashboard: it should always be empty.",
)
