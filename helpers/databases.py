"""A lesson's place on a server: a PostgreSQL database, a Redis number, a MongoDB database.

Learners get these from `lab` and use the real client libraries with their addresses.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from helpers import engines, paths
from helpers.engines.server import Server
from helpers.errors import LabError

if TYPE_CHECKING:
    from psycopg import Connection
    from pymongo import MongoClient
    from redis import Redis as RedisClient


class Database:
    """A lesson's place on a server. `lesson` is its number, such as "01"."""

    kind: str

    def __init__(self, lesson: str, *, private: bool = False) -> None:
        if not re.fullmatch(r"[0-9]{2}[a-z]?", lesson):
            raise LabError(
                f"{lesson!r} is no lesson. Use its two digits, such as lab.postgres('01')."
            )
        try:
            prefix = f"{paths.namespace()}_" if paths.namespace() else ""
        except ValueError as problem:
            raise LabError(str(problem)) from None
        self.lesson = lesson
        self.name = f"{prefix}lesson_{lesson}"
        self.server: Server = engines.server(self.kind, private_for=lesson if private else None)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} on {self.server!r}>"

    def _account(self, server: Server) -> str:
        return f"{quote(server.user)}:{quote(server.password)}@{server.host}:{server.port}"


class Postgres(Database):
    """A lesson's PostgreSQL database."""

    kind = "postgresql"

    @property
    def dsn(self) -> str:
        """The address for psycopg: a postgresql:// URI with the password in it."""
        return f"postgresql://{self._account(self.server)}/{self.name}"

    @property
    def url(self) -> str:
        """The address for SQLAlchemy and %sql, with psycopg 3 as the driver."""
        return self.dsn.replace("postgresql://", "postgresql+psycopg://", 1)

    def connect(self, **options: Any) -> Connection[Any]:
        """Open a psycopg connection. `options` go to psycopg.connect.

        Raises psycopg.OperationalError when the server does not answer within 10 s.
        """
        import psycopg

        self.server.use()
        return psycopg.connect(self.dsn, **{"connect_timeout": 10, **options})

    def drop(self) -> None:
        """Drop the lesson's database and end its connections."""
        self._rebuild(create=False)

    def empty(self) -> None:
        """Drop the lesson's database, end its connections and create it anew.

        The same collation and time zone on every engine: builtin C.UTF-8, UTC.
        """
        self._rebuild(create=True)

    def _rebuild(self, *, create: bool) -> None:
        import psycopg
        from psycopg import sql

        maintenance = self.dsn.rpartition("/")[0] + "/postgres"
        name = sql.Identifier(self.name)
        with psycopg.connect(maintenance, autocommit=True, connect_timeout=10) as connection:
            drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
            connection.execute("SET client_min_messages = error")
            # Two notebooks of one lesson may do this at the same moment: one after the other.
            connection.execute("SELECT pg_advisory_lock(hashtext(%s))", [self.name])
            connection.execute(drop.format(name))
            if create:
                make = sql.SQL(
                    "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'"
                    " LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"
                )
                connection.execute(make.format(name))
                zone = sql.SQL("ALTER DATABASE {} SET timezone = 'UTC'")
                connection.execute(zone.format(name))


#: Redis lessons get a database number each, recorded in database 0 of the server under this key.
REDIS_ALLOCATION = "lab:databases"
#: One round trip, so that two notebooks cannot be given the same number.
REDIS_ALLOCATE = """
local number = redis.call('HGET', KEYS[1], ARGV[1])
if not number then
    number = redis.call('HLEN', KEYS[1]) + 1
    redis.call('HSET', KEYS[1], ARGV[1], number)
end
return tonumber(number)
"""


class Redis(Database):
    """A lesson's Redis database, with a number of its own."""

    kind = "redis"

    def __init__(self, lesson: str, *, private: bool = False) -> None:
        super().__init__(lesson, private=private)
        self.number = 0
        with self.connect() as client:
            limit = int(client.config_get("databases")["databases"])
            allocate = client.register_script(REDIS_ALLOCATE)
            self.number = int(allocate(keys=[REDIS_ALLOCATION], args=[self.name]))
        if self.number >= limit:
            raise LabError(f"This Redis has {limit} databases and all are given to lessons.")

    @property
    def url(self) -> str:
        """The address for redis-py, with the password and the database number in it."""
        return f"redis://:{quote(self.server.password)}@{self.server.host}:{self.server.port}/{self.number}"

    def connect(self, **options: Any) -> RedisClient:
        """Open a redis-py client. `options` go to redis.Redis.from_url."""
        from redis import Redis as RedisClient

        self.server.use()
        return RedisClient.from_url(self.url, **{"decode_responses": True, **options})

    def empty(self) -> None:
        """Remove the keys of the lesson's own database number."""
        with self.connect() as client:
            client.flushdb()

    drop = empty


class MongoDB(Database):
    """A lesson's MongoDB database."""

    kind = "mongodb"

    @property
    def database(self) -> str:
        """The name of the lesson's database."""
        return self.name

    @property
    def url(self) -> str:
        """The address for pymongo, with the password and the lesson's database in it."""
        return f"mongodb://{self._account(self.server)}/{self.name}?authSource=admin&directConnection=true"

    def connect(self, **options: Any) -> MongoClient[dict[str, Any]]:
        """Open a pymongo client; dates come back aware, in UTC. `options` go to MongoClient."""
        from pymongo import MongoClient

        self.server.use()
        return MongoClient(self.url, **{"tz_aware": True, **options})

    def empty(self) -> None:
        """Drop the lesson's database. MongoDB creates it again at the first insert."""
        with self.connect() as client:
            client.drop_database(self.name)

    drop = empty
