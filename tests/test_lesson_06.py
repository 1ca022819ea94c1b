"""What lesson 06 sends home: the final migrations; and that its traffic notices harm."""

from __future__ import annotations

import sys
import threading
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import pytest
from alembic import command
from alembic.config import Config

from helpers import lab, outline
from helpers.base.paths import NOTEBOOKS

FOLDER = NOTEBOOKS / "06_zero_downtime_migration"
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
    found = Config(str(FOLDER / "alembic.ini"))
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


def test_what_a_failed_contract_leaves_is_cleared_away(pg: Any) -> None:
    """An invalid index and a constraint from a first attempt do not stop the second."""
    command.upgrade(config(pg), "003")
    same = "UPDATE users SET public_id = (SELECT public_id FROM users WHERE id = 1) WHERE id = 2"
    with pg.connect(autocommit=True) as connection:
        connection.execute(same)
        with pytest.raises(Exception, match="could not create unique index"):
            command.upgrade(config(pg), "004")
        connection.execute("UPDATE users SET public_id = gen_random_uuid() WHERE id = 2")
        connection.execute(
            "ALTER TABLE users ADD CONSTRAINT users_public_id_present "
            "CHECK (public_id IS NOT NULL) NOT VALID"
        )
    command.upgrade(config(pg), "004")
    assert ask(pg, COLUMNS) == DONE
    assert ask(pg, "SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(0,)]


def test_a_held_lock_is_waited_for(pg: Any) -> None:
    """The upgrade gives up, comes back, and is done when the reader has gone."""
    with pg.connect() as reader:
        reader.execute("SELECT * FROM users LIMIT 1")
        gone = threading.Timer(0.8, reader.rollback)
        gone.start()
        command.upgrade(config(pg), "001")
        gone.join()
    assert ask(pg, COLUMNS) == [("verified", "NO")]


def test_offline_sql_sets_the_limit(pg: Any) -> None:
    with redirect_stdout(StringIO()) as sql:
        command.upgrade(config(pg), "base:002", sql=True)
    assert "SET lock_timeout" in sql.getvalue()


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
