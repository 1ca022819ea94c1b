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
MOMENTS = [
    "1999-12-31 23:59:59",
    "2026-01-15 12:00:00",
    "2026-07-01 00:30:00",
    "2026-03-08 02:30:00.000001",  # no clock in New York showed this
    "2026-11-01 01:30:00.999999",  # those in New York showed this twice
    "1969-12-31 12:00:00",
]
SQL_LATER = """\
    "ALTER TABLE ex1_users ADD moment timestamptz NOT NULL DEFAULT now()",
    "UPDATE ex1_users SET moment = created_at AT TIME ZONE 'GMT'",
    "ALTER TABLE ex1_users DROP created_at",
    "ALTER TABLE ex1_users RENAME moment TO created_at",
"""


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
    if one("SELECT count(*) FROM ex1_users") != len(MOMENTS):
        raise Incorrect(f"There were {len(MOMENTS)} rows, and now there are more or fewer.")
    query = "SELECT extract(epoch FROM created_at - %s::timestamp AT TIME ZONE 'UTC')"
    for number, moment in enumerate(MOMENTS, start=1):
        found = connection.execute(f"{query} FROM ex1_users WHERE id = {number}", [moment])
        row = found.fetchone()
        if row is None:
            raise Incorrect(f"Row {number} is gone.")
        if row[0] is None or 0 < abs(row[0]) < 1:
            raise Incorrect(f"{moment} UTC lost its microseconds, or all of its moment.")
        if row[0] and abs(row[0]) <= 15 * 3600:
            raise Incorrect(
                f"Run by a session in {zone}, the statements moved {moment} UTC by "
                f"{float(row[0]) / 3600:g} hours. Say in which zone the old values are meant."
            )
        if row[0]:
            raise Incorrect(f"{moment} UTC is not there any more: its moment is lost.")
    added = "INSERT INTO ex1_users DEFAULT VALUES RETURNING extract(epoch FROM created_at - now())"
    try:
        with running("A row that names no `created_at`"):
            first = connection.execute(added).fetchone() or (0,)
    except Incorrect as reason:
        if not isinstance(reason.__cause__, psycopg.errors.NotNullViolation):
            raise
        first = ()
    if not first:
        raise Incorrect("A row that names no `created_at` is refused: there is no default.")
    if first[0] is None:
        raise Incorrect("A row that names no `created_at` gets NULL.")
    if abs(first[0]) > 1800:
        raise Incorrect(
            f"A session in {zone} adds a row, and its `created_at` is "
            f"{float(first[0]) / 3600:.1f} hours from now."
        )
    if not moves_on(connection):
        raise Incorrect("The default is a constant: two rows, one after the other, got one time.")
    try:
        connection.execute("INSERT INTO ex1_users (created_at) VALUES (NULL)")
    except psycopg.errors.NotNullViolation:
        return
    raise Incorrect("`created_at` was NOT NULL, and now NULL is accepted.")


def moves_on(connection: psycopg.Connection[Any]) -> bool:
    """Whether a later row gets a later time by default; also where it is in whole seconds."""
    add = "INSERT INTO ex1_users DEFAULT VALUES RETURNING created_at"
    first = connection.execute(add).fetchone()
    for seconds in (0.001, 1.1):
        connection.execute("SELECT pg_sleep(%s)", [seconds])
        if connection.execute(add).fetchone() != first:
            return True
    return False


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
        (
            changed(
                SOLUTION,
                "created_at AT TIME ZONE 'UTC'",
                "date_trunc('second', created_at) AT TIME ZONE 'UTC'",
            ),
            "lost its microseconds",
        ),
        (
            changed(
                SOLUTION,
                DEFAULT,
                DEFAULT + '    "ALTER TABLE ex1_users ALTER created_at DROP NOT NULL",\n',
            ),
            "NULL is accepted",
        ),
        (
            changed(SOLUTION, DEFAULT, DEFAULT + '    "DELETE FROM ex1_users WHERE id = 1",\n'),
            "more or fewer",
        ),
        (changed(SOLUTION, DEFAULT, DEFAULT + '    "BEGIN",\n'), "a transaction is still open"),
        (changed(SOLUTION, "SET DEFAULT now()", "SET DEFAULT noow()"), "Statement 2 raised"),
    ],
    right=[
        changed(SOLUTION, TYPE + DEFAULT, SQL_LATER),
        changed(SOLUTION, "now()", "date_trunc('second', clock_timestamp())"),
        changed(
            SOLUTION,
            TYPE,
            "    \"SET TimeZone = 'UTC'\",\n"
            + TYPE.replace(" USING created_at AT TIME ZONE 'UTC'", ""),
        ),
    ],
    praise="On a large table the new type rewrites every row: lesson 06 has the ways around.",
)
