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
NAPTIME = "SELECT setting::int FROM pg_settings WHERE name = 'autovacuum_naptime'"
AUTOMATIC_PID = "SELECT pid FROM pg_stat_progress_vacuum WHERE relid = %s::regclass"
AUTOMATIC = f"SELECT count(*) > 0 FROM ({AUTOMATIC_PID}) AS at_work"
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


@contextmanager
def _autovacuum(connection: psycopg.Connection[Any]) -> Iterator[int]:
    """Let autovacuum be at work; give its pid, or 0 where the server looks too seldom."""
    (pause,) = connection.execute(NAPTIME).fetchone() or (60,)
    if pause > 5:
        yield 0
        return
    connection.execute("DROP TABLE IF EXISTS ex1_auto")
    connection.execute("""
        CREATE TABLE ex1_auto (id int) WITH (
            autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1,
            autovacuum_vacuum_insert_threshold = -1,
            autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)
    """)
    connection.execute("INSERT INTO ex1_auto SELECT generate_series(1, 50000)")
    connection.execute("UPDATE ex1_auto SET id = id + 1")
    try:
        came = _comes(connection, AUTOMATIC, "ex1_auto", True, 20)
        found = came and connection.execute(AUTOMATIC_PID, ["ex1_auto"]).fetchone()
        yield found[0] if found else 0
    finally:  # it gives way to this after a second
        connection.execute("SET lock_timeout = '20s'")
        connection.execute("DROP TABLE ex1_auto")
        connection.execute("SET lock_timeout = '2s'")


def check(pg: Place, query: str) -> None:
    """Stop VACUUMs in the middle and at their beginning, beside one who only looks like it.

    Another VACUUM is at work in another database, and where the server is quick to begin one, an
    autovacuum in this.
    """
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS ex1_users, ex1_other, ex1_one, ex1_first")
        connection.execute("CREATE TABLE ex1_other (id int) WITH (autovacuum_enabled = off)")
        connection.execute(
            "CREATE TABLE ex1_first (id int PRIMARY KEY) WITH (autovacuum_enabled = off)"
        )
        connection.execute(
            "CREATE TABLE ex1_one WITH (autovacuum_enabled = off) AS SELECT 1 AS id, 'One' AS name"
        )
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
        _autovacuum(connection) as automatic,
        sessions.open(pg, "reader", "double", "vacuum", "one", "first", "owner") as s,
    ):
        # A cursor holds its page; VACUUM FREEZE waits there for it.
        # https://www.postgresql.org/docs/17/monitoring-stats.html#WAIT-EVENT-BUFFERPIN-TABLE
        s.reader.run("BEGIN")
        s.reader.run("DECLARE half CURSOR FOR SELECT * FROM ex1_users")
        s.reader.run("MOVE 10000 IN half")
        s.double.run("BEGIN")
        s.double.run("ALTER TABLE ex1_other SET (fillfactor = 90)")
        s.double.run("SELECT 'VACUUM ex1_users'")
        s.reader.run("DECLARE one CURSOR FOR SELECT * FROM ex1_one")
        s.reader.run("FETCH 1 FROM one")
        # Who moves an index holds it, and a VACUUM waits before it has counted any page.
        s.owner.run("BEGIN")
        s.owner.run("ALTER INDEX ex1_first_pkey SET TABLESPACE pg_default")
        s.first.start("VACUUM ex1_first")
        s.first.wait_blocked()
        s.one.start("VACUUM (FREEZE) ex1_one")
        s.vacuum.start("/* at night */ VACUUM (FREEZE) ex1_users")
        pid = s.vacuum.connection.info.backend_pid
        if not _comes(connection, PINNED, pid, "BufferPin", 10):
            raise TimeoutError("VACUUM did not come to the cursor's page within 10 s")
        one = s.one.connection.info.backend_pid
        if not _comes(connection, PINNED, one, "BufferPin", 10):
            raise TimeoutError("VACUUM did not come to the second cursor's page within 10 s")
        with running("Your query"):
            rows = connection.execute(query.encode()).fetchall()
        true, true_one = (
            connection.execute(RIGHT.encode() + b" AND pid = %s", [number]).fetchone()
            for number in (pid, one)
        )
        double = s.double.connection.info.backend_pid
        s.reader.run("ROLLBACK")
        s.owner.run("ROLLBACK")
        s.first.finish()
        s.one.finish()
        s.vacuum.finish()
        s.double.run("ROLLBACK")
    if any(len(row) != 3 for row in rows):
        raise Incorrect("Each row needs three columns: pid, table, percent.")
    if any(isinstance(row[1], int) and not isinstance(row[0], int) for row in rows):
        raise Incorrect("The pid comes first, then the table.")
    if not all(isinstance(row[0], int) for row in rows):
        raise Incorrect("The first column is no pid, which is a number.")
    found = {row[0]: row for row in rows}
    if double in found:
        raise Incorrect(
            "Your query also shows a session that runs no VACUUM. It has one in its text, and "
            "holds SHARE UPDATE EXCLUSIVE on another table."
        )
    if pid not in found or not true or not true_one:
        raise Incorrect(
            "Your query misses the VACUUM of ex1_users. Its text begins with a comment; that of an "
            "autovacuum does not begin with VACUUM either."
        )
    if automatic and automatic not in found:
        raise Incorrect("Your query misses a vacuum that nobody started: autovacuum's.")
    if far in found:
        raise Incorrect(
            "Your query also shows a VACUUM of another database. datname says which it is, and "
            "current_database() which is yours."
        )
    if len(rows) > len(found):
        raise Incorrect("Your query shows a VACUUM in several rows.")
    _judge_row(found[pid], true)
    if one not in found:
        raise Incorrect("Your query misses the VACUUM of ex1_one, a table of a single page.")
    _judge_row(found[one], true_one)


def _judge_row(row: Any, true: Any) -> None:
    _, table, percent = row
    if table != true[1]:
        raise Incorrect(f"The second column is {table!r}, not the table's name as text.")
    number = isinstance(percent, int | float | type(true[2]))
    if not number or not 0 <= percent <= 100 or abs(float(percent) - float(true[2])) > 1:
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
        (
            answer(RIGHT.replace("nullif(heap_blks_total, 0)", "heap_blks_total")),
            "raised DivisionByZero",
        ),
        (
            answer(
                RIGHT.replace("SELECT pid", "SELECT p.pid").replace(
                    "FROM pg_stat_progress_vacuum WHERE datname = current_database()",
                    "FROM pg_stat_progress_vacuum AS p JOIN pg_stat_activity AS a USING (pid) "
                    "WHERE a.datname = current_database() AND a.query ILIKE 'vacuum%'",
                )
            ),
            "begins with a comment",
        ),
        (
            answer(
                RIGHT.replace("SELECT pid", "SELECT p.pid").replace(
                    "FROM pg_stat_progress_vacuum WHERE datname = current_database()",
                    "FROM pg_stat_progress_vacuum AS p JOIN pg_stat_activity AS a USING (pid) "
                    "WHERE a.datname = current_database() AND a.backend_type = 'client backend'",
                )
            ),
            "that nobody started",
        ),
        (
            answer(RIGHT.replace("pid, relid::regclass::text", "relid::regclass::text, pid")),
            "The pid comes first",
        ),
    ],
    equal={"744428bb": "psycopg reads a regclass as the same text"},
    praise="All pages scanned is not the end: the column phase says whether indexes and a second "
    "walk through the table are still to come.",
)
