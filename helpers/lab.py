"""The learner's entry to the servers.

    from helpers import lab
    pg = lab.postgres("01")   # a fresh, empty database of lesson 01
    pg.url, pg.dsn            # for SQLAlchemy and %sql, and for psycopg
    pg.connect()              # psycopg.Connection
    lab.postgres("01", "copy")   # another one: lesson_01_copy
    pg.server                 # .version .engine .restart() .pause() .resume() .kill() .logs()

The set-up call empties the lesson's own database; nothing else does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from helpers.base import hiding, paths
from helpers.base.errors import LabError
from helpers.engines import start
from helpers.kinds.mongodb import MongoPlace
from helpers.kinds.postgresql import PostgresPlace
from helpers.kinds.redis import RedisPlace

if TYPE_CHECKING:
    from pandas import DataFrame

hiding.refuse(Path.cwd())  # Python finds a learner's redis.py before the package redis

__all__ = ["LabError", "doctor", "mongodb", "postgres", "redis", "sql", "state_dir"]


def state_dir() -> Path:
    """Return the folder of the servers' data and the kept answers."""
    return paths.state_dir()


def postgres(lesson: str, name: str = "", *, private: bool = False) -> PostgresPlace:
    """Give a lesson a fresh, empty PostgreSQL database; `name` tells a second one from it.

    `private=True` gives it a server of its own, which it may restart, pause, kill and configure.
    Raises LabError when no server can be had.
    """
    server = start.server("postgresql", private_for=lesson if private else None)
    place = PostgresPlace(lesson, name, server)
    place.empty()
    return place


def redis(lesson: str, name: str = "", *, private: bool = False) -> RedisPlace:
    """Give a lesson a fresh, empty Redis database number; otherwise as `postgres`."""
    server = start.server("redis", private_for=lesson if private else None)
    place = RedisPlace(lesson, name, server)
    place.empty()
    return place


def mongodb(lesson: str, name: str = "", *, private: bool = False) -> MongoPlace:
    """Give a lesson a fresh, empty MongoDB database; otherwise as `postgres`."""
    server = start.server("mongodb", private_for=lesson if private else None)
    place = MongoPlace(lesson, name, server)
    place.empty()
    return place


def doctor() -> DataFrame:
    """Check the lab, starting servers that do not run: a table with what was found."""
    import pandas as pd

    from helpers.engines.doctor import examine

    rows = [(row["what"], row["found"], "yes" if row["ok"] else row["next"]) for row in examine()]
    return pd.DataFrame(rows, columns=["part", "found", "works"]).set_index("part")


def sql(pg: PostgresPlace) -> None:
    """Prepare %sql and %%sql for this database: errors raise, `$` and `{}` stay as written."""
    from helpers import sqlmagic

    sqlmagic.prepare(pg)
