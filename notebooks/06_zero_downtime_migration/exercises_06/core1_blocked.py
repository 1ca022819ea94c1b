"""Exercise 06-1: who blocks whom."""

from __future__ import annotations

from typing import Any

from helpers import sessions
from helpers.exercises import Exercise, Incorrect, Place
from helpers.exercises.looking import look
from helpers.exercises.running import running

STARTER = '''
query = ...  # """SELECT ..."""

ex1.check()
'''


def answer(sql: str) -> str:
    """Return the cell with this query in it."""
    return STARTER.replace('...  # """SELECT ..."""', f'"""{sql}"""')


def check(pg: Place, query: str) -> None:
    """Let two idle readers block a change, and that a reader and a writer; one holds a row, too.

    One waits for an advisory lock. Beside them somebody loads a file and somebody sleeps: active
    sessions that wait, but not for a lock.
    """
    with look(pg) as connection:
        connection.execute("DROP TABLE IF EXISTS ex1_users, ex1_orders")
        connection.execute("CREATE TABLE ex1_users (id int PRIMARY KEY, name text)")
        connection.execute("CREATE TABLE ex1_orders (id int PRIMARY KEY)")
        connection.execute("INSERT INTO ex1_orders VALUES (1)")
    with (
        pg.connect() as load,
        load.cursor().copy("COPY ex1_orders FROM STDIN"),
        sessions.open(
            pg, *["idle", "other", "change", "reader", "writer", "clerk", "job", "sleeper"]
        ) as s,
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
        s.other.run("SELECT pg_advisory_xact_lock(6, 1)")
        s.job.start("SELECT pg_advisory_xact_lock(6, 1)")
        s.job.wait_blocked()
        s.sleeper.start("SELECT pg_sleep(600)")  # cancelled at the end of the block
        every = (s.idle, s.other, s.change, s.reader, s.writer, s.clerk, s.job, s.sleeper)
        pids = [one.connection.info.backend_pid for one in every]
        idle, other, change, reader, writer, clerk, job, sleeper = pids
        loading = load.info.backend_pid
        with look(pg) as connection, running("Your query"):
            asking = connection.info.backend_pid  # it is active, and nobody blocks it
            rows = connection.execute(query).fetchall()
        s.idle.run("ROLLBACK")
        s.other.run("ROLLBACK")
        for session in (s.change, s.reader, s.writer, s.clerk, s.job):
            session.finish()
    if not all(_is_pid_and_array(row) for row in rows):
        raise Incorrect("Each row needs two columns: a pid, and the array of those who block it.")
    # A server can have other users, whose sessions are not ours to judge.
    ours = {*pids, loading, asking}
    mine = [row for row in rows if row[0] in ours]
    found = {row[0]: set(row[1]) for row in mine}
    if {idle, other} & found.keys():
        raise Incorrect("Your query also shows a session that nobody blocks: its array is empty.")
    if asking in found:
        raise Incorrect("Your query also shows its own session: active, but nobody blocks it.")
    if loading in found:
        raise Incorrect(
            "Your query also shows a session that loads a file. It is active and waits, but for "
            "its client: nobody blocks it."
        )
    if sleeper in found:
        raise Incorrect(
            "Your query also shows a session that sleeps in pg_sleep. It is active and waits, but "
            "nobody blocks it."
        )
    if len(mine) > len(found):
        raise Incorrect("Your query shows a session in several rows.")
    true = {change: {idle, other}, reader: {change}, writer: {change}, clerk: {other}, job: {other}}
    if missing := true.keys() - found.keys():
        raise Incorrect(
            f"Your query misses {len(missing)} of the five blocked sessions. "
            + _advice(missing, change, {clerk, job})
        )
    if found != true:
        if len(found[change]) == 1:
            raise Incorrect("Two sessions block the ALTER TABLE, and its array has only one.")
        raise Incorrect("The sessions are right, but not who blocks them.")


def _is_pid_and_array(row: tuple[Any, ...]) -> bool:
    if len(row) != 2 or not isinstance(row[0], int) or not isinstance(row[1], list):
        return False
    return all(isinstance(one, int) for one in row[1])


def _advice(missing: set[int], change: int, no_table: set[int]) -> str:
    if missing <= no_table:
        return "Not every lock is a table's: one waits for a row, one for an advisory lock."
    if missing == {change}:
        return "Two sessions block that one, and its array has both."
    return "A SELECT and an ALTER TABLE can be blocked just as a write can."


EXERCISE = Exercise(
    title="Who blocks whom?",
    minutes=4,
    prompt="Write a query that shows each blocked session's pid and who blocks it.",
    starter=STARTER,
    solution=answer(
        "SELECT pid, pg_blocking_pids(pid) FROM pg_stat_activity\n"
        "           WHERE cardinality(pg_blocking_pids(pid)) > 0"
    ),
    check=check,
    hints=[
        "pg_blocking_pids(pid) is the second column. Which sessions does WHERE leave out?",
        "cardinality(array) counts the elements of an array. Nobody blocks: 0.",
    ],
    wrong=[
        (
            answer("SELECT pid, pg_blocking_pids(pid) FROM pg_stat_activity"),
            "its array is empty",
        ),
        (
            answer("SELECT pid, relation FROM pg_locks WHERE NOT granted"),
            "needs two columns",
        ),
        (
            answer(
                "SELECT pid, pg_blocking_pids(pid) FROM pg_stat_activity "
                "WHERE wait_event_type = 'Lock' AND query ILIKE 'delete%'"
            ),
            "misses 4 of the five",
        ),
        (
            answer(
                "SELECT pid, pg_blocking_pids(pid) FROM pg_stat_activity "
                "WHERE wait_event = 'relation'"
            ),
            "Not every lock is a table's",
        ),
        (
            answer(
                "SELECT pid, pg_blocking_pids(pid) FROM pg_stat_activity "
                "WHERE state = 'active' AND wait_event IS NOT NULL"
            ),
            "that loads a file",
        ),
        (
            answer(
                "SELECT w.pid, array_agg(h.pid) FROM pg_locks AS w JOIN pg_locks AS h "
                "ON h.pid <> w.pid "
                "AND (h.relation = w.relation OR h.transactionid = w.transactionid "
                "OR h.locktype = 'advisory' AND h.objid = w.objid) "
                "WHERE NOT w.granted AND h.granted GROUP BY w.pid"
            ),
            "but not who blocks them",
        ),
        (
            answer(
                "SELECT pid, pg_blocking_pids(pid) FROM pg_stat_activity WHERE state = 'active'"
            ),
            "its own session",
        ),
        (
            answer(
                "SELECT pid, (pg_blocking_pids(pid))[1:1] FROM pg_stat_activity "
                "WHERE cardinality(pg_blocking_pids(pid)) > 0"
            ),
            "has only one",
        ),
        (
            answer(
                "SELECT pid, pg_blocking_pids(pid) FROM pg_stat_activity "
                "WHERE state = 'active' AND wait_event_type <> 'Client'"
            ),
            "that sleeps",
        ),
        (
            answer(
                "SELECT pid, pg_blocking_pids(pid) FROM pg_stat_activity "
                "WHERE cardinality(pg_blocking_pids(pid)) = 1"
            ),
            "Two sessions block that one",
        ),
        (
            answer(
                "SELECT a.pid, pg_blocking_pids(a.pid) FROM pg_stat_activity AS a "
                "JOIN pg_locks AS l ON l.pid = a.pid "
                "WHERE cardinality(pg_blocking_pids(a.pid)) > 0"
            ),
            "in several rows",
        ),
    ],
    right=[
        answer(
            "SELECT pid, pg_blocking_pids(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        ),
        answer("SELECT DISTINCT pid, pg_blocking_pids(pid) FROM pg_locks WHERE NOT granted"),
    ],
    praise="Keep this query at hand. It is the first one to run when everything hangs.",
)
