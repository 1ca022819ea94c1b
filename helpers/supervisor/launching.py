"""Starting a server's process. Quick to load, because the slowest server waits for it."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from helpers.base.errors import LabError
from helpers.base.files import private_opener
from helpers.kinds import KINDS
from helpers.kinds.kind import HOST, PORTS, Step

#: A process that is on its way, and its port.
Launched = tuple[subprocess.Popen[bytes], int]


def port_is_free(port: int) -> bool:
    """Tell whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        if os.name != "nt":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError):
            return False
    return True


def free_port() -> int:
    """Return a loopback port that is free now, or 0 when none was found."""
    return next((port for port in random.sample(PORTS, 500) if port_is_free(port)), 0)


def die_with_parent(death_signal: int) -> Callable[[], None] | None:
    """Return what a child runs before its program starts: ask Linux to end it with its parent."""
    if sys.platform != "linux":
        return None
    import ctypes

    prctl = ctypes.CDLL(None).prctl  # looked up here: the child must not load anything
    parent = os.getpid()

    def ask() -> None:
        prctl(1, death_signal, 0, 0, 0)  # 1 is PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)

    return ask


def spawn(step: Step, log: Path, death_signal: int) -> subprocess.Popen[bytes]:
    """Start a command that ends with this process, its output going to `log`."""
    with open(log, "ab", opener=private_opener) as output:
        return subprocess.Popen(
            step.argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=die_with_parent(death_signal),
            **step.options,
        )


def launch(kind: str, folder: Path, port: int) -> subprocess.Popen[bytes]:
    """Start the server of a folder that is set up. It does not accept connections yet."""
    log = folder / "server.log"
    if log.exists() and log.stat().st_size > 2_000_000:
        log.replace(log.with_suffix(".log.1"))
    program = KINDS[kind].program(folder, read_password(folder))
    return spawn(program.command(port), log, program.death_signal)


def read_password(folder: Path) -> str:
    """Return the password of a server's folder."""
    return (folder / "password").read_text(encoding="utf-8").strip()


def remembered_port(folder: Path) -> int:
    """Return the port that a server had last, or 0."""
    try:
        return int((folder / "port").read_text())
    except (OSError, ValueError):
        return 0


def launch_known(state: Path) -> dict[str, Launched]:
    """Start the shared servers that ran before; return each process with its port.

    What cannot be started so is left out: the usual way finds out why and says it.
    """
    started = {}
    for kind in KINDS:
        folder = state / kind
        port = remembered_port(folder)
        if port and port_is_free(port):
            with contextlib.suppress(OSError, LabError):
                started[kind] = (launch(kind, folder, port), port)
    return started
