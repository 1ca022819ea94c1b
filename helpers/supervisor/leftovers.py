"""What a killed supervisor may have left, found by command line and ended.

Light to load: the guard and every command's clean-up use it.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import psutil

from helpers.base.processes import end, family
from helpers.kinds import KINDS


def is_a_server(name: str, arguments: list[str]) -> bool:
    """Tell whether a process is one of an embedded server, or sets one up."""
    return any(
        name.startswith(kind.process_names)
        or any(word in argument for word in kind.process_words for argument in arguments)
        for kind in KINDS.values()
    )


def leftovers(folder: Path) -> list[psutil.Process]:
    """Return the server processes that run on this folder, by their command lines.

    This needs no record of process ids, so a stale record or a reused id cannot mislead it.
    PostgreSQL's sessions rewrite their command lines; their working folder tells.
    """
    inside = f"{folder}{os.sep}"
    found = []
    for process in psutil.process_iter(["name", "cmdline"]):
        arguments = process.info["cmdline"] or []
        if is_a_server(process.info["name"] or "", arguments):
            with contextlib.suppress(psutil.Error):
                named = any(path.startswith(inside) for path in arguments[1:])
                if named or process.cwd().startswith(inside):
                    found.append(process)
    return found


def end_processes(folder: Path) -> int:
    """Kill every server that still runs on this folder; return the number of processes."""
    processes = {member for process in leftovers(folder) for member in family(process.pid)}
    end(list(processes))
    return len(processes)


def end_leftovers(folder: Path, *, in_containers: bool) -> int:
    """End every server that still runs on a supervisor's folder; return how many things ended.

    Raises LabError for a process that stays.
    """
    if in_containers:
        from helpers.supervisor import docker

        return docker.end_containers(folder)
    return end_processes(folder)
