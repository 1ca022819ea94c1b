"""Tests of the migrations in this folder, on a real PostgreSQL.

    DATABASE_URL=postgresql+psycopg://... python -m pytest

They work in a schema of their own, `migrations_under_test`, and refuse to run where it exists.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util import CommandError

HERE = Path(__file__).resolve().parent
SCHEMA = "migrations_under_test"
TABLE = """
    CREATE TABLE users (
        id bigint PRIMARY KEY, email varchar(255) NOT NULL UNIQUE, name varchar(100) NOT NULL,
        logins int NOT NULL DEFAULT 0, created_at timestamptz NOT NULL DEFAULT now()
    );
    INSERT INTO users (id, email, name)
    SELECT id, 'user' || id || '@example.com', 'User ' || id
    FROM (VALUES (-5), (0), (10000000000)) AS odd (id)
    UNION ALL
    SELECT n, 'user' || n || '@example.com', 'User' FROM generate_series(3, 12600, 3) AS n
"""
USERS = 4_203
STATE = """
    SELECT column_name, is_nullable FROM information_schema.columns
    WHERE table_schema = current_schema() AND table_name = 'users'
      AND column_name IN ('verified', 'public_id') ORDER BY 1
"""
DONE = [("public_id", "NO"), ("verified", "NO")]
INDEXES = """
    SELECT indexrelid::int8, indisvalid, indisunique FROM pg_index
    WHERE indexrelid = to_regclass('users_public_id_key')
