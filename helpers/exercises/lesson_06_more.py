"""Exercises 10 and 11 of lesson 06: a backfill among held rows, a vacuum in the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from textwrap import indent
from types import SimpleNamespace
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
    look,
    running,
)
from helpers.exercises.deeper import only_database
from helpers.exercises.lesson_06_shared import Attempt, filled_in_small_commits, note_updates

# 10: leave none out.

STARTER_10 = '''
ex10.start()  # makes ex10_users anew, 5,000 rows


def backfill(connection):
    """Fill every user's plan with 'free', also those whose row is held for a while."""
    ...


ex10.check()
'''
FUNCTION_10 = '''
    left = 1
    while left:
        for first in range(1, 5001, 1000):
            connection.execute(
                """UPDATE ex10_users SET plan = 'free' WHERE id IN (
                       SELECT id FROM ex10_users WHERE id BETWEEN %s AND %s AND plan IS NULL
                       FOR NO KEY UPDATE SKIP LOCKED)""",
                [first, first + 999],
            )
        sql = "SELECT count(*) FROM ex10_users WHERE plan IS NULL"
        left = connection.execute(sql).fetchone()[0]
        time.sleep(0.1)
'''
SOLUTION_10 = "\nimport time\n" + STARTER_10.replace("    ...\n", FUNCTION_10.lstrip("\n"))
PASS_10 = FUNCTION_10[FUNCTION_10.index("        for") : FUNCTION_10.index("        sql")]
SAVEPOINTS_10 = "        with connection.transaction():\n" + indent(PASS_10, "    ").replace(
    "connection.execute(", "with connection.transaction(): connection.execute("
)
HELD_10 = (700, 3100)
PATIENCE = 2.5, 15  # seconds without progress, when it waits for the holder, and in any case
HOLD_10 = 2.0  # seconds for which the two rows are held after the others are filled
BEHIND_10 = "SELECT %s = ANY (pg_blocking_pids(%s))"
FREE_10 = "SELECT count(*) FROM ex10_users WHERE plan IS NULL AND id <> ALL (%s)"


def prepare_plans(pg: Database) -> None:
    """Make the table, with no plan in it."""
    end_uncommitted(pg)
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS ex10_users")
        connection.execute("""
            CREATE TABLE ex10_users (id int PRIMARY KEY, name text NOT NULL, plan text)
            WITH (autovacuum_enabled = off)
        """)
        connection.execute(
            "INSERT INTO ex10_users SELECT n, 'User ' || n FROM generate_series(1, 5000) AS n"
        )
        note_updates(connection, "ex10_users")


def check_none_left(pg: Database, backfill: Callable[..., object]) -> None:
    """Hold two rows until the others are filled; then everything must get filled."""
    prepare_plans(pg)
    with look(pg) as observer, pg.connect() as holder:
        holder.execute("SELECT FROM ex10_users WHERE id = ANY (%s) FOR UPDATE", [list(HELD_10)])
        with Attempt(pg, backfill) as attempt:
            try:
                free = _fill_the_others(observer, attempt, holder.info.backend_pid)
                at_first = len(attempt.runs)
                attempt.thread.join(HOLD_10)  # a few passes later
            finally:
                holder.rollback()
            attempt.thread.join(10)
        if attempt.raised and attempt.ended:
            raise attempt.raised[0]
        came_back = len(attempt.runs) > at_first + 3
        _judge_plans(observer, free, attempt.ended, came_back)


def _fill_the_others(observer: Any, attempt: Attempt, holder: int) -> int:
    """Return how many free rows are empty, when there are none any more or the thread ended."""
    free, since, behind = -1, time.monotonic(), False
    while True:
        alive = attempt.thread.is_alive()
        (found,) = observer.execute(FREE_10, [list(HELD_10)]).fetchone()
        if not found or not alive:
            return int(found)
        if found != free:
            free, since, behind = found, time.monotonic(), False
        behind = behind or observer.execute(BEHIND_10, [holder, attempt.pid]).fetchone() == (True,)
        if time.monotonic() - since > PATIENCE[not behind]:
            raise Incorrect(
                f"Your function stands behind a row that somebody holds. Empty and free: {free:,}."
                if behind
                else f"Your function has long filled nothing. Empty and free: {free:,}. Is its "
                "work committed, and does its last range reach the largest id?"
            )
        time.sleep(0.02)


def _judge_plans(observer: Any, free: int, ended: bool, came_back: bool) -> None:
    filled, others = observer.execute(
        "SELECT count(*) FILTER (WHERE plan = 'free'), count(plan) FROM ex10_users"
    ).fetchone()
    left = observer.execute("SELECT id FROM ex10_users WHERE plan IS NULL LIMIT 2").fetchall()
    if not filled and not others:
        raise NotAttempted("No row was filled.")
    if free:
        raise Incorrect(f"Your function ended with {free:,} rows empty that nobody held.")
    if not ended:
        raise Incorrect("Nobody has held a row for 10 s, and your function has not returned.")
    if left:
        raise Incorrect(
            f"Rows that were held are still empty, user {left[0][0]} for one. "
            + (
                "Your function made more passes, and then gave up. Count the empty rows, not the "
                "passes."
                if came_back
                else "Come back for them."
            )
        )
    if filled != others:
        raise Incorrect(f"{others - filled:,} users have another plan than 'free'.")
    filled_in_small_commits(observer, "ex10_users")


# 11: how far is it?

STARTER_11 = '''
query = ...  # """SELECT ..."""

