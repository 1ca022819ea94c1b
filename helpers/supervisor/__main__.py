"""The process that owns the embedded servers. Nothing else starts or ends one.

It runs as `python -m helpers.supervisor [--docker] [--start-all] STATE` in a session of its own:
neither a kernel restart nor Ctrl-C in a terminal reaches it. Programs talk to it over a loopback
socket, one JSON object a line. An open connection is a lease: the operating system closes it
however its owner ends, so a killed kernel cannot keep a server alive. When the last lease is gone
for `LAB_IDLE_SECONDS` (30 unless set), everything stops; `up` asks to be kept until `down`.

If the supervisor itself is killed, Linux tells the servers (the parent-death signal, prctl(2)),
and a guard process that reads its end of a pipe ends what is left, paused servers included. If
both are killed, the next command ends what they left.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NoReturn

from helpers.base.errors import LabError
from helpers.base.record import LOCK, START_SECONDS, living, try_lock
from helpers.supervisor.launching import Launched, launch_known

GUARD = Path(__file__).with_name("guard.py")


def take_lock(state: Path) -> IO[bytes] | None:
    """Become the state folder's only supervisor; None when another one already serves.

    The lock is the operating system's, so it cannot be left behind. On POSIX systems the guard
    shares it: a new supervisor starts after the guard of a killed one has cleaned up.
    """
    deadline = time.monotonic() + START_SECONDS
    while (lock := try_lock(state)) is None:
        if living(state):
            return None
        if time.monotonic() > deadline:
            fail(
                f"Another supervisor holds {state / LOCK} and does not serve. `make down` ends it."
            )
        time.sleep(0.02)
    return lock


def fail(message: str) -> NoReturn:
    """End with a message for the log, which the waiting command shows."""
    sys.exit(message)


def end_servers(state: Path, in_containers: bool) -> None:
    """End every server that still runs on the state folder."""
    from helpers.supervisor.leftovers import end_leftovers

    try:
        end_leftovers(state, in_containers=in_containers)
    except LabError as problem:
        fail(str(problem))


def serve(
    state: Path, idle_seconds: float, launched: Mapping[str, Launched], in_containers: bool
) -> None:
    """Serve until the last user is gone; `launched` are servers that are on their way already."""
    import asyncio

    from helpers.supervisor.service import Service

    if in_containers:
        from helpers.supervisor.container import ServerContainer

        service = Service(state, idle_seconds, "docker", ServerContainer)
    else:
        from helpers.supervisor.process import ServerProcess

        def make(key: str, kind: str, folder: Path) -> ServerProcess:
            return ServerProcess(key, kind, folder, launched.get(key))

        service = Service(state, idle_seconds, "embedded", make, list(launched))
    asyncio.run(service.main())


def main() -> None:
    """Run the supervisor for the state folder in argv."""
    state = Path(sys.argv[-1])
    try:
        idle_seconds = max(0.2, float(os.environ.get("LAB_IDLE_SECONDS") or "30"))
    except ValueError:
        fail("LAB_IDLE_SECONDS must be a number of seconds.")
    lock = take_lock(state)
    if lock is None:
        return
    # The lock file has a word in it while a supervisor runs, and still when it was killed.
    in_containers = "--docker" in sys.argv
    if lock.tell():
        end_servers(state, in_containers)
    for folder in [*state.glob("private-*"), *state.glob("*.new")]:
        shutil.rmtree(folder, ignore_errors=True)
    lock.write(b"running\n")
    lock.flush()
    # The slowest server takes half a second: it starts before the rest of this program is loaded.
    launched: dict[str, Launched] = {}
    if "--start-all" in sys.argv and not in_containers:
        launched = launch_known(state)
    guardian = subprocess.Popen(
        [sys.executable, "-I", "-S", str(GUARD), "helpers.guard", *sys.argv[1:]],
        stdin=subprocess.PIPE,
        start_new_session=True,
        pass_fds=() if sys.platform == "win32" else (lock.fileno(),),
    )
    serve(state, idle_seconds, launched, in_containers)
    end_servers(state, in_containers)
    lock.truncate(0)
    guardian.communicate(b"clean")


if __name__ == "__main__":
    main()
