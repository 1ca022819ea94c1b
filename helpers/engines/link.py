"""The kernel's end of the socket to the supervisor: finding it, starting it, asking it."""

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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from helpers.base.errors import LabError
from helpers.base.files import private_opener
from helpers.base.paths import ROOT, is_root, open_to_others, state_dir
from helpers.base.processes import all_end, disk_note, supervisors, tail
from helpers.base.record import LOCK, START_SECONDS, Operation, living
from helpers.engines import choose

CALL_SECONDS = 120  # longer than any single wait inside the supervisor


def prepare_state() -> Path:
    """Create the state folder and return it. Raise LabError when that cannot be done."""
    state = choose.folder()
    elsewhere = "for example LAB_STATE=/var/lib/database-course/mine"
    try:
        for part in reversed([state, *state.parents]):
            if not part.exists():
                part.mkdir(exist_ok=True)
                # Root's PostgreSQL runs as another user, which must pass through.
                part.chmod(0o711 if is_root() else 0o700)
        if hasattr(os, "geteuid") and (owner := state.stat().st_uid) != os.geteuid():
            raise LabError(
                f"The lab's state folder {state} belongs to another user (number {owner}), and so "
                f"do the servers' data. Run the lab as that user, or set LAB_STATE, {elsewhere}."
            )
        state.chmod(0o711 if is_root() else 0o700)
        with open(state / LOCK, "ab", opener=private_opener):
            pass
    except OSError as problem:
        raise LabError(
            f"The lab cannot write its state to {state}: {problem.strerror}. "
            "Set LAB_STATE to a folder that you can write to."
        ) from None
    if is_root() and state == state_dir() and not open_to_others(state):
        raise LabError(
            f"PostgreSQL refuses to run as root, and the user it runs as cannot enter {state}. "
            f"Set LAB_STATE to a folder that every user can enter, {elsewhere}."
        )
    return state


def is_stopped(pid: int) -> bool:
    """Tell whether a process was stopped with a signal: it will not answer."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False


class Link:
    """A connection to the supervisor. With `lease`, the servers stay up while it is open."""

    def __init__(self, record: dict[str, Any], *, lease: bool) -> None:
        self.lock = threading.Lock()
        self.supervisor: int = record["pid"]
        self.socket = socket.create_connection(("127.0.0.1", record["port"]), timeout=1)
        self.lines = self.socket.makefile("rb")
        self.send({"token": record["token"], "lease": lease})
        if self.receive(10) != b"{}\n":
            raise ConnectionError("no greeting")

    def receive(self, seconds: float) -> bytes:
        """Wait for a line. Raise LabError after `seconds`, or as soon as waiting is in vain."""
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(TimeoutError):  # the socket's, each second
                self.socket.recv(1, socket.MSG_PEEK)
                return self.lines.readline()
            if time.monotonic() > deadline or is_stopped(self.supervisor):
                self.close()
                raise LabError(
                    f"The lab's supervisor (process {self.supervisor}) does not answer. "
                    "`make down` ends it; then try again. Your data stays."
                )

    def send(self, message: Mapping[str, Any]) -> None:
        self.socket.sendall(json.dumps(message).encode() + b"\n")

    def call(
        self, operation: Operation, seconds: float = CALL_SECONDS, **arguments: Any
    ) -> dict[str, Any]:
        """Ask the supervisor for an operation and return its answer.

        Raises LabError with the supervisor's message, or ConnectionError when it is gone.
        """
        with self.lock:
            self.send({"op": operation, **arguments})
            line = self.receive(seconds)
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
            self.socket.shutdown(socket.SHUT_RDWR)
        self.lines.close()  # the socket stays open until both are closed
        self.socket.close()


def attach(*, lease: bool = False) -> Link | None:
    """Connect to the supervisor that runs, or return None when none does."""
    record = living(choose.folder())
    if record is None:
        return None
    try:
        return Link(record, lease=lease)
    except (KeyError, OSError):
        return None  # no record of ours, or the supervisor was just about to end


def start_supervisor(*options: str) -> Link:
    """Connect to the supervisor, starting one when none runs. Several may try at once."""
    state = prepare_state()
    if state != state_dir():
        options = ("--docker", *options)
    log = state / "supervisor.log"
    child: subprocess.Popen[bytes] | None = None
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if link := attach(lease=True):
            return link
        if child is not None and child.poll():
            break
        if child is None or child.poll() == 0:  # 0: another one was faster
            with open(log, "ab", opener=private_opener) as output:
                child = subprocess.Popen(
                    [sys.executable, "-m", "helpers.supervisor", *options, str(state)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=state,
                    env={**os.environ, "PYTHONPATH": str(ROOT)},
                    start_new_session=True,
                    # On Windows, a console of its own: Ctrl-C does not reach it.
                    creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                )
        time.sleep(0.01)
    words = tail(log)
    next_step = disk_note(state, words) or "Next: `make down`, then try again."
    raise LabError(f"The lab's supervisor did not start. {log} ends with:\n{words}\n{next_step}")


_link: Link | None = None
_link_lock = threading.Lock()


def _forget_link() -> None:
    """In a forked child: let go of the parent's lease, or it would outlive the parent."""
    global _link, _link_lock
    if _link is not None:
        os.close(_link.socket.detach())
    _link, _link_lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_link)


def link(*options: str) -> Link:
    """Return this process's lease, made at first use, with `options` for a new supervisor."""
    global _link
    with _link_lock:
        if _link is None:
            _link = start_supervisor(*options)
        return _link


def call(operation: Operation, **arguments: Any) -> dict[str, Any]:
    """Ask the supervisor; when it has died, start another one and ask again."""
    global _link
    for _ in range(3):
        used = link()
        try:
            return used.call(operation, **arguments)
        except (OSError, ValueError):  # ValueError: another thread closed it
            with _link_lock:
                if _link is used:
                    _link = None
    raise LabError("The lab's supervisor ended again and again. Next: `make down`.")


@atexit.register
def leave() -> None:
    """Give this process's lease back. The servers stay for others, and for a short while."""
    global _link
    if _link is not None:
        _link.close()
        _link = None


def leave_now() -> None:
    """Give this process's lease back; the servers stop now unless somebody else uses them."""
    if _link is None:
        return
    found = supervisors(choose.folder())
    with contextlib.suppress(OSError):
        answer = _link.call("leave", seconds=10)
        leave()
        if not (answer["keep"] or answer["leases"]):
            all_end(found, 20)


def stop_all() -> tuple[int, bool]:
    """Stop the supervisor and all its servers, whoever uses them.

    Returns how many programs were using them, and whether all has ended within a minute. Raises
    LabError when the supervisor does not answer.
    """
    # These, and no others: a notebook may start the next supervisor at once.
    found = supervisors(choose.folder())
    leases = 0
    with contextlib.suppress(OSError):  # it was just about to end
        if link := attach():
            leases = link.call("down", seconds=100)["leases"]
            link.close()
    return leases, all_end(found, 60)