ex11.check()
'''
RIGHT_11 = (
    "SELECT pid, relid::regclass::text, 100.0 * heap_blks_scanned / nullif(heap_blks_total, 0)\n"
    "           FROM pg_stat_progress_vacuum WHERE datname = current_database()"
)
PINNED = "SELECT wait_event FROM pg_stat_activity WHERE pid = %s"
NEXT_XID = "SELECT pg_snapshot_xmax(pg_current_snapshot())"
ALL_ENDED = "SELECT pg_snapshot_xmin(pg_current_snapshot()) >= %s"
AT_WORK = "SELECT count(*) > 0 FROM pg_stat_progress_vacuum WHERE pid = %s"


def answer_11(sql: str) -> str:
    """Return the cell with this query in it."""
    return STARTER_11.replace('...  # """SELECT ..."""', f'"""{sql}"""')


def _comes(connection: Any, sql: str, parameter: object, answer: object, seconds: float) -> bool:
    """Ask until the answer is this one; say whether it came in time."""
    deadline = time.monotonic() + seconds
    while connection.execute(sql, [parameter]).fetchone() != (answer,):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@contextmanager
def _vacuum_elsewhere(pg: Database, connection: psycopg.Connection[Any]) -> Iterator[int]:
    """Let a VACUUM be at work in the database postgres; give its pid, or 0 where that cannot be."""

    def connect(**options: Any) -> Any:
        return pg.connect(dbname="postgres", **options)

    if connection.info.dbname == "postgres":  # the learner has only a schema, and that is here
        yield 0
        return
    with ExitStack() as stack:
        try:
            s = stack.enter_context(sessions.open(SimpleNamespace(connect=connect), "far"))
        except psycopg.OperationalError:
            yield 0
            return
        # A temporary table: that much may every account that may connect.
        s.far.run("CREATE TEMP TABLE far AS SELECT generate_series(1, 20000)")
        s.far.run("SET vacuum_cost_delay = 100; SET vacuum_cost_limit = 1")
        s.far.start("VACUUM far")  # cancelled at the end of the block
        pid = s.far.connection.info.backend_pid
        yield pid if _comes(connection, AT_WORK, pid, True, 3) else 0


def check_progress(pg: Database, query: str) -> None:
    """Stop a VACUUM in the middle of a table, beside one who only looks like it; run the query.

    Another VACUUM is at work, in another database.
    """
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS ex11_users, ex11_other")
        connection.execute("CREATE TABLE ex11_other (id int) WITH (autovacuum_enabled = off)")
        connection.execute(
            "CREATE TABLE ex11_users WITH (autovacuum_enabled = off) AS "
            "SELECT n AS id, 'User ' || n AS name FROM generate_series(1, 20000) AS n"
        )
        # VACUUM leaves the table's rows as they are while a transaction is open that is older
        # than they are, in whichever database. Then it would not wait for the cursor.
        (following,) = connection.execute(NEXT_XID).fetchone() or (0,)
        if not _comes(connection, ALL_ENDED, following, True, 10):
            raise TimeoutError(
                "another session of this server has had a transaction open for over 10 s; "
                "end it, then check again"
            )
    with (
        look(pg) as connection,
        _vacuum_elsewhere(pg, connection) as far,
        sessions.open(pg, "reader", "double", "vacuum") as s,
    ):
        # A cursor holds its page; VACUUM FREEZE waits there for it.
        # https://www.postgresql.org/docs/17/monitoring-stats.html#WAIT-EVENT-BUFFERPIN-TABLE
        s.reader.run("BEGIN")
        s.reader.run("DECLARE half CURSOR FOR SELECT * FROM ex11_users")
        s.reader.run("MOVE 10000 IN half")
        s.double.run("BEGIN")
        s.double.run("ALTER TABLE ex11_other SET (fillfactor = 90)")
        s.double.run("SELECT 'VACUUM ex11_users'")
        s.vacuum.start("VACUUM (FREEZE) ex11_users")
        pid = s.vacuum.connection.info.backend_pid
        if not _comes(connection, PINNED, pid, "BufferPin", 10):
            raise TimeoutError("VACUUM did not come to the cursor's page within 10 s")
        with running("Your query"):
            rows = connection.execute(query.encode()).fetchall()
        true = connection.execute(RIGHT_11.encode() + b" AND pid = %s", [pid]).fetchone()
        double = s.double.connection.info.backend_pid
        s.reader.run("ROLLBACK")
        s.vacuum.finish()
        s.double.run("ROLLBACK")
    if any(len(row) != 3 for row in rows):
        raise Incorrect("Each row needs three columns: pid, table, percent.")
    found = {row[0]: row for row in rows}
    if double in found:
        raise Incorrect(
            "Your query also shows a session that runs no VACUUM. It has one in its text, and "
            "holds SHARE UPDATE EXCLUSIVE on another table."
        )
    if pid not in found or not true:
        raise Incorrect("Your query misses the VACUUM of ex11_users.")
    if far in found:
        raise Incorrect(
            "Your query also shows a VACUUM of another database. datname says which it is, and "
            "current_database() which is yours."
        )
    if len(rows) > len(found):
        raise Incorrect("Your query shows a VACUUM in several rows.")
    _, table, percent = found[pid]
    if table != "ex11_users":
        raise Incorrect(f"The second column is {table!r}, not the table's name as text.")
    number = isinstance(percent, int | float | type(true[2]))
    if not number or abs(float(percent) - float(true[2])) > 1:
        raise Incorrect(
            f"{true[2]:.0f} percent of the pages were scanned, and your query says {percent}."
        )


EXERCISES = [
    Exercise(
        number=10,
        title="Leave none out",
        prompt="Fill every row in small batches while somebody holds two of them.",
        setup=only_database("06g"),
        starter=STARTER_10,
        solution=SOLUTION_10,
        check=check_none_left,
        prepare=prepare_plans,
        hints=[
            "A batch with SKIP LOCKED in its SELECT passes the held rows. What becomes of them?",
            "Put the loop over the batches into another one: as long as count(*) ... WHERE plan IS "
            "NULL is not 0, pause and begin again.",
        ],
        wrong=[
            (changed(SOLUTION_10, " SKIP LOCKED", ""), "stands behind a row that"),
            (changed(SOLUTION_10, "    while left:", "    for _ in range(1):"), "Come back"),
            (changed(SOLUTION_10, "    while left:", "    for _ in range(10):"), "Count the empty"),
            (
                changed(SOLUTION_10, "1, 5001, 1000", "1, 5001, 5000", "+ 999", "+ 4999"),
                "One commit held",
            ),
            (
                # Savepoints: each looks like a transaction of its own.
                changed(SOLUTION_10, PASS_10, SAVEPOINTS_10),
                "are savepoints",
            ),
            (
                changed(
                    SOLUTION_10,
                    " SKIP LOCKED",
                    "",
                    "    left = 1\n",
                    "    left = 1\n    connection.execute(\"SET lock_timeout = '100ms'\")\n",
                ),
                "raised LockNotAvailable",
            ),
        ],
        praise="The free rows did not wait for the held ones, and none was left out.",
    ),
    Exercise(
        number=11,
        title="How far is it?",
        prompt="Write a query that shows each vacuum at work: pid, table, percent scanned.",
        setup=only_database("06h"),
        starter=STARTER_11,
        solution=answer_11(RIGHT_11),
        check=check_progress,
        hints=[
            "pg_stat_progress_vacuum has everything: pid, relid, heap_blks_scanned.",
            "relid::regclass::text is the table; 100.0 * heap_blks_scanned / heap_blks_total the "
            "percentage. nullif(heap_blks_total, 0) helps while it is 0. datname is the database.",
        ],
        wrong=[
            (
                answer_11(
                    "SELECT pid, 'ex11_users', 50 FROM pg_stat_activity WHERE query ~ 'VACUUM ex'"
                ),
                "runs no VACUUM",
            ),
            (
                answer_11(
                    RIGHT_11.replace("relid::regclass::text", "relid").replace("_scanned", "_x")
                ),
                "raised UndefinedColumn",
            ),
            (answer_11(RIGHT_11.replace("relid::regclass::text", "relid")), "The second column"),
            (answer_11(RIGHT_11.replace("_scanned", "_vacuumed")), "and your query says"),
            (answer_11(RIGHT_11.replace(" WHERE datname = current_database()", "")), "of another"),
            (
                answer_11(
                    RIGHT_11.replace("SELECT pid", "SELECT p.pid").replace(
                        "FROM pg_stat_progress_vacuum",
                        "FROM pg_stat_progress_vacuum AS p JOIN pg_locks AS l ON l.pid = p.pid",
                    )
                ),
                "in several rows",
            ),
            (
                answer_11("SELECT pid, relid::regclass::text FROM pg_stat_progress_vacuum"),
                "three columns",
            ),
        ],
        praise="Near the end: wait. At the beginning of a big table: cancel it, or come tomorrow.",
    ),
]