"""
CONSTRAINTS = "SELECT count(*) FROM pg_constraint WHERE conname = 'users_public_id_present'"
IDS = "SELECT id, public_id FROM users ORDER BY id"
VERSION = "SELECT version_num FROM alembic_version"


class Database:
    """The schema under test: how to reach it, and a copy of this folder to migrate it with."""

    def __init__(self, address: str, folder: Path) -> None:
        self.address, self.folder = address, folder
        plain = sa.make_url(address).set(drivername="postgresql")
        self.dsn = plain.render_as_string(hide_password=False)

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        return psycopg.connect(self.dsn, autocommit=True, **options)

    def ask(self, sql: str) -> list[Any]:
        with self.connect() as connection:
            return connection.execute(sql.encode()).fetchall()

    def do(self, sql: str) -> None:
        with self.connect() as connection:
            connection.execute(sql.encode())

    def config(self, **options: str) -> Config:
        config = Config(str(self.folder / "alembic.ini"))
        config.attributes["url"] = self.address
        for name, value in options.items():
            config.set_main_option(name, value)
        return config

    def upgrade(self, to: str = "head", **options: str) -> None:
        command.upgrade(self.config(**options), to)

    def start(self, to: str = "head") -> subprocess.Popen[str]:
        line = [sys.executable, "-m", "alembic", "upgrade", to]
        own = os.environ | {"DATABASE_URL": self.address}
        return subprocess.Popen(
            line, cwd=self.folder, env=own, stderr=subprocess.PIPE, text=True, bufsize=1
        )

    @contextmanager
    def held(self, sql: str, seconds: float | None = None) -> Iterator[None]:
        """Hold what a statement locks, or sees, for some seconds or to the end of the block."""
        with psycopg.connect(self.dsn) as holder:
            holder.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            holder.execute(sql.encode())
            timer = threading.Timer(seconds or 3600, holder.rollback)
            timer.start()
            try:
                yield
            finally:
                timer.cancel()
                timer.join(0 if seconds is None else 5)
                holder.rollback()


@pytest.fixture(scope="module")
def schema() -> Iterator[str]:
    """Make the schema; give the address of a database in which everything goes into it."""
    address = os.environ.get("DATABASE_URL")
    if not address:
        pytest.skip("DATABASE_URL is not set")
    url = sa.make_url(address)
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        if connection.execute("SELECT to_regnamespace(%s)", [SCHEMA]).fetchone() != (None,):
            pytest.fail(f"There is a schema {SCHEMA} already, and it is not ours.")
        connection.execute(f"CREATE SCHEMA {SCHEMA}".encode())
        try:
            own = url.update_query_dict({"options": f"-csearch_path={SCHEMA}"})
            yield own.render_as_string(hide_password=False)
        finally:
            connection.execute(f"DROP SCHEMA {SCHEMA} CASCADE".encode())


@pytest.fixture
def db(schema: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """Give a fresh table, and a copy of the folder at a path that has a % in it."""
    folder = tmp_path / "100 % ours"
    shutil.copytree(HERE, folder, ignore=shutil.ignore_patterns("test_*", "__pycache__"))
    monkeypatch.chdir(folder)
    database = Database(schema, folder)
    database.do("DROP TABLE IF EXISTS users, alembic_version")
    database.do(TABLE)
    return database


def complete(db: Database) -> None:
    """Assert that everything is done, and nothing else left."""
    assert db.ask(STATE) == DONE
    assert db.ask("SELECT count(*), count(DISTINCT public_id) FROM users") == [(USERS, USERS)]
    assert [row[1:] for row in db.ask(INDEXES)] == [(True, True)]
    assert db.ask(CONSTRAINTS) == [(0,)]
    assert db.ask(VERSION) == [("005",)]


def test_up_down_and_up_again(db: Database) -> None:
    before = db.ask("SELECT id, email, name, logins, created_at FROM users ORDER BY id")
    db.upgrade()
    complete(db)
    command.downgrade(db.config(), "base")
    assert db.ask(STATE) == []
    assert db.ask("SELECT id, email, name, logins, created_at FROM users ORDER BY id") == before
    db.upgrade()
    complete(db)
    db.do("INSERT INTO users (id, email, name) VALUES (2, 'new@example.com', 'New')")
    assert db.ask("SELECT verified, public_id IS NULL FROM users WHERE id = 2") == [(False, False)]


def test_a_second_run_changes_nothing(db: Database) -> None:
    db.upgrade()
    ids, index = db.ask(IDS), db.ask(INDEXES)
    db.upgrade()
    command.stamp(db.config(), "002")
    db.upgrade()
    assert (db.ask(IDS), db.ask(INDEXES)) == (ids, index)
    complete(db)


@pytest.mark.parametrize("to", ["001", "002", "005"])
def test_a_held_lock_is_waited_for(db: Database, to: str) -> None:
    db.upgrade("004" if to == "005" else {"001": "base", "002": "001"}[to])
    index = db.ask(INDEXES)
    with db.held("SELECT * FROM users LIMIT 1", 1.0):
        began = time.monotonic()
        db.upgrade(to)
    assert time.monotonic() - began >= 0.9
    assert db.ask(VERSION) == [(to,)]
    assert db.ask(INDEXES) == index  # not built again


@pytest.mark.parametrize("to", ["001", "005"])
def test_a_lock_held_for_ever_ends_the_patience(db: Database, to: str) -> None:
    if to == "005":
        db.upgrade("004")
    with (
        db.held("SELECT * FROM users LIMIT 1"),
        pytest.raises(CommandError, match=r"held a lock for over 0\.5 s"),
    ):
        db.upgrade(to, patience="0.5")
    assert len(db.ask(STATE)) == (2 if to == "005" else 0)
    db.upgrade()
    complete(db)


def test_nobody_queues_for_long_behind_a_migration(db: Database) -> None:
    """While it waits for a reader, others read; the longest wait is about the lock_timeout."""
    waits = []
    with db.held("SELECT * FROM users LIMIT 1", 1.5), db.connect() as user:
        upgrade = threading.Thread(target=db.upgrade, args=("001",))
        upgrade.start()
        until = time.monotonic() + 1.2
        while time.monotonic() < until:
            began = time.monotonic()
            user.execute("SELECT count(*) FROM users")
            waits.append(time.monotonic() - began)
            time.sleep(0.002)
        upgrade.join()
    assert max(waits) < 1.2
    assert db.ask(VERSION) == [("001",)]


def test_a_held_row_is_passed_by_and_filled_later(db: Database) -> None:
    db.upgrade("002")
    with db.held("SELECT FROM users WHERE id = 3 FOR UPDATE", 1.0):
        upgrade = threading.Thread(target=db.upgrade, args=("003",))
        upgrade.start()
        limit = time.monotonic() + 20
        while db.ask("SELECT count(*) FROM users WHERE public_id IS NULL") != [(1,)]:
            assert time.monotonic() < limit
        upgrade.join()
    assert db.ask("SELECT count(*) FROM users WHERE public_id IS NULL") == [(0,)]


def test_a_row_held_for_ever_ends_the_patience(db: Database) -> None:
    db.upgrade("002")
    with (
        db.held("SELECT FROM users WHERE id = 3 FOR UPDATE"),
        pytest.raises(CommandError, match="held 1 users"),
    ):
        db.upgrade("003", patience="0.3")
    assert db.ask(VERSION) == [("002",)]
    kept = [row for row in db.ask(IDS) if row[1]]
    assert len(kept) == USERS - 1
    db.upgrade()
    assert [row for row in db.ask(IDS) if row[0] != 3] == kept
    complete(db)


def test_batches_are_small_and_committed(db: Database) -> None:
    db.upgrade("003")
    sizes = db.ask("SELECT count(*) FROM users GROUP BY xmin ORDER BY 1 DESC")
    assert sizes == [(2000,), (2000,), (203,)]


def leaves_nothing_that_hurts(db: Database) -> None:
    """Assert that 005 has not been done, and that the row without a public_id can be written."""
    assert db.ask(VERSION) == [("004",)]
    assert db.ask(CONSTRAINTS) == [(0,)]
    db.do("UPDATE users SET logins = logins + 1 WHERE id = 3")
    command.stamp(db.config(), "002")
    db.upgrade()
    complete(db)


@pytest.mark.parametrize("older", [False, True], ids=["clean", "constraint left"])
def test_a_row_without_public_id_is_refused_first(db: Database, older: bool) -> None:
    db.upgrade("004")
    db.do("UPDATE users SET public_id = NULL WHERE id = 3")
    if older:
        db.do(
            "ALTER TABLE users ADD CONSTRAINT users_public_id_present "
            "CHECK (public_id IS NOT NULL) NOT VALID"
        )
    with pytest.raises(CommandError, match="1 users have no public_id"):
        db.upgrade()
    leaves_nothing_that_hurts(db)


def test_a_failed_validate_takes_its_constraint_away(db: Database) -> None:
    """A row without public_id comes after the count, before the constraint."""
    db.upgrade("004")
    db.do("UPDATE users SET public_id = NULL WHERE id = 3")
    empty = db.folder / "migrations/versions/005_contract_public_id.py"
    text = empty.read_text()
    # The count sees nothing the first time, as if the row had come a moment later.
    late = text.replace(
        "            refuse_empty_rows(connection)\n            # NOT", "            # NOT"
    )
    assert late != text
    empty.write_text(late)
    with pytest.raises(CommandError, match="1 users have no public_id"):
        db.upgrade()
    empty.write_text(text)
    leaves_nothing_that_hurts(db)


def test_a_failed_index_is_taken_away(db: Database) -> None:
    db.upgrade("003")
    db.do("UPDATE users SET public_id = (SELECT public_id FROM users WHERE id = 0) WHERE id = 3")
    with pytest.raises(sa.exc.IntegrityError):
        db.upgrade()
    assert db.ask(INDEXES) == []
    db.do("UPDATE users SET public_id = gen_random_uuid() WHERE id = 3")
    db.upgrade()
    complete(db)


def test_an_invalid_index_is_built_anew_and_a_valid_one_kept(db: Database) -> None:
    db.upgrade("003")
    build = "CREATE UNIQUE INDEX CONCURRENTLY users_public_id_key ON users (public_id)"
    with db.held("SELECT 1"), pytest.raises(psycopg.errors.LockNotAvailable), db.connect() as own:
        own.execute("SET lock_timeout = '200ms'")
        own.execute(build)
    [(invalid, valid, _)] = db.ask(INDEXES)
    assert not valid
    db.upgrade("004")
    [(index, valid, _)] = db.ask(INDEXES)
    assert valid
    assert index != invalid
    command.stamp(db.config(), "003")
    db.upgrade()
    assert db.ask(INDEXES) == [(index, True, True)]
    complete(db)


def test_reports_do_not_have_the_index_built_again(db: Database) -> None:
    """Three sessions read the table for 0.4 s, over and over; the index is built once."""
    db.upgrade("003")
    over, seen = threading.Event(), set()

    def report() -> None:
        with psycopg.connect(db.dsn) as own:
            while not over.is_set():
                own.execute("SELECT count(*), pg_sleep(0.4) FROM users")
                own.commit()

    def watch() -> None:
        while not over.is_set():
            seen.update(row[0] for row in db.ask(INDEXES))
            time.sleep(0.01)

    threads = [threading.Thread(target=one) for one in (report, report, report, watch)]
    for thread in threads:
        thread.start()
    try:
        db.upgrade(patience="60")
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert len(seen) == 1
    complete(db)


def test_two_at_once(db: Database) -> None:
    both = [db.start(), db.start()]
    said = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum(text.count("Running upgrade") for text in said) == 5
    complete(db)


def test_another_migration_that_does_not_end(db: Database) -> None:
    text = (db.folder / "migrations/env.py").read_text()
    number = text.partition("ONE_AT_A_TIME = ")[2].split("\n")[0]
    with (
        db.held(f"SELECT pg_advisory_lock({number})"),
        pytest.raises(CommandError, match="Another migration has been running"),
    ):
        db.upgrade(patience="0.2")
    assert db.ask(STATE) == []


HOLD = {  # what keeps a revision in its middle
    "001": "SELECT * FROM users LIMIT 1",
    "002": "SELECT * FROM users LIMIT 1",
    "003": "SELECT FROM users WHERE id = 3 FOR UPDATE",
    "004": "SELECT 1",
    "005": "SELECT * FROM users LIMIT 1",
}


@pytest.mark.parametrize("revision", HOLD)
def test_killed_in_the_middle(db: Database, revision: str) -> None:
    before = f"{int(revision) - 1:03}"
    db.upgrade("base" if before == "000" else before)
    with db.held(HOLD[revision]):
        process = db.start()
        assert process.stderr
        for line in process.stderr:
            if f"-> {revision}" in line:
                break
        time.sleep(0.3)
        process.kill()
        process.communicate()
    # The server may still be at the killed one's last statement: the new start waits for it.
    db.upgrade()
    complete(db)


def test_the_log_says_what_is_done_and_what_is_waited_for(db: Database) -> None:
    said = ""
    with db.held("SELECT * FROM users LIMIT 1"):
        process = db.start("001")
        assert process.stderr
        while "trying again" not in said and (line := process.stderr.readline()):
            said += line
    said += process.communicate(timeout=60)[1]
    assert process.returncode == 0
    assert "Running upgrade  -> 001" in said
    assert "lock timeout; trying again" in said
    assert db.address not in said


def test_a_plain_address_is_psycopg_s(db: Database) -> None:
    db.address = db.address.replace("postgresql+psycopg:", "postgresql:")
    db.upgrade("001")
    assert db.ask(VERSION) == [("001",)]


@pytest.mark.parametrize("address", ["", "localhost", "sqlite://", "mysql+pymysql://a@b/c", "x://"])
def test_a_bad_address_is_refused(db: Database, address: str, monkeypatch: Any) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    db.address = address
    with pytest.raises(CommandError, match="DATABASE_URL"):
        db.upgrade()


def test_a_statement_that_works_too_long_is_ended(db: Database) -> None:
    own = db.folder / "migrations/versions/001_add_verified_column.py"
    own.write_text(
        own.read_text().replace(
            "    op.add", '    op.execute("SELECT pg_sleep(30)")\n    op.add', 1
        )
    )
    with pytest.raises(sa.exc.OperationalError, match="statement timeout"):
        db.upgrade(statement_timeout="300ms")
    assert db.ask(STATE) == []


def test_the_limits_come_back_after_each_revision(db: Database) -> None:
    text = 'revision = "006"\ndown_revision = "005"\n\n\ndef upgrade():\n    {}\n'
    show = "from alembic import op\n" + text.format(
        'op.execute("""CREATE TABLE seen AS SELECT name, setting FROM pg_settings '
        "WHERE name IN ('lock_timeout', 'statement_timeout')\"\"\")"
    )
    (db.folder / "migrations/versions/006_seen.py").write_text(show)
    db.do("DROP TABLE IF EXISTS seen")
    db.upgrade()
    limits = [("lock_timeout", "100"), ("statement_timeout", "10000")]
    assert db.ask("SELECT name, setting FROM seen ORDER BY 1") == limits
    db.do("DROP TABLE seen")


def test_on_paper(db: Database) -> None:
    with redirect_stdout(StringIO()) as text:
        command.upgrade(db.config(), "base:002", sql=True)
    assert "SET lock_timeout = '100ms'; SET statement_timeout = '10s'" in text.getvalue()
    assert text.getvalue().count("COMMIT;") == 2
    for before, revision in (("002", "003"), ("003", "004"), ("004", "005")):
        with redirect_stdout(StringIO()), pytest.raises(CommandError, match=f"Revision {revision}"):
            command.upgrade(db.config(), f"{before}:{revision}", sql=True)


@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "America/St_Johns"])
def test_sessions_in_another_time_zone(db: Database, zone: str) -> None:
    before = db.ask("SELECT id, created_at FROM users ORDER BY id")
    db.address = db.address.replace(
        "options=-csearch_path", f"options=-cTimeZone%3D{zone}+-csearch_path"
    )
    assert zone in db.address
    db.upgrade()
    complete(db)
    assert db.ask("SELECT id, created_at FROM users ORDER BY id") == before
