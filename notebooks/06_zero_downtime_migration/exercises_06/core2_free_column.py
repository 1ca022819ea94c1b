"""Exercise 06-2: a default for old rows, another for new ones."""

from __future__ import annotations

from typing import Any

import psycopg

from exercises_06.common import committed
from helpers.exercises import Exercise, Incorrect, NotAttempted, Place
from helpers.exercises.looking import end_uncommitted, look
from helpers.exercises.running import running

STARTER = """
ex2.start()  # makes ex2_users anew, with 1,000 rows

connection = pg.connect(autocommit=True)
# Your statements go here, each as connection.execute("...")

ex2.check()
connection.close()
"""
COLUMN = "terms_accepted timestamptz"
PAST = "'2025-11-12 00:00+00'"
NEW = "ALTER TABLE ex2_users ALTER COLUMN terms_accepted SET DEFAULT now()"
WRITTEN = """
    SELECT pg_relation_filenode('ex2_users'), max(xmin::text::bigint) FROM ex2_users
"""


def answer(*statements: str) -> str:
    """Return the cell with these statements in it."""
    lines = "\n".join(f'connection.execute("""{s}""")' for s in statements)
    return STARTER.replace('# Your statements go here, each as connection.execute("...")', lines)


def prepare(pg: Place) -> None:
    """Make the table, and note which file it is in and which transaction wrote its rows."""
    end_uncommitted(pg)
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS ex2_users, ex2_before")
        connection.execute("""
            CREATE TABLE ex2_users (
                id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL
            )
        """)
        connection.execute(
            "INSERT INTO ex2_users (name) SELECT 'User ' || n FROM generate_series(1, 1000) AS n"
        )
        connection.execute(f"CREATE TABLE ex2_before AS {WRITTEN}")


def check(pg: Place) -> None:
    """Look at the column, at old rows, at a new one, and whether anything was written."""
    with committed(pg), look(pg) as connection:
        column = connection.execute("""
            SELECT format_type(atttypid, NULL), attnotnull FROM pg_attribute
            WHERE attrelid = 'ex2_users'::regclass AND attname = 'terms_accepted'
              AND NOT attisdropped
        """).fetchone()
        if column is None:
            raise NotAttempted("ex2_users has no column terms_accepted yet.")
        if column[0] != "timestamp with time zone":
            raise Incorrect(f"terms_accepted has the type {column[0]}, not timestamptz.")
        if (
            connection.execute(WRITTEN).fetchone()
            != connection.execute("SELECT * FROM ex2_before").fetchone()
        ):
            raise Incorrect(
                "The old rows were written anew, by an UPDATE or a rewrite. A constant default for "
                "them is free."
            )
        (wrong,) = connection.execute(
            f"SELECT count(*) FROM ex2_users WHERE terms_accepted IS DISTINCT FROM {PAST}"
        ).fetchone() or (0,)
        if wrong:
            raise Incorrect(f"{wrong} of the 1,000 old rows do not have 2025-11-12 00:00+00.")
        if not column[1]:
            raise Incorrect("terms_accepted can be NULL.")
        (rows,) = connection.execute("SELECT count(*) FROM ex2_users").fetchone() or (0,)
        if rows != 1_000:
            raise Incorrect(f"ex2_users had 1,000 rows, and now it has {rows:,}.")
        fresh = [_is_fresh(connection, zone) for zone in ("UTC", "Asia/Tokyo")]
    if not any(fresh):
        raise Incorrect("A user who joins now does not get the present time.")
    if not all(fresh):
        raise Incorrect(
            "When the application's session has another time zone, a new user gets a time that is "
            "hours off. Leave out AT TIME ZONE: now() is one moment in every time zone."
        )


def _is_fresh(connection: psycopg.Connection[Any], zone: str) -> bool:
    with connection.transaction(force_rollback=True), running("Adding a user"):
        connection.execute("SELECT set_config('TimeZone', %s, true)", [zone])
        row = connection.execute(
            "INSERT INTO ex2_users (name) VALUES ('New User') "
            "RETURNING terms_accepted BETWEEN now() AND clock_timestamp()"
        ).fetchone()
    return row == (True,)


EXERCISE = Exercise(
    title="A default for old rows, another for new ones",
    minutes=5,
    prompt="Add terms_accepted: a fixed date for old rows, the present for new ones, for free.",
    starter=STARTER,
    solution=answer(
        f"ALTER TABLE ex2_users ADD COLUMN {COLUMN} NOT NULL\n                      DEFAULT {PAST}",
        NEW,
    ),
    check=check,
    prepare=prepare,
    hints=[
        "Two statements. The first concerns the rows that are there, the second the rows to come.",
        "ADD COLUMN with a constant default, then ALTER COLUMN ... SET DEFAULT now().",
    ],
    wrong=[
        (
            answer(
                f"ALTER TABLE ex2_users ADD COLUMN {COLUMN} DEFAULT now()",
                f"UPDATE ex2_users SET terms_accepted = {PAST}",
            ),
            "written anew",
        ),
        (
            answer(f"ALTER TABLE ex2_users ADD COLUMN {COLUMN} NOT NULL DEFAULT now()"),
            "1000 of the 1,000 old rows",
        ),
        (
            answer(f"ALTER TABLE ex2_users ADD COLUMN {COLUMN} NOT NULL DEFAULT {PAST}"),
            "does not get the present time",
        ),
        (
            answer(f"ALTER TABLE ex2_users ADD COLUMN {COLUMN} DEFAULT {PAST}", NEW),
            "can be NULL",
        ),
        (
            answer(
                f"ALTER TABLE ex2_users ADD COLUMN {COLUMN} NOT NULL DEFAULT {PAST}",
                NEW.replace("now()", "(now() AT TIME ZONE 'UTC')"),
            ),
            "another time zone",
        ),
        (
            answer(
                f"ALTER TABLE ex2_users ADD COLUMN {COLUMN} NOT NULL DEFAULT {PAST}", NEW
            ).replace("(autocommit=True)", "()"),
            "are not committed",
        ),
        (
            answer(
                f"ALTER TABLE ex2_users ADD COLUMN {COLUMN} NOT NULL DEFAULT {PAST}",
                NEW,
                "DELETE FROM ex2_users WHERE id = 1000",
            ),
            "had 1,000 rows",
        ),
    ],
    right=[
        answer(
            f"ALTER TABLE ex2_users ADD COLUMN {COLUMN} NOT NULL DEFAULT {PAST}",
            NEW.replace("now()", "clock_timestamp()"),
        ),
    ],
    praise="Two short locks, and no row was touched.",
)
