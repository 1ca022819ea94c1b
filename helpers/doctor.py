"""What runs, in which version, and what to do when something does not."""

from __future__ import annotations

import contextlib
import platform
import shutil
import sys
from typing import Any

from helpers import engines
from helpers.base import paths
from helpers.base.errors import LabError
from helpers.engines import embedded, external, programs
from helpers.engines.ready import NotReady

ENOUGH_DISK_MB = 500


def status() -> dict[str, Any]:
    """Return the engine and, for each server: name, version, host, port, pid, ready."""
    engine = engines.chosen()
    running: dict[str, dict[str, Any]] = {}
    if link := embedded.attach():
        with contextlib.suppress(OSError):  # it ended just now
            answer = link.call("status", seconds=10)
            running = {server["key"]: server for server in answer["servers"]}
        link.close()
    servers = []
    for kind in sorted(programs.KINDS):
        known = running.get(kind, {})
        row = {"name": kind, "version": None, "host": known.get("host"), "port": known.get("port")}
        row |= {"pid": known.get("pid"), "ready": False}
        with contextlib.suppress(NotReady, LabError):
            if engines.is_external(kind):
                server = external.ExternalServer(kind)
                row |= {"host": server.host, "port": server.port or None}
                row["version"] = server.ask()
            elif known:
                row["version"] = embedded.version_of(known)
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
        embedded.prepare_state()
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
        add("Engine", engines.chosen())
    except LabError as problem:
        add("Engine", "unknown", False, str(problem))
        return rows
    embedded_ = engines.chosen() == "embedded"
    titles = programs.TITLES if embedded_ else programs.CONTAINER_TITLES
    for kind in sorted(programs.KINDS):
        title = (
            f"{programs.CONTAINER_TITLES[kind]}, external"
            if engines.is_external(kind)
            else titles[kind]
        )
        try:
            server = engines.server(kind)
            found = f"{server.version}, ready at {server.host}:{server.port}"
            add(title, found if server.own_databases else f"{found}; a schema for each lesson")
        except LabError as problem:
            add(title, "not ready", False, str(problem))
    if sys.version_info[:2] > (3, 13):
        add("Python version", "newer than the servers' wheels", False, "Run `make env`.")
    return rows
