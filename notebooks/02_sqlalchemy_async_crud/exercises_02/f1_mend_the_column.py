"""Exercise 02f-1: mend the published column."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.cells import changed
from helpers.exercises.looking import end_uncommitted, look
from helpers.exercises.running import running

STARTER = """
statements = ...  # a list: ["ALTER TABLE ex1_users ..."]

ex1.check()
"""
TYPE = """\
    "ALTER TABLE ex1_users ALTER created_at TYPE timestamptz USING created_at AT TIME ZONE 'UTC'",
"""
DEFAULT = """\
    "ALTER TABLE ex1_users ALTER created_at SET DEFAULT now()",
"""
SOLUTION = STARTER.replace('...  # a list: ["ALTER TABLE ex1_users ..."]', f"[\n{TYPE}{DEFAULT}]")
NEW_COLUMN = changed(
    SOLUTION,
    TYPE + DEFAULT,
    """\
    "ALTER TABLE ex1_users DROP created_at",
    "ALTER TABLE ex1_users ADD created_at timestamptz NOT NULL DEFAULT now()",
""",
)
MOMENTS = ["1999-12-31 23:59:59", "2026-01-15 12:00:00", "2026-07-01 00:30:00"]


def check(pg: Place, statements: object) -> None:
    """Run the statements on the published column in two time zones; look at the moments."""
    if isinstance(statements, str):
        statements = [statements]
    if not isinstance(statements, list | tuple) or not statements:
        raise Incorrect("`statements` should be a list of SQL statements.")
    for zone in ("Asia/Tokyo", "America/New_York"):
        end_uncommitted(pg)
        with look(pg) as connection:
            connection.execute("DROP TABLE IF EXISTS ex1_users")
            connection.execute(
                "CREATE TABLE ex1_users (id int GENERATED ALWAYS AS IDENTITY, "
                "created_at timestamp NOT NULL)"
            )
            for moment in MOMENTS:
                connection.execute("INSERT INTO ex1_users (created_at) VALUES (%s)", [moment])
            connection.execute("SELECT set_config('TimeZone', %s, false)", [zone])
            for number, statement in enumerate(statements, start=1):
                with running(f"Statement {number}"):
                    connection.execute(statement)
            if connection.info.transaction_status != TransactionStatus.IDLE:
                raise Incorrect("After the statements a transaction is still open.")
        with look(pg) as connection:
            connection.execute("SELECT set_config('TimeZone', %s, false)", [zone])
            check_column(connection, zone)
            connection.execute("DROP TABLE ex1_users")


def check_column(connection: psycopg.Connection[Any], zone: str) -> None:
    """Look at the column's type, its old values, its default, and whether NULL is refused."""

    def one(query: str) -> Any:
        with running("Reading `ex1_users.created_at`"):
            return (connection.execute(query).fetchone() or [None])[0]

    kind = one("SELECT pg_typeof(created_at)::text FROM ex1_users")
    if kind != "timestamp with time zone":
        raise Incorrect(f"`created_at` is of the type {kind!r}.")
    query = "SELECT extract(epoch FROM created_at - %s::timestamp AT TIME ZONE 'UTC')::int"
    for number, moment in enumerate(MOMENTS, start=1):
        found = connection.execute(f"{query} FROM ex1_users WHERE id = {number}", [moment])
        row = found.fetchone()
        if row is None:
            raise Incorrect(f"Row {number} is gone.")
        if row[0] and abs(row[0]) <= 15 * 3600:
            raise Incorrect(
                f"Run by a session in {zone}, the statements moved {moment} UTC by "
                f"{row[0] / 3600:g} hours. Say in which zone the old values are meant."
            )
        if row[0]:
            raise Incorrect(f"{moment} UTC is not there any more: its moment is lost.")
    added = "INSERT INTO ex1_users DEFAULT VALUES RETURNING extract(epoch FROM created_at - now())"
    try:
        first = connection.execute(added).fetchone() or (0,)
        second = connection.execute(added).fetchone() or (0,)
    except psycopg.errors.NotNullViolation:
        raise Incorrect(
            "A row that names no `created_at` is refused: there is no default."
        ) from None
    if first[0] is None or second[0] is None:
        raise Incorrect("A row that names no `created_at` gets NULL.")
    if abs(first[0]) > 1800:
        raise Incorrect(
            f"A session in {zone} adds a row, and its `created_at` is "
            f"{float(first[0]) / 3600:.1f} hours from now."
        )
    if one("SELECT count(DISTINCT created_at) FROM ex1_users WHERE id > 3") != 2:
        raise Incorrect("The default is a constant: two rows, one after the other, got one time.")
    try:
        connection.execute("INSERT INTO ex1_users (created_at) VALUES (NULL)")
    except psycopg.errors.NotNullViolation:
        return
    raise Incorrect("`created_at` was NOT NULL, and now NULL is accepted.")


EXERCISE = Exercise(
    title="Mend the published column",
    minutes=6,
    prompt="Give SQL that makes created_at a timestamptz with a default; no moment changes.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "ALTER TABLE ... ALTER created_at TYPE timestamptz has an option: USING expression.",
        "created_at AT TIME ZONE 'UTC' reads a timestamp as UTC and makes a timestamptz.",
        "A second statement: ALTER TABLE ... ALTER created_at SET DEFAULT now().",
    ],
    wrong=[
        (
            changed(SOLUTION, " USING created_at AT TIME ZONE 'UTC'", ""),
            "the statements moved",
        ),
        (changed(SOLUTION, DEFAULT, ""), "there is no default"),
        (changed(SOLUTION, "now()", "(now() AT TIME ZONE 'UTC')"), "hours from now"),
        (changed(SOLUTION, "now()", "'now'"), "The default is a constant"),
        (NEW_COLUMN, "its moment is lost"),
        (changed(SOLUTION, TYPE, ""), "'timestamp without time zone'"),
    ],
    praise="On a large table the new type rewrites every row: lesson 06 has the ways around.",
)
