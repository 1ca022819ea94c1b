"""The exercises of lesson 06's core: who blocks whom, a free column, a backfill that survives."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable
from typing import Any

import psycopg

from helpers import sessions
from helpers.exercises import (
    Database,
    Exercise,
    Incorrect,
    NotAttempted,
    changed,
    end_uncommitted,
    lesson_06_deeper,
    lesson_06_more,
    look,
    running,
)
from helpers.exercises.lesson_06_shared import filled_in_small_commits, note_updates


def setup() -> dict[str, Any]:
    """Do what the notebook's cells before the exercises do, as far as the exercises need it."""
    from helpers import lab
    from helpers.base.paths import NOTEBOOKS

    sys.path.insert(0, str(NOTEBOOKS / "06_zero_downtime_migration"))
    return {"pg": lab.postgres("06")}


# 1: who blocks whom.

STARTER_1 = '''
query = ...  # """SELECT ..."""

ex1.check()
'''


def answer_1(sql: str) -> str:
    """Return the cell with this query in it."""
    return STARTER_1.replace('...  # """SELECT ..."""', f'"""{sql}"""')


def check_blocked(pg: Database, query: str) -> None:
    """Let two idle readers block a change, and that a reader and a writer; one holds a row, too.

    Beside them somebody loads a file: that session is active and waits, but only for its client.
    """
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS ex1_users, ex1_orders")
        connection.execute("CREATE TABLE ex1_users (id int PRIMARY KEY, name text)")
        connection.execute("CREATE TABLE ex1_orders (id int PRIMARY KEY)")
        connection.execute("INSERT INTO ex1_orders VALUES (1)")
    with (
        pg.connect() as load,
        load.cursor().copy("COPY ex1_orders FROM STDIN"),
        sessions.open(pg, "idle", "other", "change", "reader", "writer", "clerk") as s,
    ):
        for session in (s.idle, s.other):
            session.run("BEGIN")
            session.run("SELECT count(*) FROM ex1_users")
        s.other.run("SELECT FROM ex1_orders FOR UPDATE")
        s.clerk.start("UPDATE ex1_orders SET id = 2")
        s.clerk.wait_blocked()
        s.change.start("ALTER TABLE ex1_users ADD COLUMN note text")
        s.change.wait_blocked()
        s.reader.start("SELECT count(*) FROM ex1_users")
        s.reader.wait_blocked()
        s.writer.start("DELETE FROM ex1_users")
        s.writer.wait_blocked()
        all_six = (s.idle, s.other, s.change, s.reader, s.writer, s.clerk)
        pids = [one.connection.info.backend_pid for one in all_six]
        idle, other, change, reader, writer, clerk = pids
        loading = load.info.backend_pid
        with look(pg) as connection, running("Your query"):
            asking = connection.info.backend_pid  # it is active, and nobody blocks it
            rows = connection.execute(query).fetchall()
        s.idle.run("ROLLBACK")
        s.other.run("ROLLBACK")
        for session in (s.change, s.reader, s.writer, s.clerk):
            session.finish()
    if any(len(row) != 2 or not isinstance(row[1], list) for row in rows):
        raise Incorrect("Each row needs two columns: a pid, and the array of those who block it.")
    # A server can have other users, whose sessions are not ours to judge.
    ours = {*pids, loading, asking}
    found = {row[0]: set(row[1]) for row in rows if row[0] in ours}
    if {idle, other} & found.keys():
        raise Incorrect("Your query also shows a session that nobody blocks: its array is empty.")
    if asking in found:
        raise Incorrect("Your query also shows its own session: active, but nobody blocks it.")
    if loading in found:
        raise Incorrect(
            "Your query also shows a session that loads a file. It is active and waits, but for "
            "its client: nobody blocks it."
        )
    true = {change: {idle, other}, reader: {change}, writer: {change}, clerk: {other}}
    if missing := true.keys() - found.keys():
        raise Incorrect(
            f"Your query misses {len(missing)} of the four blocked sessions. "
            + (
                "That one waits for a row, not for a table."
                if missing == {clerk}
                else "A SELECT and an ALTER TABLE can be blocked just as a write can."
            )
        )
    if found != true:
        if len(found[change]) == 1:
            raise Incorrect("Two sessions block the ALTER TABLE, and its array has only one.")
        raise Incorrect("The sessions are right, but not who blocks them.")


