"""What lesson 06 sends home: the final migrations; and that its traffic notices harm."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from drill import Proxy, in_zones
from labs import passes_its_own_tests, run_in, until
from sqlalchemy import Engine, event

from helpers import lab, outline
from helpers.base.paths import NOTEBOOKS

FOLDER = NOTEBOOKS / "06_zero_downtime_migration"
FINAL = FOLDER / "final"
sys.path.insert(0, str(FOLDER))
traffic: Any = __import__("traffic")
COLUMNS = """
    SELECT column_name, is_nullable FROM information_schema.columns
    WHERE table_name = 'users' AND column_name IN ('verified', 'public_id') ORDER BY 1
"""
DONE = [("public_id", "NO"), ("verified", "NO")]


@pytest.fixture
def pg() -> Any:
    database = lab.postgres("96")
    traffic.new_users(database, 3_000)
    return database


def config(pg: Any) -> Config:
    found = Config(str(FINAL / "alembic.ini"))
    found.set_main_option("script_location", str(FINAL / "migrations"))
    found.config_file_name = None  # it would set up the log, also for other tests
    found.attributes["url"] = pg.url
    return found


def ask(pg: Any, sql: str) -> list[Any]:
    with pg.connect(autocommit=True) as connection:
        return connection.execute(sql).fetchall()


def test_up_down_and_up_again(pg: Any) -> None:
    command.upgrade(config(pg), "head")
    assert ask(pg, COLUMNS) == DONE
    command.downgrade(config(pg), "base")
    assert ask(pg, COLUMNS) == []
    command.upgrade(config(pg), "head")
    assert ask(pg, COLUMNS) == DONE
    assert ask(pg, "SELECT count(*), count(DISTINCT public_id) FROM users") == [(3_000, 3_000)]
    assert ask(pg, "SELECT count(*) FROM pg_constraint WHERE conname LIKE '%present'") == [(0,)]


def complete(pg: Any) -> None:
    """Assert that everything is done, and nothing is left over."""
    assert ask(pg, COLUMNS) == DONE
    assert ask(pg, "SELECT version_num FROM alembic_version") == [("005",)]
    assert ask(pg, "SELECT count(*) - count(DISTINCT public_id) FROM users") == [(0,)]
    assert ask(pg, "SELECT count(*) FROM pg_constraint WHERE conname LIKE '%present'") == [(0,)]
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'users_public_id_key'::regclass"
    assert ask(pg, valid) == [(True,)]


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_the_migrations_pass_their_own_tests(pg: Any) -> None:
    passes_its_own_tests(FINAL, "test_migrations.py", DATABASE_URL=pg.url)


def test_they_refuse_a_schema_that_is_not_theirs(pg: Any) -> None:
    with pg.connect(autocommit=True) as connection:
        connection.execute("CREATE SCHEMA migrations_under_test")
        connection.execute("CREATE TABLE migrations_under_test.users (id int)")
    try:
        run = run_in(FINAL, "-m", "pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider",
                     "-p", "no:nbval", "test_migrations.py", DATABASE_URL=pg.url)  # fmt: skip
        assert run.returncode
        assert "is not ours" in run.stdout
        assert ask(pg, "SELECT count(*) FROM migrations_under_test.users") == [(0,)]
    finally:
        with pg.connect(autocommit=True) as connection:
            connection.execute("DROP SCHEMA migrations_under_test CASCADE")


def test_a_long_line(pg: Any) -> None:
    """A round trip of 30 ms."""
    with Proxy(pg.url) as proxy:
        proxy.delay(15)
        command.upgrade(config(proxy), "head")
    complete(pg)


WORDS = {  # what revision 00N sends once, in its middle or at its end
    "001": b"ADD COLUMN verified",
    "002": b"SET DEFAULT",
    "003": b"SKIP LOCKED",
    "004": b"CREATE UNIQUE INDEX",
    "005": b"VALIDATE",
}


@pytest.mark.parametrize("revision", WORDS)
@pytest.mark.parametrize("way", ["before", "answer_to"])
def test_a_line_that_is_cut(pg: Any, revision: str, way: str) -> None:
    """It raises; the next run does the rest, whether the server has got the statement or not."""
    with Proxy(pg.url) as proxy:
        proxy.cut(**{way: WORDS[revision]})  # type: ignore[arg-type]
        with pytest.raises(CommandError, match="was lost"):
            command.upgrade(config(proxy), "head")
        assert proxy.cuts == 1
    if ask(pg, "SELECT to_regclass('alembic_version')") == [(None,)]:
        assert revision == "001"
    else:
        assert ask(pg, "SELECT max(version_num) FROM alembic_version") == [(before(revision),)]
    command.upgrade(config(pg), "head")
    complete(pg)


def before(revision: str) -> str | None:
    return None if revision == "001" else f"{int(revision) - 1:03}"


@pytest.mark.parametrize("number", range(1, 12))
def test_a_lost_commit(pg: Any, number: int) -> None:
    """The server commits, and nobody is told: the next run goes on behind it."""
    with Proxy(pg.url) as proxy:
        commits = 0

        def cut_at_the_commit(*_: Any) -> None:
            nonlocal commits
            commits += 1
            if commits == number:
                proxy.cut(answer_to=b"COMMIT")

        event.listen(Engine, "commit", cut_at_the_commit)
        try:
            with contextlib.suppress(CommandError):
                command.upgrade(config(proxy), "head")
        finally:
            event.remove(Engine, "commit", cut_at_the_commit)
    command.upgrade(config(pg), "head")
    complete(pg)


def test_a_line_that_stalls_and_comes_back(pg: Any) -> None:
    """It waits, and goes on."""
    with Proxy(pg.url) as proxy:
        command.upgrade(config(proxy), "002")
        stalled = threading.Event()

        def stall(*_: Any) -> None:  # just before the first statement is sent
            if not stalled.is_set():
                proxy.stall()
                stalled.set()

        work = threading.Thread(target=command.upgrade, args=(config(proxy), "head"))
        event.listen(Engine, "before_cursor_execute", stall)
        try:
            work.start()
            until(lambda: stalled.is_set() and proxy.held, what="something on the line")
            time.sleep(0.5)
            assert work.is_alive()
            proxy.restore()
            work.join(60)
        finally:
            event.remove(Engine, "before_cursor_execute", stall)
    complete(pg)


def test_a_server_that_is_killed_under_each_revision() -> None:
    """kill -9 of the server: what was not committed is not there, and the next run does it."""
    own = lab.postgres("96", private=True)
    for revision in WORDS:
        traffic.new_users(own, 3_000)
        with Proxy(own.url) as proxy:
            reached = threading.Event()
            word = WORDS[revision].decode()

            def kill(*said: Any, word: str = word, reached: Any = reached) -> None:
                if word in said[2] and not reached.is_set():
                    reached.set()
                    own.server.kill()

            event.listen(Engine, "before_cursor_execute", kill)
            try:
                with pytest.raises(CommandError, match="was lost"):
                    command.upgrade(config(proxy), "head")
            finally:
                event.remove(Engine, "before_cursor_execute", kill)
        assert reached.is_set()
        own.server.restart()
        command.upgrade(config(own), "head")
        complete(own)


def test_in_other_time_zones(pg: Any) -> None:
    for name, url in in_zones(pg.url):
        traffic.new_users(pg, 1_000)
        rows = ask(pg, "SELECT id, created_at FROM users ORDER BY id")
        own = config(pg)
        own.attributes["url"] = url
        command.upgrade(own, "head")
        assert ask(pg, COLUMNS) == DONE, name
        assert ask(pg, "SELECT id, created_at FROM users ORDER BY id") == rows, name


def test_traffic_notices_lost_writes_and_failed_requests(pg: Any) -> None:
    with traffic.Traffic(pg) as app, pg.connect(autocommit=True) as connection:
        lost = connection.execute("DELETE FROM users WHERE id > 3000").rowcount
        lost += connection.execute("UPDATE users SET logins = 0 WHERE logins > 0").rowcount
    assert not app.failed
    assert app.lost >= lost > 0
    with traffic.Traffic(pg, read="SELECT nothing FROM users") as app:
        pass
    assert app.failed
    assert all(error.startswith("UndefinedColumn") for error in app.failed)


def test_traffic_that_cannot_start_says_so(pg: Any) -> None:
    with (
        pytest.raises(RuntimeError, match="did not start"),
        traffic.Traffic(pg, settings="SET no = 1"),
    ):
        pass


def test_one_transaction_differs_from_the_published_one_as_the_lesson_says() -> None:
    before, after = (
        set((FOLDER / "published" / part / "001_add_verified_column.py").read_text().splitlines())
        for part in ("with_id", "one_transaction")
    )
    assert [line.strip() for line in before - after] == ['f"LIMIT {batch_size}"']
    new = 'f"AND id > {offset} AND id <= {offset + batch_size}"'
    assert [line.strip() for line in after - before] == [new]


def test_a_vacuum_is_checked_beside_an_older_transaction(pg: Any) -> None:
    """While one is open, also in another database, VACUUM would not wait where it must be seen."""
    with lab.postgres("95").connect() as older:
        older.execute("CREATE TABLE written (id int)")  # gives the transaction its number
        threading.Timer(0.5, older.rollback).start()
        (file,) = outline.find("06h").exercises
        exercise = outline.load(file)
        exercise.check(pg, exercise.RIGHT)
