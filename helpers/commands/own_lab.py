"""A lab of a run's own: servers and a state folder that are gone at its end."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from helpers.engines import choose, link, start
from helpers.kinds import KINDS
from helpers.kinds.mongodb import is_mongodb
from helpers.kinds.place import of_namespace

REAL_MONGODB = "real-mongodb"
OWN_SERVER = "own-server"


@contextmanager
def own_lab() -> Iterator[Path]:
    """Run the block with servers and a state folder of its own; remove both at the end."""
    before = {name: os.environ.get(name) for name in ("LAB_STATE", "LAB_NAMESPACE")}
    state = Path(tempfile.mkdtemp(prefix="course-test-"))
    os.environ["LAB_STATE"] = str(state)
    # On servers that others use too, the run keeps to names that nobody else has.
    choose.forget()
    external = bool(choose.choice().external)
    namespace = f"test_{os.getpid()}_{secrets.token_hex(3)}" if external else ""
    os.environ["LAB_NAMESPACE"] = namespace
    # A run that is told to end tidies up first, as after Ctrl-C.
    ended = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for problem in start.every_server():
            print(problem, file=sys.stderr)
        yield state
    finally:
        if external:
            os.environ["LAB_NAMESPACE"] = namespace
            remove_places()
        link.leave()
        link.stop_all()
        if choose.engine() == "docker":
            from helpers.supervisor import docker

            docker.remove_data(choose.folder())
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        choose.forget()
        shutil.rmtree(state, ignore_errors=True)
        signal.signal(signal.SIGTERM, ended)


def remove_places() -> None:
    """Remove everything that begins with this run's namespace from the servers, for good."""
    for kind in KINDS.values():
        server = start.server(kind.key)
        for name in of_namespace(kind.place.names(server)):
            kind.place.called(name, server).release()


def left_out(cells: Sequence[Any]) -> list[Any]:
    """Return the notebook cells that this run's servers cannot show.

    Those tagged `real-mongodb`, where the server is not MongoDB, and those tagged `own-server`,
    where servers are external: nobody may restart or configure them.
    """
    tagged = {
        name: [cell for cell in cells if name in cell.metadata.get("tags", [])]
        for name in (REAL_MONGODB, OWN_SERVER)
    }
    if len(choose.own_kinds()) == len(KINDS):
        tagged[OWN_SERVER] = []
    if tagged[REAL_MONGODB] and is_mongodb(start.server("mongodb").url()):
        tagged[REAL_MONGODB] = []
    return tagged[REAL_MONGODB] + tagged[OWN_SERVER]
