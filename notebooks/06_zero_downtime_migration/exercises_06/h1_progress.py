"""Exercise 06h-1: how far is it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any

import psycopg

from helpers import sessions
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.looking import look
from helpers.exercises.running import running

STARTER = '''
query = ...  # """SELECT ..."""

ex1.check()
'''
RIGHT = (
    "SELECT pid, relid::regclass::text, 100.0 * heap_blks_scanned / nullif(heap_blks_total, 0)\n"
    "           FROM pg_stat_progress_vacuum WHERE datname = current_database()"
)
PINNED = "SELECT wait_event FROM pg_stat_activity WHERE pid = %s"
NEXT_XID = "SELECT pg_snapshot_xmax(pg_current_snapshot())"
ALL_ENDED = "SELECT pg_snapshot_xmin(pg_current_snapshot()) >= %s"
AT_WORK = "SELECT count(*) > 0 FROM pg_stat_progress_vacuum WHERE pid = %s"


def answer(sql: str) -> str:
    """Return the cell with this query in it."""
    return STARTER.replace('...  # """SELECT ..."""', f'"""{sql}"""')


def _comes(connection: Any, sql: str, parameter: object, answer: object, seconds: float) -> bool:
    """Ask until the answer is this one; say whether it came in time."""
    deadline = time.monotonic() + seconds
    while connection.execute(sql, [parameter]).fetchone() != (answer,):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@contextmanager
def _vacuum_elsewhere(pg: Place, connection: psycopg.Connection[Any]) -> Iterator[int]:
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


def check(pg: Place, query: str) -> None:
    """Stop a VACUUM in the middle of a table, beside one who only looks like it; run the query.

    Another VACUUM is at work, in another database.
    """
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS ex1_users, ex1_other")
        connection.execute("CREATE TABLE ex1_other (id int) WITH (autovacuum_enabled = off)")
        connection.execute(
            "CREATE TABLE ex1_users WITH (autovacuum_enabled = off) AS "
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
        s.reader.run("DECLARE half CURSOR FOR SELECT * FROM ex1_users")
        s.reader.run("MOVE 10000 IN half")
        s.double.run("BEGIN")
        s.double.run("ALTER TABLE ex1_other SET (fillfactor = 90)")
        s.double.run("SELECT 'VACUUM ex1_users'")
        s.vacuum.start("VACUUM (FREEZE) ex1_users")
        pid = s.vacuum.connection.info.backend_pid
        if not _comes(connection, PINNED, pid, "BufferPin", 10):
            raise TimeoutError("VACUUM did not come to the cursor's page within 10 s")
        with running("Your query"):
            rows = connection.execute(query.encode()).fetchall()
        true = connection.execute(RIGHT.encode() + b" AND pid = %s", [pid]).fetchone()
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
        raise Incorrect("Your query misses the VACUUM of ex1_users.")
    if far in found:
        raise Incorrect(
            "Your query also shows a VACUUM of another database. datname says which it is, and "
            "current_database() which is yours."
        )
    if len(rows) > len(found):
        raise Incorrect("Your query shows a VACUUM in several rows.")
    _, table, percent = found[pid]
    if table != "ex1_users":
        raise Incorrect(f"The second column is {table!r}, not the table's name as text.")
    number = isinstance(percent, int | float | type(true[2]))
    if not number or abs(float(percent) - float(true[2])) > 1:
        raise Incorrect(
            f"{true[2]:.0f} percent of the pages were scanned, and your query says {percent}."
        )


EXERCISE = Exercise(
    title="How far is it?",
    minutes=4,
    prompt="Write a query that shows each vacuum at work: pid, table, percent scanned.",
    starter=STARTER,
    solution=answer(RIGHT),
    check=check,
    hints=[
        "pg_stat_progress_vacuum has everything: pid, relid, heap_blks_scanned.",
        "relid::regclass::text is the table; 100.0 * heap_blks_scanned / heap_blks_total the "
        "percentage. nullif(heap_blks_total, 0) helps while it is 0. datname is the database.",
    ],
    wrong=[
        (
            answer("SELECT pid, 'ex1_users', 50 FROM pg_stat_activity WHERE query ~ 'VACUUM ex'"),
            "runs no VACUUM",
        ),
        (
            answer(RIGHT.replace("relid::regclass::text", "relid").replace("_scanned", "_x")),
            "raised UndefinedColumn",
        ),
        (answer(RIGHT.replace("relid::regclass::text", "relid")), "The second column"),
        (answer(RIGHT.replace("_scanned", "_vacuumed")), "and your query says"),
        (answer(RIGHT.replace(" WHERE datname = current_database()", "")), "of another"),
        (
            answer(
                RIGHT.replace("SELECT pid", "SELECT p.pid").replace(
                    "FROM pg_stat_progress_vacuum",
                    "FROM pg_stat_progress_vacuum AS p JOIN pg_locks AS l ON l.pid = p.pid",
                )
            ),
            "in several rows",
        ),
        (
            answer("SELECT pid, relid::regclass::text FROM pg_stat_progress_vacuum"),
            "three columns",
        ),
    ],
    praise="Near the end: wait. At the beginning of a big table: cancel it, or come tomorrow.",
)
