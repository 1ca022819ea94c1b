"""The learner's entry to the servers.

    from helpers import lab
    pg = lab.postgres("01")   # a fresh, empty database of lesson 01
    pg.url, pg.dsn            # for SQLAlchemy and %sql, and for psycopg
    pg.connect()              # psycopg.Connection
    pg.server                 # .version .engine .restart() .pause() .resume() .kill() .logs()

The set-up call empties the lesson's own database; nothing else does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from helpers.base import paths
from helpers.base.errors import LabError
from helpers.databases import MongoDB, Postgres, Redis

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["LabError", "doctor", "mongodb", "postgres", "redis", "sql", "state_dir"]


def state_dir() -> Path:
    """Return the folder of the servers' data and the kept answers."""
    return paths.state_dir()


def postgres(lesson: str, *, private: bool = False) -> Postgres:
    """Give a lesson a fresh, empty PostgreSQL database.

    `private=True` gives it a server of its own, which it may restart, pause, kill and configure.
    Raises LabError when no server can be had.
    """
    database = Postgres(lesson, private=private)
    database.empty()
    return database


def redis(lesson: str, *, private: bool = False) -> Redis:
    """Give a lesson a fresh, empty Redis database number. See `postgres` for `private`."""
    database = Redis(lesson, private=private)
    database.empty()
    return database


def mongodb(lesson: str, *, private: bool = False) -> MongoDB:
    """Give a lesson a fresh, empty MongoDB database. See `postgres` for `private`."""
    database = MongoDB(lesson, private=private)
    database.empty()
    return database


def doctor() -> DataFrame:
    """Check the lab, starting servers that do not run: a table with what was found."""
    import pandas as pd

    from helpers.doctor import examine

    rows = [(row["what"], row["found"], "yes" if row["ok"] else row["next"]) for row in examine()]
    return pd.DataFrame(rows, columns=["part", "found", "works"]).set_index("part")


def sql(pg: Postgres) -> None:
    """Prepare %sql and %%sql for this database: errors raise, `$` and `{}` stay as written."""
    from helpers import sqlmagic

    sqlmagic.prepare(pg)