# 2: a default for old rows, another for new ones.

STARTER_2 = """
ex2.start()  # makes ex2_users anew, with 1,000 rows

connection = pg.connect(autocommit=True)
# Your statements go here, each as connection.execute("...")

ex2.check()
connection.close()
"""
COLUMN_2 = "terms_accepted timestamptz"
PAST = "'2025-11-12 00:00+00'"
NEW = "ALTER TABLE ex2_users ALTER COLUMN terms_accepted SET DEFAULT now()"
WRITTEN = """
    SELECT pg_relation_filenode('ex2_users'), max(xmin::text::bigint) FROM ex2_users
"""


def answer_2(*statements: str) -> str:
    """Return the cell with these statements in it."""
    lines = "\n".join(f'connection.execute("""{s}""")' for s in statements)
    return STARTER_2.replace('# Your statements go here, each as connection.execute("...")', lines)


def prepare_terms(pg: Database) -> None:
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


def check_terms(pg: Database) -> None:
    """Look at the column, at old rows, at a new one, and whether anything was written."""
    with look(pg) as connection:
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


# 3: a backfill that survives.

STARTER_3 = '''
ex3.start()  # makes ex3_users anew, 20,000 rows, half of them filled


def backfill(connection):
    """Give every user without a public_id one: gen_random_uuid()."""
    ...


ex3.check()
'''
FUNCTION_3 = '''
    last = connection.execute("SELECT max(id) FROM ex3_users").fetchone()[0]
    for first in range(1, last + 1, 1000):
        connection.execute(
            """UPDATE ex3_users SET public_id = gen_random_uuid()
               WHERE id BETWEEN %s AND %s AND public_id IS NULL""",
            [first, first + 999],
        )
        connection.commit()
'''
SOLUTION_3 = STARTER_3.replace("    ...\n", FUNCTION_3.lstrip("\n"))
NOTED = uuid.UUID("6ba7b810-9dad-41d1-80b4-00c04fd430c8")


def prepare_backfill(pg: Database) -> None:
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


def check_backfill(pg: Database, backfill: Callable[..., object]) -> None:
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


