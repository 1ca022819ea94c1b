"""The external engine: servers that somebody else runs, named by a URL each.

LAB_POSTGRES_URL, LAB_REDIS_URL and LAB_MONGODB_URL are what the client libraries take, TLS
parameters included. The lab checks a server's version and the account's rights before a lesson
uses it. It never restarts, stops or configures such a server.
"""

from __future__ import annotations

import os
import re
from typing import Any, NoReturn
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

from helpers.base.errors import LabError
from helpers.engines import ready
from helpers.engines.address import MAINTENANCE
from helpers.engines.programs import CONTAINER_TITLES as TITLES
from helpers.engines.server import Server

VARIABLES = {
    "postgresql": "LAB_POSTGRES_URL",
    "redis": "LAB_REDIS_URL",
    "mongodb": "LAB_MONGODB_URL",
}
SCHEMES = {
    "postgresql": ("postgresql", "postgres", "postgresql+psycopg"),
    "redis": ("redis", "rediss"),
    "mongodb": ("mongodb", "mongodb+srv"),
}
EXAMPLES = {
    "postgresql": "postgresql://user:password@host:5432/postgres?sslmode=verify-full",
    "redis": "rediss://user:password@host:6379",
    "mongodb": "mongodb://user:password@host:27017/?authSource=admin&tls=true",
}
#: The builtin collation came with PostgreSQL 17, HEXPIRE with Redis 7.4.
OLDEST = {"postgresql": (17,), "redis": (7, 4), "mongodb": (8, 0)}
ANSWER_SECONDS = 10

#: What Redis's account needs, each with arguments that ACL DRYRUN accepts.
REDIS_COMMANDS = (
    ("SELECT", "1"),
    ("FLUSHDB",),
    ("EVALSHA", "0", "1", "lab:databases"),
    ("SCRIPT", "LOAD", "return 1"),
    ("INFO",),
    ("SCAN", "0"),
    ("SET", "key", "1"),
    ("HEXPIRE", "key", "1", "FIELDS", "1", "a"),
)
#: What MongoDB's account needs on a lesson's database.
MONGODB_ACTIONS = {"find", "insert", "update", "remove", "createCollection", "dropCollection"}
MONGODB_ACTIONS |= {"createIndex", "listCollections"}

#: The URLs that this process has checked already.
_checked: set[str] = set()
#: Those whose PostgreSQL account may not create databases: a lesson has a schema there.
_schemas_only: set[str] = set()


def given(kind: str) -> str:
    """Return the URL that names this kind of server, or ""."""
    return os.environ.get(VARIABLES[kind], "").strip()


class ExternalServer(Server):
    """A server that somebody else runs."""

    engine = "external"

    def __init__(self, kind: str) -> None:
        super().__init__(kind, private=False)
        self.title = TITLES[kind]
        self.parts = self.read(given(kind))
        self.host, self.port = self.parts.hostname or "", self.parts.port or 0
        self.user, self.password = self.parts.username or "", self.parts.password or ""

    def read(self, url: str) -> SplitResult:
        """Take a URL apart. Raises LabError, without the URL, which may hold a password."""
        variable = VARIABLES[self.kind]
        example = f"For example: {EXAMPLES[self.kind]}"
        if not url:
            raise LabError(
                f"{variable} is not set, so there is no external {self.title}. Set it to its URL, "
                f"or leave ENGINE=external out. {example}"
            )
        try:
            parts = urlsplit(url)
            _ = parts.port
        except ValueError as problem:
            raise LabError(f"{variable} cannot be read: {problem}. {example}") from None
        if parts.scheme not in SCHEMES[self.kind]:
            expected = " or ".join(f"{scheme}://" for scheme in SCHEMES[self.kind])
            raise LabError(f"{variable} must begin with {expected}. {example}")
        scheme = "postgresql" if self.kind == "postgresql" else parts.scheme
        return parts._replace(scheme=scheme)

    def url(self, database: str = "") -> str:
        """Return the address of a database; without a name, of the one that the URL names."""
        own = self.parts.path.strip("/")
        # Pairs, as MongoDB has options that may come twice. Redis's db would win over the path.
        options = [pair for pair in parse_qsl(self.parts.query) if pair[0] != "db"]
        has_account = self.kind == "mongodb" and "@" in self.parts.netloc
        if has_account and "authSource" not in dict(options):
            # The account is in the URL's own database, not in the lesson's.
            options.append(("authSource", own or "admin"))
        path = "/" + (database or own or MAINTENANCE[self.kind])
        # quote: libpq does not read a plus sign as a space.
        query = urlencode(options, quote_via=quote)
        return self.parts._replace(path=path, query=query).geturl()

    @property
    def where(self) -> str:
        """The server in words, without its password."""
        return f"{self.title} at {self.host or 'the local socket'} ({VARIABLES[self.kind]})"

    def ensure(self) -> None:
        """Do nothing: the server runs, or its owner starts it."""

    def use(self) -> None:
        """Check the server once in a process: does it answer, is it new enough, may we use it?

        Raises LabError with what is missing.
        """
        if self.parts.geturl() in _checked:
            return
        try:
            version = self.ask(ANSWER_SECONDS)
        except ready.NotReady as problem:
            raise LabError(
                f"{self.where} does not answer: {self.without_password(problem)}\n"
                f"Check the address and the account in {VARIABLES[self.kind]}, and the network."
            ) from None
        oldest = OLDEST[self.kind]
        if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < oldest:
            needed = ".".join(str(part) for part in oldest)
            raise LabError(
                f"{self.where} is version {version}. The course needs {needed} or newer."
            )
        CHECKS[self.kind](self)
        _checked.add(self.parts.geturl())

    @property
    def own_databases(self) -> bool:
        self.use()
        return self.parts.geturl() not in _schemas_only

    def wait_ready(self, seconds: float = ANSWER_SECONDS) -> None:
        """Check that the server answers. Raises LabError when it does not."""
        _checked.discard(self.parts.geturl())
        self.use()

    def without_password(self, problem: Exception) -> str:
        """Return a client's message, in one line and without the password."""
        words = " ".join(str(problem).split())
        return words.replace(self.password, "***") if self.password else words

    def refuse(self, missing: str, remedy: str) -> NoReturn:
        """Say which right the account lacks."""
        raise LabError(f"{self.where}: the account {self.user!r} may not {missing}. {remedy}")

    def _not_ours(self, what: str) -> NoReturn:
        raise LabError(
            f"{self.title} is external here, and may be somebody else's: the lab does not {what}. "
            "To see this part run, use the embedded engine: make lab ENGINE=embedded."
        )

    def restart(self) -> None:
        self._not_ours("restart it")

    def kill(self) -> None:
        self._not_ours("kill it")

    def pause(self) -> None:
        self._not_ours("pause it")

    def resume(self) -> None:
        self._not_ours("resume it")

    def logs(self, lines: int = 20) -> str:
        self._not_ours("read its log")


