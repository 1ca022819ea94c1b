"""The external engine: servers that somebody else runs, named by a URL each.

LAB_POSTGRES_URL, LAB_REDIS_URL and LAB_MONGODB_URL are what the client libraries take, TLS
parameters included. The lab checks a server's version and the account's rights before a lesson
uses it. It never restarts, stops or configures such a server.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import NoReturn
from urllib.parse import SplitResult, urlsplit

from helpers.base.errors import LabError
from helpers.base.paths import state_dir
from helpers.engines.choose import given
from helpers.engines.server import Server
from helpers.kinds import KINDS
from helpers.kinds.address import external_url
from helpers.kinds.kind import ANSWER_SECONDS, NotReady

#: The URLs that this process has checked already.
_checked: set[str] = set()
#: Those whose PostgreSQL account may not create databases: a lesson has a schema there.
_schemas_only: set[str] = set()


class ExternalServer(Server):
    """A server that somebody else runs."""

    engine = "external"

    def __init__(self, kind: str) -> None:
        super().__init__(kind, private=False)
        self.about = KINDS[kind]
        self.title = self.about.title
        self.parts = self.read(given(kind))
        self.host, self.port = self.parts.hostname or "", self.parts.port or 0
        self.user, self.password = self.parts.username or "", self.parts.password or ""

    def read(self, url: str) -> SplitResult:
        """Take a URL apart. Raises LabError, without the URL, which may hold a password."""
        variable = self.about.variable
        example = f"For example: {self.about.example}"
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
        if parts.scheme not in self.about.schemes:
            expected = " or ".join(f"{scheme}://" for scheme in self.about.schemes)
            raise LabError(f"{variable} must begin with {expected}. {example}")
        return parts._replace(scheme=self.about.scheme or parts.scheme)

    def url(self, database: str = "") -> str:
        """Return the address of a database; without a name, of the one that the URL names."""
        return external_url(self.kind, self.parts, database)

    def note(self, name: str) -> None:
        with contextlib.suppress(OSError):  # only to find it again
            self.notes.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self.notes / name).touch()

    def noted(self) -> list[str]:
        return [path.name for path in self.notes.glob("*")]

    @property
    def notes(self) -> Path:
        """The folder with the names of what was made on this kind of server."""
        return state_dir() / "external" / self.kind

    @property
    def where(self) -> str:
        """The server in words, without its password."""
        return f"{self.title} at {self.host or 'the local socket'} ({self.about.variable})"

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
        except NotReady as problem:
            raise LabError(
                f"{self.where} does not answer: {self.without_password(problem)}\n"
                f"Check the address and the account in {self.about.variable}, and the network."
            ) from None
        oldest = self.about.oldest
        if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < oldest:
            needed = ".".join(str(part) for part in oldest)
            raise LabError(
                f"{self.where} is version {version}. The course needs {needed} or newer."
            )
        if not self.about.check(self):
            _schemas_only.add(self.parts.geturl())
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
    about = KINDS[kind]
    raise LabError(
        f"{about.title} is external here ({about.variable}), and the lab does not start a second "
        "one for a single lesson. The stored outputs show what this part does. To run it yourself, "
        "use the embedded engine: make lab ENGINE=embedded."
    )
