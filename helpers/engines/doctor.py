"""What runs, in which version, and what to do when something does not."""

from __future__ import annotations

import contextlib
import platform
import shutil
import sys
from typing import Any

from helpers.base import paths
from helpers.base.errors import LabError
from helpers.engines import choose, external, link, start, supervised
from helpers.kinds import KINDS
from helpers.kinds.kind import NotReady

ENOUGH_DISK_MB = 500


def status() -> dict[str, Any]:
    """Return the engine and, for each server: name, version, host, port, pid, ready."""
    engine = choose.engine()
    running: dict[str, dict[str, Any]] = {}
    if supervisor := link.attach():
        with contextlib.suppress(OSError):  # it ended just now
            answer = supervisor.call("status", seconds=10)
            running = {server["key"]: server for server in answer["servers"]}
        supervisor.close()
    servers = []
    for kind in sorted(KINDS):
        known = running.get(kind, {})
        row = {"name": kind, "version": None, "host": known.get("host"), "port": known.get("port")}
        row |= {"pid": known.get("pid"), "ready": False}
        with contextlib.suppress(NotReady, LabError):
            if choose.is_external(kind):
                server = external.ExternalServer(kind)
                row |= {"host": server.host, "port": server.port or None}
                row["version"] = server.ask()
            elif known:
                row["version"] = supervised.version_of(known)
            row["ready"] = row["version"] is not None
        servers.append(row)
    return {"engine": engine, "servers": servers}


def examine() -> list[dict[str, Any]]:
    """Check the lab, starting servers that do not run. Each row: what, found, ok, next."""
    rows = []

    def add(what: str, found: str, ok: bool = True, next_step: str = "") -> None:
        rows.append({"what": what, "found": found, "ok": ok, "next": "" if ok else next_step})

    add("Python", platform.python_version())
    state = paths.state_dir()
    try:
        link.prepare_state()
        free = shutil.disk_usage(state).free // 1_000_000
        add(
            "Free disk",
            f"{free / 1000:.1f} GB",
            free > ENOUGH_DISK_MB,
            f"Make room: the lessons need about {ENOUGH_DISK_MB} MB.",
        )
    except LabError as problem:
        add("State folder", str(state), False, str(problem))
        return rows
    try:
        add("Engine", choose.engine())
    except LabError as problem:
        add("Engine", "unknown", False, str(problem))
        return rows
    for kind in sorted(KINDS):
        title = KINDS[kind].titles[choose.engine()]
        if choose.is_external(kind):
            title = f"{KINDS[kind].title}, external"
        try:
            server = start.server(kind)
            found = f"{server.version}, ready at {server.host}:{server.port}"
            add(title, found if server.own_databases else f"{found}; a schema for each lesson")
        except LabError as problem:
            add(title, "not ready", False, str(problem))
    if sys.version_info[:2] > (3, 13):
        add("Python version", "newer than the servers' wheels", False, "Run `make env`.")
    return rows
