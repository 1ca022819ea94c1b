"""How a running supervisor is found, its lock and its record in the state folder, and asked.

Kernel and supervisor meet here and at the socket: each sends one JSON object a line.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, Any, Literal, Required, TypedDict

from helpers.base import files
from helpers.base.files import private_opener

RECORD = "supervisor.json"
LOCK = "supervisor.lock"
#: How long a program may take to be set up, and to accept connections.
START_SECONDS = 45

#: What a client may ask the supervisor for: see `OPERATIONS` in helpers/supervisor/service.py.
Operation = Literal[
    "ensure", "start_all", "private", "restart", "signal", "logs", "status", "keep", "leave", "down"
]


class Request(TypedDict, total=False):
    """What a client sends: an operation, and what that operation needs."""

    op: Required[Operation]
    key: str  # of a server that is known already
    kind: str  # of a new server, for `lesson` alone
    lesson: str
    kinds: list[str]
    signal: Literal["kill", "pause", "resume"]
    lines: int  # of the log


def living(state: Path) -> dict[str, Any] | None:
    """Return the record of the supervisor that runs on this state folder, if one does.

    The record may be stale and its process id another program's by now: the command line tells.
    """
    import psutil  # here: a supervisor that gets its lock at once does not wait for it

    try:
        record: dict[str, Any] = json.loads((state / RECORD).read_text())
        words = psutil.Process(record["pid"]).cmdline()
        return record if "helpers.supervisor" in words and words[-1] == str(state) else None
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return None


def try_lock(state: Path) -> IO[bytes] | None:
    """Take the state folder's lock, or return None when a supervisor or its guard holds it."""
    lock = open(state / LOCK, "ab", opener=private_opener)  # noqa: SIM115
    if files.try_lock(lock):
        return lock
    lock.close()
    return None
