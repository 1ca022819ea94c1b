"""Exercise 06-3: a backfill that survives."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import psycopg

from exercises_06.common import (
    Attempt,
    filled_in_small_commits,
    note_updates,
    sessions_left_alone,
)
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
    last = -(2**63)  # below every bigint
    while True:
        sql = "SELECT id FROM ex3_users WHERE id > %s ORDER BY id LIMIT 1000"
        ids = [id for (id,) in connection.execute(sql, [last])]
        if not ids:
            return
        connection.execute(
            """UPDATE ex3_users SET public_id = gen_random_uuid()
               WHERE id BETWEEN %s AND %s AND public_id IS NULL""",
            [ids[0], ids[-1]],
        )
        connection.commit()
        last = ids[-1]
'''
RANGES = '''
    last = connection.execute("SELECT max(id) FROM ex3_users").fetchone()[0] or 0
    for first in range(1, last + 1, 1000):
        connection.execute(
            """UPDATE ex3_users SET public_id = gen_random_uuid()
               WHERE id BETWEEN %s AND %s AND public_id IS NULL""",
            [first, first + 999],
        )
        connection.commit()
'''
LIMITED = '''
    filled = 1000
    while filled:
        filled = connection.execute("""UPDATE ex3_users SET public_id = gen_random_uuid()
            WHERE id IN (SELECT id FROM ex3_users WHERE public_id IS NULL LIMIT 1000)""").rowcount
        connection.commit()
'''
SOLUTION = STARTER.replace("    ...\n", FUNCTION.lstrip("\n"))
EMPTY = "SELECT id FROM ex3_users WHERE public_id IS NULL ORDER BY id"
SECONDS = 60  # for one run, also on a slow machine


def answer(function: str) -> str:
    """Return the cell with this function."""
    return STARTER.replace("    ...\n", function.lstrip("\n"))


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


def _strange_ids(connection: psycopg.Connection[Any]) -> None:
    """Make a small table with ids that somebody has imported; 15,000 is in the first one, too."""
    _half_filled(connection)
    connection.execute("TRUNCATE ex3_users, ex3_users_noted")
    connection.execute("""
        INSERT INTO ex3_users (id, name)
        VALUES (1, 'User 1'), (-5000000000000000000, 'System'), (1000000000000, 'Import'),
               (0, 'Nobody'), (15000, 'User 10000')
    """)


def check(pg: Place, backfill: Callable[..., object]) -> None:
    """Run the function on a half-filled table, on one with strange ids, and on an empty one."""
    end_uncommitted(pg)
    with sessions_left_alone(pg), look(pg) as connection:
        _half_filled(connection)
        first = _judged_run(pg, connection, backfill)
        _strange_ids(connection)
        second = _judged_run(pg, connection, backfill, most=200)
        if same := [id for id in first.keys() & second.keys() if first[id] == second[id]]:
            raise Incorrect(
                f"User {same[0]:,} gets the same public_id in every table, so somebody can work "
                "it out. gen_random_uuid() makes one that nobody can guess."
            )
        connection.execute("TRUNCATE ex3_users, ex3_users_noted")
        _run(pg, backfill, 200)


def _judged_run(
    pg: Place,
    connection: psycopg.Connection[Any],
    backfill: Callable[..., object],
    most: int | None = None,
) -> dict[int, uuid.UUID]:
    """Run the function on the table as it is; return who has which public_id."""
    before = _public_ids(connection)
    committed = _run(pg, backfill, most)
    after = _public_ids(connection)
    if not committed:
        raise Incorrect("Your function ended without a commit, and its last rows were lost.")
    if others := sum(after.get(id) != value for id, value in before.items()):
        raise Incorrect(
            f"{others:,} users have another public_id than before, and links to them are dead. "
            "Leave out the rows that are filled."
        )
    if not filled_in_small_commits(connection, "ex3_users"):
        raise NotAttempted("No row was filled. The smaller ids are filled already.")
    if most is None:
        _judge_end(connection)
    elif left := connection.execute(EMPTY).fetchall():
        ids = ", ".join(f"{id:,}" for (id,) in left)
        raise Incorrect(
            "In a table with the ids -5,000,000,000,000,000,000, 0, 1, 15,000 and "
            f"1,000,000,000,000 these users still have no public_id: {ids}."
        )
    if len(set(after.values())) < len(after):
        raise Incorrect("Some users share a public_id. Let the database make one for each row.")
    return after


def _public_ids(connection: psycopg.Connection[Any]) -> dict[int, uuid.UUID]:
    return dict(
        connection.execute("SELECT id, public_id FROM ex3_users WHERE public_id IS NOT NULL")
    )


def _run(pg: Place, backfill: Callable[..., object], most: int | None) -> bool:
    """Run the function, with at most so many statements; return whether it has committed all."""
    with Attempt(pg, backfill, autocommit=False) as attempt:
        deadline = time.monotonic() + SECONDS
        while attempt.thread.is_alive() and time.monotonic() < deadline:
            attempt.thread.join(0.02)
            if most and len(attempt.begun) > most:
                break
        else:
            committed = not attempt.thread.is_alive() and _committed(attempt.connection)
    if attempt.raised and attempt.ended:
        raise attempt.raised[0]
    if most and len(attempt.begun) > most:
        raise Incorrect(
            "The check ran your function on at most 5 users, whose ids are far apart. It "
            f"has sent over {most} statements. Go from one id that exists to the next, not "
            "through all numbers between."
        )
    if not attempt.ended:
        raise Incorrect(f"Your function has not returned after {SECONDS} s.")
    return committed


def _committed(work: psycopg.Connection[Any]) -> bool:
    if work.closed:  # `with connection:` has committed and closed it
        return True
    if work.info.transaction_status == psycopg.pq.TransactionStatus.INERROR:
        work.rollback()
        return False
    filled = "SELECT count(public_id) FROM ex3_users"
    seen_inside = work.execute(filled).fetchone()
    work.rollback()  # what was not committed is not done
    same = seen_inside == work.execute(filled).fetchone()
    work.rollback()
    return same


def _judge_end(connection: psycopg.Connection[Any]) -> None:
    left, smallest, largest = connection.execute(
        "SELECT count(*), min(id), max(id) FROM ex3_users WHERE public_id IS NULL"
    ).fetchone() or (0, 0, 0)
    if not left:
        return
    if left == 1 and largest == 30_000:
        raise Incorrect(
            "The user with the largest id, 30,000, has no public_id. Does your last batch reach it?"
        )
    (behind,) = connection.execute(
        "SELECT count(*) FROM ex3_users WHERE id >= %s", [smallest]
    ).fetchone() or (0,)
    # One user behind the middle, 29,998, was filled before.
    where = " Where does your loop end?" if behind - left <= 1 else " It passes some of them by."
    raise Incorrect(
        f"{left:,} users still have no public_id; the smallest id of them is {smallest:,}, the "
        f"largest {largest:,}.{where}"
    )


EXERCISE = Exercise(
    title="A backfill that survives",
    minutes=9,
    prompt="Write a backfill that can be killed at any point and run again.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    prepare=prepare,
    hints=[
        "A loop over batches of users, in the order of their ids. One UPDATE and one commit each.",
        "The next 1,000 ids: WHERE id > %s ORDER BY id LIMIT 1000. Then UPDATE ... WHERE id "
        "BETWEEN %s AND %s AND public_id IS NULL, and connection.commit().",
    ],
    wrong=[
        (answer(changed(RANGES, "max(id)", "count(*)")), "Where does your loop end?"),
        (answer(changed(RANGES, "range(1, last + 1,", "range(0, last,")), "last batch reach it"),
        (answer(RANGES), "not through all numbers"),
        (changed(SOLUTION, "-(2**63)", "0"), "these users still have no"),
        (changed(SOLUTION, " AND public_id IS NULL", ""), "links to them are dead"),
        (
            changed(SOLUTION, "            return\n", "            break\n").replace(
                "        connection.commit()\n        last = ids[-1]\n",
                "        last = ids[-1]\n    connection.commit()\n",
            ),
            "One commit held",
        ),
        (changed(SOLUTION, "        connection.commit()\n", ""), "ended without a commit"),
        # The SELECT has begun a transaction, so these are savepoints in it.
        (
            changed(
                SOLUTION,
                "        connection.execute(",
                "        with connection.transaction(): connection.execute(",
                "            return\n",
                "            break\n",
            ).replace(
                "        connection.commit()\n        last = ids[-1]\n",
                "        last = ids[-1]\n    connection.commit()\n",
            ),
            "are savepoints",
        ),
        (
            answer(
                changed(
                    LIMITED,
                    "UPDATE ex3",
                    "WITH empty AS (SELECT id FROM ex3_users "
                    "WHERE public_id IS NULL FOR UPDATE)\n            UPDATE ex3",
                    "SELECT id FROM ex3_users WHERE public_id IS NULL LIMIT 1000",
                    "SELECT id FROM empty ORDER BY id LIMIT 1000",
                )
            ),
            "picked FOR UPDATE",
        ),
        (
            changed(SOLUTION, "gen_random_uuid()\n", "md5(id::text)::uuid\n"),
            "somebody can work it out",
        ),
        (
            answer(
                changed(
                    LIMITED,
                    "WHERE public_id IS NULL LIMIT 1000",
                    "WHERE public_id IS NULL ORDER BY id\n"
                    "                         OFFSET 500 LIMIT 500",
                )
            ),
            "the largest 12,750",
        ),
        (
            # From the largest id that is filled on: the application has filled one far behind.
            changed(
                SOLUTION,
                "-(2**63)  # below every bigint",
                'connection.execute("SELECT max(id) FROM ex3_users '
                'WHERE public_id IS NOT NULL").fetchone()[0] or -99',
            ),
            "the largest 29,997",
        ),
        (
            changed(SOLUTION, "        connection.commit()\n", "        raise SystemExit\n"),
            "raised SystemExit",
        ),
    ],
    right=[answer(LIMITED)],
    equal={
        "071feb25": "below every bigint as well",
        "e2e2b0e8": "below every bigint as well",
        "ee29754e": "a smaller batch",
    },
    praise="Kill it wherever you like: the next run goes on where this one stopped.",
)
