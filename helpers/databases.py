"""A lesson's place on a server: a PostgreSQL database, a Redis number, a MongoDB database.

Learners get these from `lab` and use the real client libraries with their addresses.
"""

from __future__ import annotations

import re
import string
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from helpers import engines
from helpers.base import paths
from helpers.base.errors import LabError
from helpers.engines.server import Server

if TYPE_CHECKING:
    from psycopg import Connection
    from pymongo import MongoClient
    from redis import Redis as RedisClient


class Database(ABC):
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

    @property
    def url(self) -> str:
        """The address for the client library, with the password in it."""
        return self.server.url(self.name)

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names on the server, of which the lesson's are some."""

    @abstractmethod
    def drop(self) -> None:
        """Remove what the lesson has here."""

    def release(self) -> None:
        """Remove what the lesson has here, for good: nobody uses it any more."""
        self.drop()

    def places(self) -> list[str]:
        """Return which of the lesson's places are on the server: its own, and its sections'.

        Named like lessons: ["01", "01a"].
        """
        found = [name for name in self.names() if re.fullmatch(f"{self.name}[a-z]?", name)]
        return sorted(self.lesson + name.removeprefix(self.name) for name in found)


#: For the extensions that lessons use, where they have schemas instead of databases.
SHARED_SCHEMA = "lessons_shared"

#: Which sessions hold locks in the current schema: on its tables, or on itself, as for a table
#: that nobody else can see yet. https://www.postgresql.org/docs/17/view-pg-locks.html
USERS_OF_THE_SCHEMA = """
    SELECT pid
    FROM pg_locks
    JOIN pg_namespace n ON n.nspname = current_schema()
    LEFT JOIN pg_class c ON c.oid = relation
    WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (c.relnamespace = n.oid OR classid = 'pg_namespace'::regclass AND objid = n.oid)
"""


class Postgres(Database):
    """A lesson's PostgreSQL database."""

    kind = "postgresql"

    @property
    def dsn(self) -> str:
        """The address for psycopg: a postgresql:// URI with the password in it."""
        if self.server.own_databases:
            return self.server.url(self.name)
        # The lesson's schema in the URL's own database, and one for what lessons share.
        options = f"-csearch_path={self.name},{SHARED_SCHEMA} -ctimezone=UTC"
        own = self.server.url()
        # %20: libpq does not read a plus sign as a space.
        return own + ("&" if "?" in own else "?") + urlencode({"options": options}, quote_via=quote)

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

    def names(self) -> list[str]:
        """Return the names of the databases, or of the schemas where lessons have those."""
        import psycopg

        what = "SELECT nspname FROM pg_namespace"
        if self.server.own_databases:
            what = "SELECT datname FROM pg_database"
        with psycopg.connect(self.server.url(), connect_timeout=10) as connection:
            return [name for (name,) in connection.execute(what)]

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

        name = sql.Identifier(self.name)
        with psycopg.connect(self.server.url(), autocommit=True, connect_timeout=10) as connection:
            connection.execute("SET client_min_messages = error")
            # Two notebooks of one lesson may do this at the same moment: one after the other.
            connection.execute("SELECT pg_advisory_lock(hashtext(%s))", [self.name])
            if not self.server.own_databases:
                self._rebuild_schema(connection, create=create)
                return
            try:
                connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
            except psycopg.errors.InsufficientPrivilege:
                raise LabError(
                    f"The database {self.name} belongs to another account of this server. Set "
                    "LAB_NAMESPACE to a name of your own: it comes first in your databases' names."
                ) from None
            if create:
                make = sql.SQL(
                    "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'"
                    " LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"
                )
                connection.execute(make.format(name))
                zone = sql.SQL("ALTER DATABASE {} SET timezone = 'UTC'")
                connection.execute(zone.format(name))

    def _rebuild_schema(self, connection: Connection[Any], *, create: bool) -> None:
        """Do the same with a schema, where the account may not create databases."""
        from psycopg import sql

        name = sql.Identifier(self.name)
        # A connection that an earlier run left over would keep the schema locked.
        connection.execute(sql.SQL("SET search_path TO {}").format(name))
        connection.execute(
            f"SELECT pg_terminate_backend(pid) FROM ({USERS_OF_THE_SCHEMA})"
            " WHERE pid <> pg_backend_pid()"
        )
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(name))
        if create:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(name))
            shared = sql.Identifier(SHARED_SCHEMA)
            connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(shared))
            # A database holds an extension once. In a lesson's schema, others would not find it.
            extension = sql.SQL("CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA {}")
            connection.execute(extension.format(shared))


