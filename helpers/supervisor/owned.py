"""What the service needs of a server that the supervisor owns, be it a process or a container."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from helpers.base.errors import LabError
from helpers.kinds import KINDS
from helpers.kinds.kind import HOST, USER


class OwnedServer(ABC):
    """One server in a folder of its own.

    Whoever changes something holds `lock`; the methods themselves do not take it. `describe` and
    `logs` change nothing and need no lock.
    """

    #: The engine, as the user chooses it.
    engine: str

    def __init__(self, key: str, kind: str, folder: Path) -> None:
        self.key = key
        self.kind = kind
        self.title = KINDS[kind].titles[self.engine]
        self.folder = folder
        self.lock = asyncio.Lock()
        self.port = 0
        self.password = ""
        #: How the server ended, when it ended without having been asked to.
        self.ended: str | None = None

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether the server ran when it was last looked at."""

    @property
    @abstractmethod
    def pid(self) -> int | None:
        """The server's process on this machine, while it runs."""

    def describe(self) -> dict[str, Any]:
        """Return what a client needs to reach the server."""
        return {
            "key": self.key,
            "kind": self.kind,
            "host": HOST,
            "port": self.port,
            "user": USER,
            "password": self.password,
            "pid": self.pid,
            "log": "",
            "ended": self.ended,
            "paused": False,
        }

    @abstractmethod
    async def start(self) -> None:
        """Set the server up if need be, start it and wait until it accepts clients.

        Raises LabError with the server's last words; then nothing half-started stays behind.
        """

    @abstractmethod
    async def note_end(self) -> None:
        """If the server has ended by itself, remember how, and end what it left."""

    @abstractmethod
    async def stop(self) -> None:
        """Stop the server as its manual says, and by force when that takes too long."""

    @abstractmethod
    async def kill(self) -> None:
        """End the server's processes at once, as a crash would."""

    @abstractmethod
    async def pause(self) -> None:
        """Stop every process of the server from running. Raises LabError when it does not run."""

    @abstractmethod
    async def resume(self) -> None:
        """Let a paused server run again."""

    @abstractmethod
    async def remove(self) -> None:
        """End the server and remove its data."""

    @abstractmethod
    def logs(self, lines: int) -> str:
        """Return the last lines of the server's log."""

    def not_running(self) -> LabError:
        """Return the error for what only a running server can do."""
        return LabError(f"{self.title} does not run. Its next use starts it.")
