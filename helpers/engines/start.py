"""Running servers: one interface, whichever engine gives them."""

from __future__ import annotations

from helpers.base.errors import LabError
from helpers.engines import choose
from helpers.engines.server import Server
from helpers.kinds import KINDS


def server(kind: str, *, private_for: str | None = None) -> Server:
    """Return a running server of this kind: "postgresql", "redis" or "mongodb".

    `private_for` is the number of the lesson that wants a server of its own. Raises LabError
    when the engine cannot give one.
    """
    made: Server
    if not choose.is_external(kind):
        from helpers.engines import supervised

        made = supervised.make(kind, private_for)
    else:
        from helpers.engines import external

        if private_for:
            external.private(kind)
        made = external.ExternalServer(kind)
    made.use()
    return made


def every_server() -> list[str]:
    """Start the lab's servers side by side, and check the external ones.

    Returns one message for each server that cannot be used.
    """
    from helpers.engines import supervised

    problems = supervised.start_all(choose.own_kinds())
    for kind in KINDS:
        if choose.is_external(kind):
            try:
                server(kind)
            except LabError as problem:
                problems.append(str(problem))
    return problems
