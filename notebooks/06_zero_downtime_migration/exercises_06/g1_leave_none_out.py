"""Exercise 06g-1: leave none out."""

from __future__ import annotations

import time
from collections.abc import Callable
from textwrap import indent
from typing import Any

from exercises_06.common import (
    Attempt,
    filled_in_small_commits,
    let_go,
    note_updates,
    sessions_left_alone,
)
from helpers.exercises import Exercise, Incorrect, NotAttempted, Place
from helpers.exercises.cells import changed
from helpers.exercises.looking import end_uncommitted, look

STARTER = '''
ex1.start()  # makes ex1_users anew, 5,000 rows


def backfill(connection):
    """Fill every user's plan with 'free', also those whose row is held for a while."""
    ...


ex1.check()
'''
FUNCTION = '''
    left = 1
    while left:
        for first in range(1, 5001, 1000):
            connection.execute(
                """UPDATE ex1_users SET plan = 'free' WHERE id IN (
                       SELECT id FROM ex1_users WHERE id BETWEEN %s AND %s AND plan IS NULL
                       FOR NO KEY UPDATE SKIP LOCKED)""",
                [first, first + 999],
            )
        sql = "SELECT count(*) FROM ex1_users WHERE plan IS NULL"
        left = connection.execute(sql).fetchone()[0]
        time.sleep(0.1)
'''
SOLUTION = "\nimport time\n" + STARTER.replace("    ...\n", FUNCTION.lstrip("\n"))
PASS = FUNCTION[FUNCTION.index("        for") : FUNCTION.index("        sql")]
SAVEPOINTS = "        with connection.transaction():\n" + indent(PASS, "    ").replace(
    "connection.execute(", "with connection.transaction(): connection.execute("
)
HELD = (700, 3100)
PATIENCE = 2.5, 15  # seconds without progress, when it waits for the holder, and in any case
CHOSEN = 2000  # who takes another plan while the two are held
HOLD = 2.0  # seconds for which the two rows are held after the others are filled
BEHIND = "SELECT %s = ANY (pg_blocking_pids(%s))"
FREE = "SELECT count(*) FROM ex1_users WHERE plan IS NULL AND id <> ALL (%s)"


def prepare(pg: Place) -> None:
    """Make the table, with no plan in it."""
    end_uncommitted(pg)
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS ex1_users")
        connection.execute("""
            CREATE TABLE ex1_users (id int PRIMARY KEY, name text NOT NULL, plan text)
            WITH (autovacuum_enabled = off)
        """)
        connection.execute(
            "INSERT INTO ex1_users SELECT n, 'User ' || n FROM generate_series(1, 5000) AS n"
        )
        note_updates(connection, "ex1_users")


def check(pg: Place, backfill: Callable[..., object]) -> None:
    """Hold two rows until the others are filled; then everything must get filled."""
    prepare(pg)
    with sessions_left_alone(pg), look(pg) as observer, pg.connect() as holder:
        holder.execute("SELECT FROM ex1_users WHERE id = %s FOR UPDATE", HELD[:1])
        holder.execute("UPDATE ex1_users SET name = 'New' WHERE id = %s", HELD[1:])
        with Attempt(pg, backfill) as attempt:
            try:
                free = _fill_the_others(observer, attempt, holder.info.backend_pid)
                at_first = len(attempt.runs)
                observer.execute("UPDATE ex1_users SET plan = 'pro' WHERE id = %s", [CHOSEN])
                attempt.thread.join(HOLD)  # a few passes later
            finally:
                let_go(holder)
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
        (found,) = observer.execute(FREE, [list(HELD)]).fetchone()
        if not found or not alive:
            return int(found)
        if found != free:
            free, since, behind = found, time.monotonic(), False
        behind = behind or observer.execute(BEHIND, [holder, attempt.pid]).fetchone() == (True,)
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
        "SELECT count(*) FILTER (WHERE plan = 'free'), count(plan) FROM ex1_users WHERE id <> %s",
        [CHOSEN],
    ).fetchone()
    (kept,) = observer.execute("SELECT plan FROM ex1_users WHERE id = %s", [CHOSEN]).fetchone()
    left = observer.execute("SELECT id FROM ex1_users WHERE plan IS NULL LIMIT 2").fetchall()
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
    if kept != "pro":
        raise Incorrect(
            f"User {CHOSEN:,} has taken another plan, 'pro', while the two rows were held, and "
            f"now it is {kept!r}. Leave out the rows that are filled."
        )
    filled_in_small_commits(observer, "ex1_users")


EXERCISE = Exercise(
    title="Leave none out",
    minutes=13,
    prompt="Fill every row in small batches while somebody holds two of them.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    prepare=prepare,
    hints=[
        "A batch with SKIP LOCKED in its SELECT passes the held rows. What becomes of them?",
        "Put the loop over the batches into another one: as long as count(*) ... WHERE plan IS "
        "NULL is not 0, pause and begin again.",
    ],
    wrong=[
        (changed(SOLUTION, "    while left:", "    for _ in range(1):"), "Come back"),
        (changed(SOLUTION, "    while left:", "    for _ in range(10):"), "Count the empty"),
        (
            changed(SOLUTION, "1, 5001, 1000", "1, 5001, 5000", "+ 999", "+ 4999"),
            "One commit held",
        ),
        (changed(SOLUTION, " AND plan IS NULL\n", "\n"), "has taken another plan"),
        (changed(SOLUTION, "FOR NO KEY UPDATE", "FOR KEY SHARE"), "stands behind a row that"),
        (
            # Savepoints: each looks like a transaction of its own.
            changed(SOLUTION, PASS, SAVEPOINTS),
            "are savepoints",
        ),
        (
            changed(
                SOLUTION,
                " SKIP LOCKED",
                "",
                "    left = 1\n",
                "    left = 1\n    connection.execute(\"SET lock_timeout = '100ms'\")\n",
            ),
            "raised LockNotAvailable",
        ),
        (
            changed(
                SOLUTION,
                "UPDATE ex1_users SET plan = 'free' WHERE id IN (",
                "UPDATE ex1_users SET plan = 'free' WHERE id BETWEEN %s AND %s AND id IN (",
                "WHERE id BETWEEN %s AND %s AND plan IS NULL\n",
                "WHERE plan IS NULL\n",
            ),
            "picked FOR UPDATE",
        ),
        (
            changed(
                SOLUTION,
                "    left = 1\n",
                '    connection.execute("""SELECT pg_terminate_backend(pid)\n'
                "        FROM pg_stat_activity WHERE state = 'idle in transaction'\n"
                '        AND datname = current_database()""")\n'
                "    left = 1\n",
            ),
            "ended the session of the one who holds",
        ),
        (changed(SOLUTION, "        time.sleep(0.1)", "        raise SystemExit"), "SystemExit"),
    ],
    equal={
        "11a84847": "left is only there for the first pass",
        "e7968966": "the ranges begin one lower, and overlap or end behind the last row",
        "6e2e6c2d": "one more range, which is empty",
        "a799c272": "the last range is the same",
        "875703d7": "the ranges overlap by a row",
        "2aef4ff1": "the ranges overlap by a row",
        "5f5f6932": "a row of one column: its last is its first",
        "6f9046dc": "a pause after the last pass only; nobody asks for one between",
        "f933ae82": "nobody asks for a pause",
        "98741d64": "the pause's length is free",
        "00084892": "the pause's length is free",
    },
    praise="The free rows did not wait for the held ones, and none was left out.",
)
