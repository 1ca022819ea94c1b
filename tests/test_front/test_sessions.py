"""Two sessions on a real PostgreSQL: who waits for whom is observed, and nothing is left behind."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from helpers import lab, sessions, show


@pytest.fixture(scope="module")
def pg() -> Any:
    """Return a database with three rows of stock."""
    database = lab.postgres("91")
    with database.connect(autocommit=True) as connection:
        connection.execute("CREATE TABLE stock (id int PRIMARY KEY, amount int)")
        connection.execute("INSERT INTO stock SELECT id, 10 FROM generate_series(1, 3) id")
    return database


@pytest.fixture(autouse=True)
def nothing_is_left(pg: Any) -> Iterator[None]:
    """After each test: no thread of its own, no connection, no transaction, ten of everything."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before
    with pg.connect(autocommit=True) as connection:
        others = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        deadline = time.monotonic() + 10  # a closed connection's backend ends a moment later
        while (left := connection.execute(others).fetchone()[0]) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert left == 0
        connection.execute("UPDATE stock SET amount = 10")


def take(id: int) -> str:
    """Return the statement that takes one item from the stock."""
    return f"UPDATE stock SET amount = amount - 1 WHERE id = {id}"


def test_a_lock_wait_is_named_and_ends_with_the_commit(pg: Any) -> None:
    with sessions.open(pg, "A", "B") as s:
        s.A.run("BEGIN")
        assert s.A.run(take(1)) == "UPDATE 1"
        s.B.start(take(1) + " RETURNING amount")
        assert s.B.wait_blocked() == "A"
        assert s.log[2].ended is None
        s.A.run("COMMIT")
        assert s.B.finish() == [(8,)]
    a, b = s.log[1], s.log[2]
    assert [event.session for event in s.log] == ["A", "A", "B", "A"]
    assert [event.step for event in s.log] == [1, 2, 3, 4]
    assert (a.outcome, a.blocked_by) == ("UPDATE 1", "")
    assert (b.outcome, b.blocked_by) == ("8", "A")
    assert b.started < s.log[3].started < b.ended


def test_two_that_block_are_both_named(pg: Any) -> None:
    with sessions.open(pg, "A", "B", "C") as s:
        for session in (s.A, s.B):
            session.run("BEGIN")
            session.run("LOCK TABLE stock IN SHARE MODE")
        s.C.start(take(1))
        assert s.C.wait_blocked() == "A, B"


def test_the_lock_queue_is_seen_link_by_link(pg: Any) -> None:
    with sessions.open(pg, "reader", "migration", "page") as s:
        s.reader.run("BEGIN")
        assert s.reader.run("SELECT count(*) FROM stock") == [(3,)]
        s.migration.start("ALTER TABLE stock ADD COLUMN note text")
        assert s.migration.wait_blocked() == "reader"
        s.page.start("SELECT amount FROM stock WHERE id = 2")
        assert s.page.wait_blocked() == "migration"
        s.reader.run("COMMIT")
        assert s.migration.finish() == "ALTER TABLE"
        assert s.page.finish() == [(10,)]
        s.migration.run("ALTER TABLE stock DROP COLUMN note")


def test_one_of_two_in_a_deadlock_gets_the_error(pg: Any) -> None:
    with sessions.open(pg, "A", "B") as s:
        for session, id in ((s.A, 1), (s.B, 2)):
            session.run("BEGIN")
            session.run(take(id))
        s.A.start(take(2))
        assert s.A.wait_blocked() == "B"
        # A has waited longer, so its deadlock_timeout is over first, and A is the victim.
        assert s.B.run(take(1)) == "UPDATE 1"
        with pytest.raises(psycopg.errors.DeadlockDetected):
            s.A.finish()
        s.B.run("COMMIT")
        assert s.A.run("COMMIT") == "ROLLBACK"
    assert s.log[4].outcome == "✗ DeadlockDetected (40P01)"
    assert (s.log[4].blocked_by, s.log[5].blocked_by) == ("B", "A")


def test_a_serialization_failure_is_raised_and_logged(pg: Any) -> None:
    with sessions.open(pg, "A", "B") as s:
        for session in (s.A, s.B):
            session.run("BEGIN ISOLATION LEVEL REPEATABLE READ")
            assert session.run("SELECT amount FROM stock WHERE id = 3") == [(10,)]
        s.A.run(take(3))
        s.A.run("COMMIT")
        with pytest.raises(psycopg.errors.SerializationFailure):
            s.B.run(take(3))
    assert s.log[-1].outcome == "✗ SerializationFailure (40001)"


