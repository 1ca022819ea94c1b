"""Where servers come from: one interface, chosen by `LAB_ENGINE`."""

from __future__ import annotations

import os

from helpers.engines.server import Server
from helpers.errors import LabError

ENGINES = ("auto", "embedded", "docker", "external")


def chosen() -> str:
    """Return the engine that `LAB_ENGINE` names, checked.

    Raises LabError for a name that is no engine.
    """
    name = os.environ.get("LAB_ENGINE") or "auto"
    if name not in ENGINES:
        raise LabError(f"LAB_ENGINE is {name!r}. Choose one of: {', '.join(ENGINES)}.")
    if name in ("docker", "external"):
        raise LabError(
            f"This version of the course does not have the {name} engine yet. "
            "Leave ENGINE out: the embedded engine needs nothing else."
        )
    return "embedded"


def server(kind: str, *, private_for: str | None = None) -> Server:
    """Return a running server of this kind: "postgresql", "redis" or "mongodb".

    `private_for` is the number of the lesson that wants a server of its own. Raises LabError
    when the engine cannot give one.
    """
    chosen()
    from helpers.engines.embedded import EmbeddedServer

    made = EmbeddedServer(kind, private_for)
    made.use()
    return made
