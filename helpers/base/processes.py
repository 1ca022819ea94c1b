"""Processes, ports and log files: what the supervisor and the commands look at and end."""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path

import psutil

from helpers.base.errors import LabError

LOW_DISK_BYTES = 50_000_000


def tail(log: Path, lines: int = 15) -> str:
    """Return the last lines of a log file, or a note that there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 200 * lines))
            text = file.read().decode("utf-8", "replace")
    except OSError as problem:
        return f"(no log: {problem.strerror})"
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"


def disk_note(folder: Path, log: str = "") -> str:
    """Return a sentence when the disk of `folder` is full, else nothing."""
    free = shutil.disk_usage(folder).free
    if free > LOW_DISK_BYTES and "No space left on device" not in log:
        return ""
    return f"The disk is full: {free // 1_000_000} MB are free at {folder}. Make room, try again."


def supervisors(state: Path) -> list[psutil.Process]:
    """Return the supervisor of this state folder and its guard, by their command lines."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if {"helpers.supervisor", "helpers.guard"} & set(words := process.info["cmdline"] or [])
        and str(state) in words
    ]


def family(pid: int) -> list[psutil.Process]:
    """Return a server's processes, the parent first: PostgreSQL has one for each session."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def has_ended(process: psutil.Process) -> bool:
    """Tell whether a process is gone, or a zombie, which only its parent can remove."""
    try:
        return not process.is_running() or bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def stands_still(process: psutil.Process) -> bool:
    """Tell whether a process is stopped (SIGSTOP), or has ended."""
    try:
        return has_ended(process) or bool(process.status() == psutil.STATUS_STOPPED)
    except psutil.NoSuchProcess:
        return True


def listens(pid: int, port: int) -> bool:
    """Tell whether a process (or its child: Windows has launchers) listens on a port."""
    try:
        for member in (psutil.Process(pid), *family(pid)):
            for socket_ in member.net_connections("tcp4"):
                if socket_.status == psutil.CONN_LISTEN and socket_.laddr.port == port:
                    return True
    except psutil.AccessDenied:
        return True
    except psutil.NoSuchProcess:
        pass
    return False


def end(processes: list[psutil.Process], seconds: float = 10) -> None:
    """Kill processes and wait until they are gone. Raises LabError for one that stays."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    deadline = time.monotonic() + seconds
    while alive := [process for process in processes if not has_ended(process)]:
        if time.monotonic() > deadline:
            numbers = ", ".join(str(process.pid) for process in alive)
            raise LabError(f"These processes of the lab could not be ended: {numbers}. End them.")
        time.sleep(0.01)


def all_end(processes: list[psutil.Process], seconds: float) -> bool:
    """Wait until all of these have ended by themselves; False after `seconds`."""
    deadline = time.monotonic() + seconds
    while not all(map(has_ended, processes)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