#: Redis lessons get a database number each, recorded in database 0 of the server under this key.
REDIS_ALLOCATION = "lab:databases"
#: One round trip, so that two notebooks cannot be given the same number.
REDIS_ALLOCATE = """
local number = redis.call('HGET', KEYS[1], ARGV[1])
if number then return tonumber(number) end
local given = {}
for _, value in ipairs(redis.call('HVALS', KEYS[1])) do given[tonumber(value)] = true end
number = 1
while true do
    -- Somebody else may have data here: only an empty database is taken.
    local chosen = redis.pcall('SELECT', number)
    if chosen.err then return 0 end
    if not given[number] and redis.call('DBSIZE') == 0 then break end
    number = number + 1
end
redis.call('SELECT', 0)
redis.call('HSET', KEYS[1], ARGV[1], number)
return number
"""


class Redis(Database):
    """A lesson's Redis database, with a number of its own."""

    kind = "redis"

    def __init__(self, lesson: str, *, private: bool = False) -> None:
        super().__init__(lesson, private=private)
        with self._open("0") as client:
            allocate = client.register_script(REDIS_ALLOCATE)
            self.number = int(allocate(keys=[REDIS_ALLOCATION], args=[self.name]))
        if not self.number:
            raise LabError(
                "Every database of this Redis is given to a lesson or holds somebody's keys. "
                "Its configuration sets how many there are: databases 100."
            )

    @property
    def url(self) -> str:
        """The address for redis-py, with the password and the database number in it."""
        return self.server.url(str(self.number))

    def connect(self, **options: Any) -> RedisClient:
        """Open a redis-py client. `options` go to redis.Redis.from_url."""
        return self._open(str(self.number), **options)

    def _open(self, number: str, **options: Any) -> RedisClient:
        from redis import Redis as RedisClient

        self.server.use()
        url = self.server.url(number)
        return RedisClient.from_url(url, **{"decode_responses": True, **options})

    def empty(self) -> None:
        """Remove the keys of the lesson's own database number."""
        with self.connect() as client:
            client.flushdb()

    drop = empty

    def names(self) -> list[str]:
        """Return the names that have been given a database number."""
        with self._open("0") as client:
            return [str(name) for name in client.hkeys(REDIS_ALLOCATION)]

    def release(self) -> None:
        """Empty the database and give its number back."""
        self.empty()
        with self._open("0") as client:
            client.hdel(REDIS_ALLOCATION, self.name)


MONGODB_UNAUTHORIZED = 13


class MongoDB(Database):
    """A lesson's MongoDB database."""

    kind = "mongodb"

    @property
    def database(self) -> str:
        """The name of the lesson's database."""
        return self.name

    def connect(self, **options: Any) -> MongoClient[dict[str, Any]]:
        """Open a pymongo client; dates come back aware, in UTC. `options` go to MongoClient."""
        from pymongo import MongoClient

        self.server.use()
        return MongoClient(self.url, **{"tz_aware": True, **options})

    def empty(self) -> None:
        """Drop the lesson's database. MongoDB creates it again at the first insert."""
        from pymongo.errors import OperationFailure

        with self.connect() as client:
            try:
                client.drop_database(self.name)
            except OperationFailure as problem:
                if problem.code != MONGODB_UNAUTHORIZED:
                    raise
                # The role readWrite may drop collections, but not their database.
                for name in client[self.name].list_collection_names():
                    if not name.startswith("system."):
                        client[self.name].drop_collection(name)

    drop = empty

    def names(self) -> list[str]:
        """Return the names that the lesson may have given.

        To list what there is takes a right that not every account has; to drop what is not
        there does no harm.
        """
        return [self.name, *(self.name + letter for letter in string.ascii_lowercase)]


#: Where a lesson may have something.
DATABASES: tuple[type[Database], ...] = (Postgres, Redis, MongoDB)
