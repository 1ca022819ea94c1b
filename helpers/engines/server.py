"""The interface that every engine offers for a server: what a lesson may rely on."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod

from helpers.base.errors import LabError
from helpers.kinds import KINDS
from helpers.kinds.kind import NotReady

#: Processes that this program has already had an answer from: asking again costs 10 ms.
_answered: set[int | None] = set()


class Server(ABC):
    """One running server. `host`, `port`, `user` and `password` are for its clients."""

    engine: str
    title: str
    host: str
    port: int
    user: str
    password: str
    pid: int | None = None

    def __init__(self, kind: str, *, private: bool) -> None:
        self.kind = kind
        self.private = private

    def __repr__(self) -> str:
        own = "a server of its own" if self.private else "shared"
        return f"<{self.title}, {self.engine} engine, {own}>"

    def use(self) -> None:
        """Start the server when it does not run, wait until it answers, say so if it had died.

        Raises LabError when it cannot be started or does not answer.
        """
        if notice := self.ensure():
            print(notice)
        if self.pid is None or self.pid not in _answered:
            self.wait_ready()
            _answered.add(self.pid)

    @property
    def own_databases(self) -> bool:
        """Whether a lesson can have a PostgreSQL database of its own; else it has a schema."""
        return True

    @property
    def version(self) -> str:
        """The version that the server reports to its client."""
        return self.ask()

    def ask(self, seconds: float = 5) -> str:
        """Ask the server for its version with a real client query. Raises NotReady."""
        return KINDS[self.kind].ask(self.url(), seconds)

    def wait_ready(self, seconds: float = 30) -> None:
        """Wait until a real client query is answered.

        Raises LabError after `seconds`, with the server's last log lines.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.ask(min(5.0, max(0.2, deadline - time.monotonic())))
                return
            except NotReady as problem:
                late = time.monotonic() >= deadline
                if late or not self.runs():
                    what = f"did not answer within {seconds:g} s" if late else "has stopped"
                    raise LabError(
                        f"{self.title} {what} ({type(problem.__cause__ or problem).__name__}). "
                        f"Its log ends with:\n{self.logs()}\n{self.advice()}"
                    ) from None
                time.sleep(0.01)

    @abstractmethod
    def url(self, database: str = "") -> str:
        """Return the address of a database, for its client library.

        Without a name: of the database that is always there.
        """

    def note(self, name: str) -> None:  # noqa: B027  # the lab's own account may list everything
        """Remember that something of this name was made, where the server may not list it."""

    def noted(self) -> list[str]:
        """Return the names that were remembered."""
        return []

    @abstractmethod
    def ensure(self) -> str | None:
        """Start the server when it does not run. Return a line about it when it had died."""

    def runs(self) -> bool:
        """Tell whether the server is running, as far as the engine knows."""
        return True

    def advice(self) -> str:
        """Return the next thing to try when the server does not answer."""
        return "If it is paused, .resume() it. Else run the cell again, or `make doctor`."

    @abstractmethod
    def restart(self) -> None:
        """Stop the server cleanly, start it on the same address and wait until it answers."""

    @abstractmethod
    def kill(self) -> None:
        """End every process of the server at once, as a crash would."""

    @abstractmethod
    def pause(self) -> None:
        """Stop every process of the server from running; its clients wait."""

    @abstractmethod
    def resume(self) -> None:
        """Let a paused server run again."""

    @abstractmethod
    def logs(self, lines: int = 20) -> str:
        """Return the last lines of the server's log."""
