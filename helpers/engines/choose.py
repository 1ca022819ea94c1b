"""Which engine gives the servers: `LAB_ENGINE`, or what is already there. Decided once."""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path
from typing import NamedTuple

from helpers.base.errors import LabError
from helpers.base.paths import state_dir
from helpers.base.record import living
from helpers.kinds import KINDS
from helpers.kinds.kind import BY_HAND

ENGINES = ("auto", "embedded", "docker", "external")


class Choice(NamedTuple):
    """What this process uses: an engine's name, and the kinds that are somebody else's."""

    engine: str
    external: frozenset[str]


@functools.cache
def choice() -> Choice:
    """Read `LAB_ENGINE` and look around, once a process: a notebook stays on one engine.

    Raises LabError for a name that is no engine; then the next call looks again.
    """
    name = os.environ.get("LAB_ENGINE") or "auto"
    if name not in ENGINES:
        raise LabError(f"LAB_ENGINE is {name!r}. Choose one of: {', '.join(ENGINES)}.")
    named = {kind for kind in KINDS if name == "auto" and given(kind)}
    external = frozenset(KINDS if name == "external" else named)
    if len(external) == len(KINDS):
        name = "external"
    elif name == "auto":
        name = "docker" if containers_run() else "embedded"
    return Choice(name, external)


def forget() -> None:
    """Decide anew at the next question. For a program that changes its own environment."""
    choice.cache_clear()


def given(kind: str) -> str:
    """Return the URL that names this kind of server, or ""."""
    return os.environ.get(KINDS[kind].variable, "").strip()


def engine() -> str:
    """Return the engine: embedded, docker, or external when every server is. Raises LabError."""
    return choice().engine


def is_external(kind: str) -> bool:
    """Tell whether this kind of server is somebody else's. Raises LabError."""
    return kind in choice().external


def own_kinds() -> list[str]:
    """Return the kinds of servers that the lab runs itself. Raises LabError."""
    return [kind for kind in KINDS if not is_external(kind)]


def folder() -> Path:
    """Return the folder of the engine's supervisor: each engine has its own."""
    return state_dir() / "docker" if engine() == "docker" else state_dir()


def containers_run() -> bool:
    """Tell whether this course's containers run: the lab's own, or ones started by hand."""
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
