"""The embedded engine as its clients see it: a connection to the supervisor."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from helpers.engines import ready
from helpers.engines.programs import TITLES
from helpers.engines.server import Server
from helpers.errors import LabError
from helpers.paths import ROOT, is_root, open_to_others, state_dir
from helpers.supervisor import START_SECONDS, living, tail

CALL_SECONDS = 120  # longer than any single wait inside the supervisor


def prepare_state() -> Path:
    """Create the state folder and return it. Raise LabError when that cannot be done."""
    state = state_dir()
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o711)
        # Root's PostgreSQL runs as another user, which must pass through this folder.
        state.chmod(0o711 if is_root() else 0o700)
        with (state / "supervisor.lock").open("ab"):
            pass
    except OSError as problem:
        raise LabError(
            f"The lab cannot write its state to {state}: {problem.strerror}. "
            "Set LAB_STATE to a folder that you can write to."
        ) from None
    if is_root() and not open_to_others(state):
        raise LabError(
            f"PostgreSQL refuses to run as root, and the user it runs as cannot enter {state}. "
            "Set LAB_STATE to a folder that every user can enter, "
            "for example LAB_STATE=/var/lib/database-course/mine."
        )
    return state


class Link:
    """A connection to the supervisor. With `lease`, the servers stay up while it is open."""

    def __init__(self, record: dict[str, Any], *, lease: bool) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.supervisor: int = record["pid"]
        self.socket = socket.create_connection(("127.0.0.1", record["port"]), timeout=10)
        self.lines = self.socket.makefile("rb")
        self.send({"token": record["token"], "lease": lease})
        if self.lines.readline() != b"{}\n":
            raise ConnectionError("no greeting")

    def send(self, message: dict[str, Any]) -> None:
        self.socket.sendall(json.dumps(message).encode() + b"\n")

    def call(
        self, operation: str, seconds: float = CALL_SECONDS, **arguments: Any
    ) -> dict[str, Any]:
        """Ask the supervisor for an operation and return its answer.

        Raises LabError with the supervisor's message, or ConnectionError when it is gone.
        """
        with self.lock:
            self.socket.settimeout(seconds)
            try:
                self.send({"op": operation, **arguments})
                line = self.lines.readline()
            except TimeoutError:
                self.close()
                raise LabError(
                    f"The lab's supervisor (process {self.supervisor}) did not answer within "
                    f"{seconds:g} s. `make down` ends it; then run the cell again."
                ) from None
            if not line:
                raise ConnectionError("the supervisor is gone")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise LabError(answer["error"])
        result: dict[str, Any] = answer["ok"]
        return result

    def close(self) -> None:
        """Give up the connection, and with it the lease."""
        with contextlib.suppress(OSError):
            self.socket.close()


def attach(*, lease: bool = False) -> Link | None:
    """Connect to the supervisor that runs, or return None when none does."""
    record = living(state_dir())
    if record is None:
        return None
    try:
        return Link(record, lease=lease)
    except TimeoutError:
        raise LabError(
            f"The lab's supervisor (process {record['pid']}) does not answer. "
            "`make down` ends it; then try again."
        ) from None
    except OSError:
        return None  # it was just about to end


def start_supervisor() -> Link:
    """Connect to the supervisor, starting one when none runs. Several may try at once."""
    state = prepare_state()
    log = state / "supervisor.log"
    child: subprocess.Popen[bytes] | None = None
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if link := attach(lease=True):
            return link
        if child is not None and child.poll():
            raise LabError(f"The lab's supervisor did not start. {log} ends with:\n{tail(log)}")
        if child is None or child.poll() == 0:  # 0: another one was faster
            with log.open("ab") as output:
                child = subprocess.Popen(
                    [sys.executable, "-m", "helpers.supervisor", str(state)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=state,
                    env={**os.environ, "PYTHONPATH": str(ROOT)},
                    start_new_session=True,
                )
        time.sleep(0.01)
    raise LabError(
        f"The lab's supervisor did not start within {START_SECONDS} s. "
        f"{log} ends with:\n{tail(log)}"
    )


_link: Link | None = None
_link_lock = threading.Lock()


def link() -> Link:
    """Return this process's lease, made at first use. A forked child gets its own."""
    global _link
    with _link_lock:
        if _link is None or _link.pid != os.getpid():
            _link = start_supervisor()
        return _link


def call(operation: str, **arguments: Any) -> dict[str, Any]:
    """Ask the supervisor; when it has died, start another one and ask again."""
    global _link
    try:
        return link().call(operation, **arguments)
    except OSError:
        with _link_lock:
            _link = None
        return link().call(operation, **arguments)


@atexit.register
def leave() -> None:
    """Give this process's lease back. The servers stay for others, and for a short while."""
    global _link
    if _link is not None and _link.pid == os.getpid():
        _link.close()
        _link = None


def leave_now() -> None:
    """Give this process's lease back; the servers stop now unless somebody else uses them."""
    if _link is None:
        return
    with contextlib.suppress(OSError):
        answer = _link.call("leave", seconds=10)
        leave()
        if not answer["keep"]:
            wait_until_gone(10)


def wait_until_gone(seconds: float) -> None:
    """Wait until the supervisor has ended, for `seconds` at most."""
    deadline = time.monotonic() + seconds
    while living(state_dir()) and time.monotonic() < deadline:
        time.sleep(0.02)


class EmbeddedServer(Server):
    """A server process that the supervisor runs."""

    engine = "embedded"

    def __init__(self, kind: str, lesson: str | None = None) -> None:
        super().__init__(kind, private=lesson is not None)
        self.title = TITLES[kind]
        self.key = kind
        if lesson is not None:
            self._take(call("private", kind=kind, lesson=lesson))

    def _take(self, answer: dict[str, Any]) -> None:
        self.key = answer["key"]
        self.host, self.port = answer["host"], answer["port"]
        self.user, self.password = answer["user"], answer["password"]
        self.pid = answer["pid"]
        self.log = Path(answer["log"])

    def ensure(self) -> str | None:
        answer = call("ensure", key=self.key)
        self._take(answer)
        ended = answer["ended"]
        if ended is None:
            return None
        return f"{self.title} had stopped ({ended}). It was started again with its data."

    def _own(self, operation: str) -> None:
        """Do something to the server that other notebooks would notice."""
        if not self.private:
            raise LabError(
                f"This {self.title} is shared by every notebook, so a lesson may not "
                f"{operation} it. Ask for a server of your own: private=True."
            )
        answer = call(operation, key=self.key)
        if answer:
            self._take(answer)

    def restart(self) -> None:
        self._own("restart")
        self.wait_ready()

    def kill(self) -> None:
        self._own("kill")

    def pause(self) -> None:
        self._own("pause")

    def resume(self) -> None:
        self._own("resume")

    def logs(self, lines: int = 20) -> str:
        return tail(self.log, lines)


def start_all() -> list[str]:
    """Start the three servers side by side, on this process's lease.

    Returns one message for each server that could not be started.
    """
    messages: list[str] = call("start_all")["errors"]
    return messages


def version_of(known: dict[str, Any]) -> str:
    """Ask a server of the supervisor's status answer for its version. Raises NotReady."""
    server = EmbeddedServer(known["kind"])
    server._take(known)
    return ready.ask(server, 2)
