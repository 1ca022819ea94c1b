"""What the lab knows about a kind of server: one `Kind`, in a file of its own beside this one.

Such a file has a server's program (how the embedded one is set up and run), the question that
tells whether it is ready, the check of an external one, and a lesson's place on it. Nothing in
this folder starts a process or chooses a server.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol

from helpers.base.paths import ROOT

if TYPE_CHECKING:
    from helpers.kinds.place import Place

USER = "lab"
HOST = "127.0.0.1"
#: Below the ports that systems give to outgoing connections, so that a server which is
#: started again usually finds its port free.
PORTS = range(20_000, 32_000)
#: docker-compose.yml writes on each container which lab made it, or "by hand".
LABEL = "database-course.lab"
#: The labels of what `docker compose up` in the course's folder has started.
BY_HAND = (f"{LABEL}=by hand", f"com.docker.compose.project.working_dir={ROOT}")
#: How long an external server may take to answer.
ANSWER_SECONDS = 10

Options = list[tuple[str, str]]


class NotReady(Exception):
    """The server gave no answer yet. The text is the client's own message."""


class Step(NamedTuple):
    """One command to run: its arguments and what `subprocess` needs beside them."""

    argv: list[str]
    options: dict[str, Any]


class Program:
    """One embedded server in one folder. `folder` holds its password, data and log."""

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


class Foreign(Protocol):
    """What the check of an external server needs of it."""

    user: str

    @property
    def where(self) -> str:
        """The server in words, without its password."""

    def url(self, database: str = "") -> str:
        """Return the address of a database, for its client library."""

    def refuse(self, missing: str, remedy: str) -> NoReturn:
        """Say which right the account lacks. Raises LabError."""


def as_they_are(options: Options, account: bool, own: str) -> Options:
    """Leave the options of an external URL as they are."""
    return options


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of server. Everything that differs between servers is a field here."""

    key: str  # in state folders and docker-compose.yml, and for commands: "postgresql"
    short: str  # what a notebook calls its place: "pg"
    title: str
    embedded_title: str = ""  # where the embedded server is another one
    #: The form of the addresses of the lab's own servers.
    form: str
    #: The database that is always there.
    maintenance: str
    #: The variable that names an external server, the URLs that it takes, and an example.
    variable: str
    schemes: tuple[str, ...]
    scheme: str = ""  # what each of them becomes, where clients take one only
    example: str
    oldest: tuple[int, ...]
    #: Docker: the variable that names the image, and the one that has the password.
    image_variable: str
    password_variable: str
    #: How the embedded server's processes begin, and words of their command lines.
    process_names: tuple[str, ...] = ()
    process_words: tuple[str, ...] = ()
    program: type[Program]
    place: type[Place]
    #: Ask for the version over TCP, with the server's own client library: address and seconds,
    #: which limit the wait for the connection and for the answer. Raises NotReady.
    ask: Callable[[str, float], str]
    #: See whether the account may do what lessons do; tell whether a lesson can have a database
    #: of its own, else it has a schema. Raises LabError.
    check: Callable[[Foreign], bool]
    #: Adapt the options of an external URL, given whether it has an account, and its database.
    adapt: Callable[[Options, bool, str], Options] = as_they_are

    @property
    def titles(self) -> dict[str, str]:
        """What this server is called on each engine."""
        embedded = self.embedded_title or self.title
        return {"embedded": embedded, "docker": self.title, "external": self.title}


def missing(title: str) -> str:
    """Say that no wheel of this server exists for this platform, and what to do."""
    wsl = " or WSL 2" if sys.platform == "win32" else ""
    return (
        f"There is no embedded {title} for this platform ({sys.platform}, "
        f"Python {sys.version_info[0]}.{sys.version_info[1]}). The rest of the lab works. "
        f"Use containers{wsl} for this server: make lab ENGINE=docker. "
        "If the environment is only incomplete, `make env` repairs it."
    )