EXERCISES = [
    Exercise(
        number=1,
        title="Who blocks whom?",
        prompt="Write a query that shows each blocked session's pid and who blocks it.",
        setup=setup,
        starter=STARTER_1,
        solution=answer_1(
            "SELECT pid, pg_blocking_pids(pid) FROM pg_stat_activity\n"
            "           WHERE cardinality(pg_blocking_pids(pid)) > 0"
        ),
        check=check_blocked,
        hints=[
            "pg_blocking_pids(pid) is the second column. Which sessions does WHERE leave out?",
            "cardinality(array) counts the elements of an array. Nobody blocks: 0.",
        ],
        wrong=[
            (
                answer_1("SELECT pid, pg_blocking_pids(pid) FROM pg_stat_activity"),
                "its array is empty",
            ),
            (
                answer_1("SELECT pid, relation FROM pg_locks WHERE NOT granted"),
                "needs two columns",
            ),
            (
                answer_1(
                    "SELECT pid, pg_blocking_pids(pid) FROM pg_stat_activity "
                    "WHERE wait_event_type = 'Lock' AND query ILIKE 'delete%'"
                ),
                "misses 3 of the four",
            ),
            (
                answer_1(
                    "SELECT pid, pg_blocking_pids(pid) FROM pg_stat_activity "
                    "WHERE wait_event = 'relation'"
                ),
                "waits for a row, not for a table",
            ),
            (
                answer_1(
                    "SELECT pid, pg_blocking_pids(pid) FROM pg_stat_activity "
                    "WHERE state = 'active' AND wait_event IS NOT NULL"
                ),
                "that loads a file",
            ),
            (
                answer_1(
                    "SELECT w.pid, array_agg(h.pid) FROM pg_locks AS w JOIN pg_locks AS h "
                    "ON h.pid <> w.pid "
                    "AND (h.relation = w.relation OR h.transactionid = w.transactionid) "
                    "WHERE NOT w.granted AND h.granted GROUP BY w.pid"
                ),
                "but not who blocks them",
            ),
            (
                answer_1(
                    "SELECT pid, pg_blocking_pids(pid) FROM pg_stat_activity WHERE state = 'active'"
                ),
                "its own session",
            ),
            (
                answer_1(
                    "SELECT pid, (pg_blocking_pids(pid))[1:1] FROM pg_stat_activity "
                    "WHERE cardinality(pg_blocking_pids(pid)) > 0"
                ),
                "has only one",
            ),
        ],
        praise="Keep this query at hand. It is the first one to run when everything hangs.",
    ),
    Exercise(
        number=2,
        title="A default for old rows, another for new ones",
        prompt="Add terms_accepted: a fixed date for old rows, the present for new ones, for free.",
        setup=setup,
        starter=STARTER_2,
        solution=answer_2(
            f"ALTER TABLE ex2_users ADD COLUMN {COLUMN_2} NOT NULL\n"
            f"                      DEFAULT {PAST}",
            NEW,
        ),
        check=check_terms,
        prepare=prepare_terms,
        hints=[
            "Two statements. The first concerns the rows that are there, the second the rows "
            "to come.",
            "ADD COLUMN with a constant default, then ALTER COLUMN ... SET DEFAULT now().",
        ],
        wrong=[
            (
                answer_2(
                    f"ALTER TABLE ex2_users ADD COLUMN {COLUMN_2} DEFAULT now()",
                    f"UPDATE ex2_users SET terms_accepted = {PAST}",
                ),
                "written anew",
            ),
            (
                answer_2(f"ALTER TABLE ex2_users ADD COLUMN {COLUMN_2} NOT NULL DEFAULT now()"),
                "1000 of the 1,000 old rows",
            ),
            (
                answer_2(f"ALTER TABLE ex2_users ADD COLUMN {COLUMN_2} NOT NULL DEFAULT {PAST}"),
                "does not get the present time",
            ),
            (
                answer_2(f"ALTER TABLE ex2_users ADD COLUMN {COLUMN_2} DEFAULT {PAST}", NEW),
                "can be NULL",
            ),
            (
                answer_2(
                    f"ALTER TABLE ex2_users ADD COLUMN {COLUMN_2} NOT NULL DEFAULT {PAST}",
                    NEW.replace("now()", "(now() AT TIME ZONE 'UTC')"),
                ),
                "another time zone",
            ),
        ],
        praise="Two short locks, and no row was touched.",
    ),
    Exercise(
        number=3,
        title="A backfill that survives",
        prompt="Write a backfill that can be killed at any point and run again.",
        setup=setup,
        starter=STARTER_3,
        solution=SOLUTION_3,
        check=check_backfill,
        prepare=prepare_backfill,
        hints=[
            "A loop over ranges of id, up to the largest id. One UPDATE and one commit for each.",
            "WHERE id BETWEEN %s AND %s AND public_id IS NULL, then connection.commit().",
        ],
        wrong=[
            (changed(SOLUTION_3, "max(id)", "count(*)"), "Where does your loop end?"),
            (changed(SOLUTION_3, "range(1, last + 1,", "range(0, last,"), "last range reach it"),
            (changed(SOLUTION_3, " AND public_id IS NULL", ""), "links to them are dead"),
            (
                changed(SOLUTION_3, "        connection.commit()", "    connection.commit()"),
                "One commit held",
            ),
            (changed(SOLUTION_3, "        connection.commit()\n", ""), "ended without a commit"),
            # The SELECT has begun a transaction, so these are savepoints in it.
            (
                changed(
                    SOLUTION_3,
                    "        connection.execute(",
                    "        with connection.transaction(): connection.execute(",
                ).replace("        connection.commit()", "    connection.commit()"),
                "are savepoints",
            ),
        ],
        praise="Kill it wherever you like: the next run goes on where this one stopped.",
    ),
    *lesson_06_deeper.EXERCISES,
    *lesson_06_more.EXERCISES,
]
