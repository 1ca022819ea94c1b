"""The servers that the supervisor runs, as its clients see them: processes and containers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers.base.errors import LabError
from helpers.base.processes import disk_note, tail
from helpers.engines import choose
from helpers.engines.link import call, link
from helpers.engines.server import Server
from helpers.kinds import KINDS
from helpers.kinds.address import Address
from helpers.kinds.kind import NotReady


class SupervisedServer(Server):
    """A server process that the supervisor runs."""

    engine = "embedded"

    def __init__(self, kind: str, lesson: str | None = None) -> None:
        super().__init__(kind, private=lesson is not None)
        self.title = KINDS[kind].titles[self.engine]
        self.key = kind
        if lesson is not None:
            self.take(call("private", kind=kind, lesson=lesson))

    def take(self, answer: dict[str, Any]) -> None:
        """Take over what the supervisor tells of the server."""
        self.key = answer["key"]
        self.host, self.port = answer["host"], answer["port"]
        self.user, self.password = answer["user"], answer["password"]
        self.pid = answer["pid"]
        self.log = Path(answer["log"])

    def url(self, database: str = "") -> str:
        address = Address(self.kind, self.port, self.password, self.host, self.user)
        return address.url(database)

    def ensure(self) -> str | None:
        before = self.pid
        answer = call("ensure", key=self.key)
        self.take(answer)
        if before in (None, self.pid):
            return None
        how = f" ({answer['ended']})" if answer["ended"] else ""
        return f"{self.title} had stopped{how}. It was started again with its data."

    def _must_be_own(self, operation: str) -> None:
        """Raise LabError for what other notebooks would notice."""
        if not self.private:
            raise LabError(
                f"This {self.title} is shared by every notebook, so a lesson may not "
                f"{operation} it. Ask for a server of your own: private=True."
            )

    def _signal(self, signal: str) -> None:
        self._must_be_own(signal)
        call("signal", key=self.key, signal=signal)

    def restart(self) -> None:
        self._must_be_own("restart")
        self.take(call("restart", key=self.key))
        self.wait_ready()

    def kill(self) -> None:
        self._signal("kill")

    def pause(self) -> None:
        self._signal("pause")

    def resume(self) -> None:
        self._signal("resume")

    def runs(self) -> bool:
        return any(known["key"] == self.key for known in call("status")["servers"])

    def advice(self) -> str:
        return disk_note(self.log.parent, self.logs()) or super().advice()

    def logs(self, lines: int = 20) -> str:
        return tail(self.log, lines)


def start_all(kinds: Sequence[str] = tuple(KINDS)) -> list[str]:
    """Start the servers side by side, on this process's lease.

    Returns one message for each server that could not be started.
    """
    if not kinds:
        return []
    link(*(["--start-all"] if len(kinds) == len(KINDS) else []))
    messages: list[str] = call("start_all", kinds=list(kinds))["errors"]
    return messages


class ContainerServer(SupervisedServer):
    """A container that the supervisor runs."""

    engine = "docker"

    def take(self, answer: dict[str, Any]) -> None:
        super().take(answer)
        self.paused = answer["paused"]

    def ensure(self) -> str | None:
        """For a moment, Docker takes a container for running whose server was killed: ask it."""
        notice = super().ensure()
        deadline = time.monotonic() + 3
        while notice is None and not self.paused and time.monotonic() < deadline:
            try:
                self.ask(1)
                break
            except NotReady:
                time.sleep(0.05)
                notice = super().ensure()
        return notice

    def advice(self) -> str:
        return Server.advice(self)

    def logs(self, lines: int = 20) -> str:
        return str(call("logs", key=self.key, lines=lines)["text"])


def make(kind: str, lesson: str | None = None) -> SupervisedServer:
    """Return a server of the engine that was chosen; with `lesson`, one of that lesson's own."""
    return (ContainerServer if choose.engine() == "docker" else SupervisedServer)(kind, lesson)


def version_of(known: dict[str, Any]) -> str:
    """Ask a server of the supervisor's status answer for its version. Raises NotReady."""
    server = make(known["kind"])
    server.take(known)
    return server.ask(2)
