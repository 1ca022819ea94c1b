"""Exercise 06a-1: patience."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

from exercises_06.common import Attempt, let_go, sessions_left_alone
from helpers.exercises import Exercise, Incorrect, NotAttempted, Place
from helpers.exercises.cells import changed
from helpers.exercises.looking import look

STARTER = '''
def patiently(connection, sql):
    """Run the statement; give up a place in the queue after half a second, and come back."""
    ...


ex1.check()
'''
FUNCTION = """
    connection.execute("SET lock_timeout = '500ms'")
    while True:
        try:
            connection.execute(sql)
            return
        except psycopg.errors.LockNotAvailable:
            time.sleep(random.uniform(0.1, 0.3))
"""


SOLUTION = STARTER.replace("    ...\n", FUNCTION.lstrip("\n"))
SOLUTION = "\nimport random\nimport time\n\nimport psycopg\n\n" + SOLUTION


WAITING = "SELECT wait_event_type IS NOT DISTINCT FROM 'Lock' FROM pg_stat_activity WHERE pid = %s"
PATIENCE = 2.5  # seconds in one queue: half a second was asked for, and a machine can be slow
TURNS = 4  # how often the function gives up before the lock is free
TOO_LONG = 1.0  # seconds in the queue at its shortest turn, which not every turn can be slow for
FAIL = "DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{}'; END $$"
OTHERS = tuple(
    (FAIL.format(code), why)
    for code, why in {
        "disk_full": "the disk is full",
        "query_canceled": "somebody cancels it",
        "object_in_use": "the object is in use",
        "deadlock_detected": "there is a deadlock",
        "insufficient_privilege": "the right is missing",
    }.items()
)


def check(pg: Place, patiently: Callable[..., object]) -> None:
    """Hold a lock until the function has given up some times; then it must succeed, slowly."""
    sql = "ALTER TABLE ex1_users ADD COLUMN note text DEFAULT ex1_slow()"
    with sessions_left_alone(pg), look(pg) as observer, pg.connect() as holder:
        observer.execute("DROP TABLE IF EXISTS ex1_users")
        observer.execute("CREATE TABLE ex1_users (id int)")
        observer.execute("INSERT INTO ex1_users VALUES (1)")
        observer.execute("""
            CREATE OR REPLACE FUNCTION ex1_slow() RETURNS text VOLATILE LANGUAGE plpgsql AS $$
            BEGIN PERFORM pg_sleep(0.7); RETURN 'slow'; END $$
        """)
        holder.execute("SELECT * FROM ex1_users")
        with Attempt(pg, patiently, sql) as attempt:
            try:
                _watch(observer, attempt, sql)
            finally:
                begun = len(attempt.begun)
                let_go(holder)
            attempt.thread.join(5)
            came_back = len(attempt.begun) > begun
        after = observer.execute(
            "SELECT count(*) FROM pg_attribute "
            "WHERE attrelid = 'ex1_users'::regclass AND attname = 'note'"
        ).fetchone()
        if not attempt.ended and not came_back and begun:
            raise Incorrect(
                "The lock has been free for 5 s, and your function has not come back to try. "
                "Pause shortly."
            )
        if not attempt.ended:
            raise Incorrect(
                "The lock has been free for 5 s, and the statement, which works for 0.7 s, is not "
                "done. Limit the time that it waits for the lock, not its whole time."
            )
        if attempt.raised:
            raise attempt.raised[0]
        runs = attempt.runs_of(sql)
        if after != (1,):
            if not runs and not _attempted(pg, patiently):
                raise NotAttempted("Your function did nothing.")
            if len(runs) > 1:
                raise Incorrect(
                    f"After {len(runs)} attempts the statement has not been done: your function "
                    "gave up for good, or did not commit."
                )
            raise Incorrect("Your function returned, but the statement has not been done.")
        if _pause(runs) < 0.003:
            raise Incorrect("Your function queues again at once, without a pause.")
        if (limit := max(attempt.limits, default=0)) > 500:
            raise Incorrect(
                f"Your lock_timeout was {limit:,} ms. For that long everybody may stand in the "
                "queue behind you; at most half a second was asked for."
            )
        shortest = min((ended - began for began, ended in runs[:-1]), default=0)
        if shortest >= TOO_LONG:
            raise Incorrect(
                f"Each attempt stood in the queue for {shortest:.1f} s or more, and everybody "
                "behind it. Half a second is the limit."
            )
        for failing, why in ((sql, "the column is there already"), *OTHERS):
            with Attempt(pg, patiently, failing) as again:
                tried = _tries_twice(again, failing)
            if tried:
                raise Incorrect(
                    f"When the statement fails for another reason (here {why}), your function "
                    "tries it again. Only LockNotAvailable is worth another try."
                )
            if not again.raised:
                raise Incorrect(
                    f"When the statement fails for another reason (here {why}), your function "
                    "returns as if all were well. Let other errors through."
                )


def _tries_twice(attempt: Attempt, failing: str) -> bool:
    """Wait until the function has ended, or has begun the failing statement a second time."""
    deadline = time.monotonic() + 15
    while attempt.thread.is_alive() and time.monotonic() < deadline:
        if attempt.begun.count(failing) > 1:
            return True
        attempt.thread.join(0.02)
    return attempt.thread.is_alive() or attempt.begun.count(failing) > 1


def _pause(runs: list[tuple[float, float]]) -> float:
    """Return the second shortest time between two runs: a random pause may be short once.

    Without a pause a slow machine makes some; not one that is always long.
    """
    pauses = sorted(after[0] - before[1] for before, after in itertools.pairwise(runs))
    return (pauses[1:] or pauses or [1.0])[0]


def _watch(observer: Any, attempt: Attempt, sql: str) -> None:
    """Return when the session has left the queue TURNS times, or its thread ended.

    Where its pauses look short, it is watched for longer.
    """
    given_up, runs, since = 0, 0, None
    deadline = time.monotonic() + 25
    while attempt.thread.is_alive() and time.monotonic() < deadline:
        if given_up >= TURNS and (given_up >= 3 * TURNS or _pause(attempt.runs_of(sql)) > 0.05):
            return
        (waiting,) = observer.execute(WAITING, [attempt.pid]).fetchone() or (False,)
        before, runs = runs, len(attempt.runs_of(sql))
        ended = runs > before  # also when the next one stands in the queue already
        if since is not None and (ended or not waiting):
            given_up, since = given_up + 1, None
        if waiting and since is None:
            since = time.monotonic()
        if since is not None and time.monotonic() - since > PATIENCE:
            raise Incorrect(
                f"After {PATIENCE} s your statement still stood in the queue, and everybody "
                f"behind it. {_limit_in_words(attempt.limits)} It needs a limit, and a pause "
                "between two attempts."
            )
        time.sleep(0.005)


def _limit_in_words(limits: list[int]) -> str:
    if limits and limits[-1]:
        return f"The session's lock_timeout was {limits[-1]:,} ms."
    return (
        "The session's lock_timeout was 0: no limit. (A number without a unit means milliseconds, "
        "and SET LOCAL ends with its transaction.)"
    )


def _attempted(pg: Place, patiently: Callable[..., object]) -> bool:
    """Whether the function sends its statement at all, when nobody holds a lock."""
    with look(pg) as connection, pg.connect(autocommit=True) as work:
        patiently(work, "CREATE TABLE ex1_attempted ()")
        (there,) = connection.execute("SELECT to_regclass('ex1_attempted')").fetchone() or (None,)
        connection.execute("DROP TABLE IF EXISTS ex1_attempted")
    return there is not None


EXERCISE = Exercise(
    title="Patience",
    minutes=10,
    prompt="Run a statement that gives up its place in the queue and comes back.",
    starter=STARTER,
    solution=SOLUTION,
    check=check,
    hints=[
        "SET lock_timeout first. Which exception comes when the time is over?",
        "A loop: try the statement and return; on psycopg.errors.LockNotAvailable sleep.",
    ],
    wrong=[
        (
            changed(SOLUTION, "time.sleep(random.uniform(0.1, 0.3))", "raise"),
            "raised LockNot",
        ),
        (
            changed(SOLUTION, "time.sleep(random.uniform(0.1, 0.3))", "return"),
            "Your function returned, but",
        ),
        (
            changed(SOLUTION, "time.sleep(random.uniform(0.1, 0.3))", "pass"),
            "without a pause",
        ),
        (
            changed(
                SOLUTION,
                "lock_timeout",
                "statement_timeout",
                "LockNotAvailable",
                "QueryCanceled",
            ),
            "not its whole time",
        ),
        (
            changed(SOLUTION, "psycopg.errors.LockNotAvailable", "Exception"),
            "is there already), your function tries",
        ),
        (
            changed(SOLUTION, "psycopg.errors.LockNotAvailable", "psycopg.OperationalError"),
            "is full), your function tries",
        ),
        (
            changed(
                SOLUTION,
                "connection.execute(sql)",
                "connection.execute(f\"SET lock_timeout = '1500ms'; {sql}\")",
            ),
            "Half a second is the limit",
        ),
        (changed(SOLUTION, "500ms", "900ms"), "lock_timeout was 900 ms"),
        (changed(SOLUTION, "'500ms'", "0.5"), "lock_timeout was 0"),
        (
            changed(
                SOLUTION,
                "psycopg.errors.LockNotAvailable",
                "(psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled)",
            ),
            "somebody cancels it), your function tries",
        ),
        (changed(SOLUTION, "random.uniform(0.1, 0.3)", "60"), "has not come back"),
        (
            changed(
                SOLUTION,
                "    while True:",
                '    connection.execute("""SELECT pg_terminate_backend(pid)\n'
                "        FROM pg_stat_activity WHERE state = 'idle in transaction'\n"
                '        AND datname = current_database()""")\n'
                "    while True:",
            ),
            "ended the session of the one who holds",
        ),
        (
            changed(
                SOLUTION,
                "            return\n        except",
                "            raise SystemExit\n        except",
            ),
            "raised SystemExit",
        ),
        (
            changed(SOLUTION, "while True:", "for _ in range(3):"),
            "gave up for good",
        ),
        (
            changed(
                SOLUTION,
                "            time.sleep(random.uniform(0.1, 0.3))",
                "            time.sleep(random.uniform(0.1, 0.3))\n"
                "        except psycopg.Error:\n            return",
            ),
            "as if all were well",
        ),
    ],
    equal={
        "20af1e64": "how long a pause is short is not said",
        "cfa0b476": "how long a pause is short is not said",
        "6f5c782e": "uniform takes its limits in either order",
        "9bcecd87": "how long a pause is short is not said",
        "e4a352b1": "how long a pause is short is not said",
    },
    praise="Whatever comes into your way, nobody waits for you longer than half a second.",
)