def test_a_lock_timeout_names_who_was_in_the_way(pg: Any) -> None:
    with sessions.open(pg, "A", "B") as s:
        s.A.run("BEGIN")
        s.A.run("LOCK TABLE stock")
        s.B.run("SET lock_timeout = '500ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            s.B.run("SELECT amount FROM stock")
    assert (s.log[-1].outcome, s.log[-1].blocked_by) == ("✗ LockNotAvailable (55P03)", "A")


def test_waiting_for_a_block_that_does_not_come_ends_with_the_statement(pg: Any) -> None:
    began = time.monotonic()
    with sessions.open(pg, "A") as s:
        s.A.start(take(1))
        with pytest.raises(RuntimeError, match=r"'UPDATE stock .*' ended, not blocked: UPDATE 1"):
            s.A.wait_blocked(limit=60)
        assert s.A.finish() == "UPDATE 1"
        s.A.start("SELECT 1 / 0")
        with pytest.raises(RuntimeError, match=r"not blocked: ✗ DivisionByZero \(22012\)"):
            s.A.wait_blocked(limit=60)
        with pytest.raises(psycopg.errors.DivisionByZero):
            s.A.finish()
    assert time.monotonic() - began < 30


def test_a_limit_says_what_was_waited_for_and_what_the_server_says(pg: Any) -> None:
    with sessions.open(pg, "A", "B") as s:
        s.A.start("SELECT pg_sleep(600)")
        with pytest.raises(TimeoutError) as sleeping:
            s.A.wait_blocked(limit=0.2)
        s.B.run("BEGIN")
        s.B.run("SELECT pg_advisory_lock(91)")
        with sessions.open(pg, "C") as other:
            other.C.start("SELECT pg_advisory_lock(91)")
            other.C.wait_blocked()
            with pytest.raises(TimeoutError) as blocked:
                other.C.finish(limit=0.2)
    for words in ("session A", "0.2 s", "to be blocked", "pg_sleep(600)", "active", "PgSleep"):
        assert words in str(sleeping.value)
    assert "nobody" in str(sleeping.value)
    for words in ("session C", "to end", "pg_advisory_lock(91)", "'Lock', 'advisory'", "by B"):
        assert words in str(blocked.value)
    assert "larger limit" in str(blocked.value)


def test_misuse_has_a_message(pg: Any) -> None:
    with sessions.open(pg, "A") as s:
        for wait in (s.A.wait_blocked, s.A.finish):
            with pytest.raises(RuntimeError, match=r"session A runs nothing: call A\.start\(\)"):
                wait()
        s.A.start("SELECT pg_sleep(600)")
        with pytest.raises(RuntimeError, match=r"session A is busy: call A\.finish\(\)"):
            s.A.run("SELECT 1")
        assert len(s.log) == 1


def test_an_exception_in_the_block_leaves_nothing(pg: Any) -> None:
    began = time.monotonic()
    with pytest.raises(ZeroDivisionError), sessions.open(pg, "A", "B", "C") as s:
        s.A.run("BEGIN")
        s.A.run(take(1))
        s.B.start(take(1))
        s.B.wait_blocked()
        s.C.start("SELECT pg_sleep(600)")  # may not have reached the server yet: ended as well
        print(1 / 0)
    assert time.monotonic() - began < 10
    assert [event.outcome for event in s.log[2:]] == ["✗ QueryCanceled (57014)"] * 2
    with pg.connect() as connection:  # the open transaction was rolled back
        assert connection.execute("SELECT amount FROM stock WHERE id = 1").fetchone() == (10,)


def test_a_killed_session_is_reported_and_the_others_go_on(pg: Any) -> None:
    with sessions.open(pg, "A", "B") as s:
        s.A.start("SELECT pg_sleep(600)")
        s.B.run("SELECT pg_terminate_backend(%s)", [s.A.connection.info.backend_pid])
        with pytest.raises(psycopg.errors.AdminShutdown):
            s.A.finish()
        assert s.B.run("SELECT 1") == [(1,)]


def test_sessions_are_found_by_name_and_take_parameters(pg: Any) -> None:
    with sessions.open(pg, "cashier", "stocktaker") as s:
        found = "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND datname = %s"
        assert s.stocktaker.run(found, ["cashier", pg.name]) == [
            (s.cashier.connection.info.backend_pid,)
        ]
        assert s.cashier.run("SELECT 1 WHERE false") == []


def test_the_timeline_reads_the_same_on_every_run(pg: Any) -> None:
    def run() -> str:
        with sessions.open(pg, "A", "B") as s:
            s.A.run("BEGIN")
            s.A.run("UPDATE stock\n   SET amount = 4 WHERE id = 1")
            s.B.start("SELECT amount FROM stock WHERE id = 1 FOR UPDATE")
            s.B.wait_blocked()
            s.A.run("COMMIT")
            s.B.finish()
        return repr(show.timeline(s.log))

    assert run() == run()
    assert run().splitlines() == [
        "Timeline of A and B:",
        "1. A: BEGIN → BEGIN",
        "2. A: UPDATE stock SET amount = 4 WHERE id = 1 → UPDATE 1",
        "3. B: SELECT amount FROM stock WHERE id = 1 FOR UPDATE → waits for A, 4",
        "4. A: COMMIT → COMMIT",
    ]
