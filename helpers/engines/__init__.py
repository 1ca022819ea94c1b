"""Where servers come from: one interface, chosen by `LAB_ENGINE`."""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path

from helpers.base.errors import LabError
from helpers.base.paths import state_dir
from helpers.engines import external
from helpers.engines.programs import BY_HAND, KINDS
from helpers.engines.server import Server

ENGINES = ("auto", "embedded", "docker", "external")


def asked_for() -> str:
    """Return `LAB_ENGINE`, checked. Raises LabError for a name that is no engine."""
    name = os.environ.get("LAB_ENGINE") or "auto"
    if name not in ENGINES:
        raise LabError(f"LAB_ENGINE is {name!r}. Choose one of: {', '.join(ENGINES)}.")
    return name


def is_external(kind: str) -> bool:
    """Tell whether this kind of server is somebody else's: auto asks whether a URL names it."""
    name = asked_for()
    return name == "external" or (name == "auto" and bool(external.given(kind)))


def own_kinds() -> list[str]:
    """Return the kinds of servers that the lab runs itself."""
    return [kind for kind in KINDS if not is_external(kind)]


def chosen() -> str:
    """Return the engine that `LAB_ENGINE` names, or that auto finds.

    Raises LabError for a name that is no engine.
    """
    name = asked_for()
    if not own_kinds():
        return "external"
    if name == "auto":
        return "docker" if containers_run() else "embedded"
    return name


@functools.cache
def containers_run() -> bool:
    """Tell whether this course's containers run: the lab's own, or ones started by hand.

    Asked once in a process, so that a notebook stays on one engine.
    """
    from helpers.base.record import living

    if living(state_dir() / "docker"):
        return True
    if os.environ.get("LAB_STATE"):  # another lab: the containers started by hand are not its own
        return False
    command = ["docker", "ps", "--quiet", *(f"--filter=label={mark}" for mark in BY_HAND)]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return False  # no Docker, or none that answers
    return bool(found.stdout.strip())


def server(kind: str, *, private_for: str | None = None) -> Server:
    """Return a running server of this kind: "postgresql", "redis" or "mongodb".

    `private_for` is the number of the lesson that wants a server of its own. Raises LabError
    when the engine cannot give one.
    """
    made: Server
    if not is_external(kind):
        from helpers.engines import embedded

        made = embedded.make(kind, private_for)
    elif private_for:
        external.private(kind)
    else:
        made = external.ExternalServer(kind)
    made.use()
    return made


def end_leftovers(folder: Path, *, in_containers: bool) -> int:
    """End every server that still runs on a supervisor's folder; return how many things ended.

    Raises LabError when Docker cannot be used.
    """
    if in_containers:
        from helpers.engines import containers

        return containers.end_leftovers(folder)
    from helpers.base import processes

    return processes.end_leftovers(folder)


def start_all() -> list[str]:
    """Start the lab's servers side by side, and check the external ones.

    Returns one message for each server that cannot be used.
    """
    from helpers.engines import embedded

    problems = embedded.start_all(own_kinds())
    for kind in KINDS:
        if is_external(kind):
            try:
                server(kind)
            except LabError as problem:
                problems.append(str(problem))
    return problems