def private(kind: str) -> NoReturn:
    """Say that an external server cannot be had for one lesson alone."""
    raise LabError(
        f"{TITLES[kind]} is external here ({VARIABLES[kind]}), and the lab does not start a second "
        "one for a single lesson. The stored outputs show what this part does. To run it yourself, "
        "use the embedded engine: make lab ENGINE=embedded."
    )


def check_postgresql(server: ExternalServer) -> None:
    """See whether the account may create databases, or else schemas in its own database."""
    import psycopg

    with psycopg.connect(server.url(), connect_timeout=ANSWER_SECONDS) as connection:
        row = connection.execute(
            "SELECT rolcreatedb OR rolsuper, current_database(),"
            "       has_database_privilege(current_database(), 'CREATE')"
            "  FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
    assert row is not None
    databases, own, schemas = row
    if not databases and not schemas:
        user = server.user
        server.refuse(
            f"create databases, nor schemas in {own!r}",
            f"Its owner can run: ALTER ROLE {user} CREATEDB; "
            f"or: GRANT CREATE ON DATABASE {own} TO {user};",
        )
    if not databases:
        _schemas_only.add(server.parts.geturl())


def check_redis(server: ExternalServer) -> None:
    """See whether the server has several databases and the account may use the commands."""
    import redis

    with redis.Redis.from_url(server.url(), decode_responses=True) as client:
        if client.info("cluster").get("cluster_enabled"):
            raise LabError(
                f"{server.where} is a cluster. A cluster has one database only, and the lessons "
                "need one each. Use a Redis without cluster mode."
            )
        missing = []
        try:
            user = client.acl_whoami()
            for command in REDIS_COMMANDS:
                answer: Any = client.execute_command("ACL", "DRYRUN", user, *command)
                if "no permissions" in str(answer):
                    missing.append(command[0])
        except redis.ResponseError:
            return  # not every account may ask; then a lesson's own error tells
    if missing:
        remedy = "Its owner can add them: ACL SETUSER"
        server.refuse(f"use {', '.join(missing)}", f"{remedy} {user} +{' +'.join(missing)}".lower())


def check_mongodb(server: ExternalServer) -> None:
    """See whether the account may work in the lessons' databases."""
    import pymongo

    with pymongo.MongoClient[dict[str, Any]](server.url()) as client:
        answer = client.admin.command("connectionStatus", showPrivileges=True)["authInfo"]
    privileges = answer.get("authenticatedUserPrivileges", [])
    if not answer["authenticatedUsers"]:
        return  # a server without accounts lets everybody do everything
    if answer["authenticatedUserRoles"] and not privileges:
        return  # a server that tells roles only; then a lesson's own error tells
    allowed: set[str] = set()
    for privilege in privileges:
        resource = privilege["resource"]
        whole = resource.get("collection") == "" and (
            resource.get("db") == "" or re.search(r"lesson_\d\d", resource.get("db", ""))
        )
        if resource.get("anyResource") or whole:
            allowed |= set(privilege["actions"])
    if missing := sorted(MONGODB_ACTIONS - allowed):
        server.refuse(
            f"{', '.join(missing)} in the lessons' databases",
            "Its owner can give it the role readWriteAnyDatabase.",
        )


CHECKS = {"postgresql": check_postgresql, "redis": check_redis, "mongodb": check_mongodb}
