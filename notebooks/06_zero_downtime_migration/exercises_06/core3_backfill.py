"""Exercise 06-3: a backfill that survives."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import psycopg

from exercises_06.common import filled_in_small_commits, note_updates
from helpers.exercises import Exercise, Incorrect, NotAttempted, Place
from helpers.exercises.cells import changed
from helpers.exercises.looking import end_uncommitted, look

STARTER = '''
ex3.start()  # makes ex3_users anew, 20,000 rows, half of them filled


def backfill(connection):
    """Give every user without a public_id one: gen_random_uuid()."""
    ...


ex3.check()
'''
FUNCTION = '''
    last = connection.execute("SELECT max(id) FROM ex3_users").fetchone()[0]
    for first in range(1, last + 1, 1000):
        connection.execute(
            """UPDATE ex3_users SET public_id = gen_random_uuid()
               WHERE id BETWEEN %s AND %s AND public_id IS NULL""",
            [first, first + 999],
        )
        connection.commit()
'''
SOLUTION = STARTER.replace("    ...\n", FUNCTION.lstrip("\n"))
NOTED = uuid.UUID("6ba7b810-9dad-41d1-80b4-00c04fd430c8")


def prepare(pg: Place) -> None:
    """Make a table in the middle of a backfill: gaps in the ids, and some rows filled."""
    end_uncommitted(pg)
    with look(pg) as connection:
        _half_filled(connection)


def _half_filled(connection: psycopg.Connection[Any]) -> None:
    connection.execute("DROP TABLE IF EXISTS ex3_users")
    connection.execute("""
        CREATE TABLE ex3_users (
            id bigint PRIMARY KEY, name text NOT NULL, public_id uuid
        ) WITH (autovacuum_enabled = off)
    """)
    # Every third user is gone: the ids go up to 30,000.
    connection.execute("""
        INSERT INTO ex3_users SELECT n + n / 2, 'User ' || n FROM generate_series(0, 19999) AS n
        WHERE n > 0 UNION ALL SELECT 30000, 'User 20000'
    """)
    # The killed backfill reached 12,000, and one user beyond was filled by the application.
    connection.execute(
        "UPDATE ex3_users SET public_id = CASE id WHEN 10 THEN %s ELSE gen_random_uuid() END "
        "WHERE id <= 12000 OR id = 29998",
        [NOTED],
    )
    note_updates(connection, "ex3_users")


def check(pg: Place, backfill: Callable[..., object]) -> None:
    """Run the function on a half-filled table, and look at how many rows each commit wrote."""
    end_uncommitted(pg)
    with look(pg) as connection:
        _half_filled(connection)
        before = dict(
            connection.execute("SELECT id, public_id FROM ex3_users WHERE public_id IS NOT NULL")
        )
        with pg.connect(connect_timeout=5) as work:
            work.execute("SET lock_timeout = '2s'; SET statement_timeout = '20s'")
            work.commit()
            backfill(work)
            committed = True
            if not work.closed:  # `with connection:` has committed and closed it
                filled = "SELECT count(public_id) FROM ex3_users"
                seen_inside = work.execute(filled).fetchone()
                work.rollback()  # what was not committed is not done
                committed = seen_inside == work.execute(filled).fetchone()
        after = dict(connection.execute("SELECT id, public_id FROM ex3_users"))
        left, largest = connection.execute(
            "SELECT count(*), max(id) FROM ex3_users WHERE public_id IS NULL"
        ).fetchone() or (0, 0)
        twice = connection.execute(
            "SELECT count(public_id) - count(DISTINCT public_id) FROM ex3_users"
        ).fetchone()
    if not committed:
        raise Incorrect("Your function ended without a commit, and its last rows were lost.")
    if others := sum(after.get(id) != value for id, value in before.items()):
        raise Incorrect(
            f"{others:,} users have another public_id than before, and links to them are dead. "
            "Leave out the rows that are filled."
        )
    with look(pg) as connection:
        if not filled_in_small_commits(connection, "ex3_users"):
            raise NotAttempted("No row was filled. The smaller ids are filled already.")
    if largest == 30_000 and left == 1:
        raise Incorrect(
            "The user with the largest id, 30,000, has no public_id. Does your last range reach it?"
        )
    if left:
        raise Incorrect(
            f"{left:,} users still have no public_id; the largest id of them is {largest:,}. "
            "Where does your loop end?"
        )
    if twice != (0,):
        raise Incorrect("Some users share a public_id. Let the database make one for each row.")


EXERCISE = Exercise(
    title="A backfill that survives",
    minutes=9,
    prompt="Write a backfill that can be killed at any point and run again.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    prepare=prepare,
    hints=[
        "A loop over ranges of id, up to the largest id. One UPDATE and one commit for each.",
        "WHERE id BETWEEN %s AND %s AND public_id IS NULL, then connection.commit().",
    ],
    wrong=[
        (changed(SOLUTION, "max(id)", "count(*)"), "Where does your loop end?"),
        (changed(SOLUTION, "range(1, last + 1,", "range(0, last,"), "last range reach it"),
        (changed(SOLUTION, " AND public_id IS NULL", ""), "links to them are dead"),
        (
            changed(SOLUTION, "        connection.commit()", "    connection.commit()"),
            "One commit held",
        ),
        (changed(SOLUTION, "        connection.commit()\n", ""), "ended without a commit"),
        # The SELECT has begun a transaction, so these are savepoints in it.
        (
            changed(
                SOLUTION,
                "        connection.execute(",
                "        with connection.transaction(): connection.execute(",
            ).replace("        connection.commit()", "    connection.commit()"),
            "are savepoints",
        ),
    ],
    praise="Kill it wherever you like: the next run goes on where this one stopped.",
)
