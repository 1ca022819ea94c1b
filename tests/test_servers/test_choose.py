"""Which engine gives the servers, and what the kernel's side and the supervisor's agree on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import get_args

import pytest

from helpers.base.errors import LabError
from helpers.base.record import Operation
from helpers.engines import choose
from helpers.kinds import KINDS
from helpers.supervisor.service import OPERATIONS


@pytest.fixture(autouse=True)
def undecided() -> Iterator[pytest.MonkeyPatch]:
    """Settings of the test's own, on this process's next decision and no later one."""
    with pytest.MonkeyPatch.context() as settings:
        choose.forget()
        yield settings
    choose.forget()


def test_the_engine_is_decided_once(undecided: pytest.MonkeyPatch) -> None:
    """A notebook stays on one engine, whatever changes around it."""
    undecided.setenv("LAB_ENGINE", "docker")
    assert choose.engine() == "docker"
    undecided.setenv("LAB_ENGINE", "external")
    assert (choose.engine(), choose.is_external("redis")) == ("docker", False)
    choose.forget()
    assert (choose.engine(), choose.own_kinds()) == ("external", [])


def test_a_wrong_engine_is_not_kept(undecided: pytest.MonkeyPatch) -> None:
    undecided.setenv("LAB_ENGINE", "dokcer")
    with pytest.raises(LabError, match=r"LAB_ENGINE is 'dokcer'\. Choose one of: auto, embedded"):
        choose.engine()
    undecided.setenv("LAB_ENGINE", "embedded")
    assert choose.engine() == "embedded"


def test_auto_decides_for_each_server(undecided: pytest.MonkeyPatch) -> None:
    """External where a URL names it; when every server is, so is the engine."""
    undecided.setenv("LAB_ENGINE", "auto")
    undecided.setattr(choose, "containers_run", lambda: False)
    for kind in KINDS.values():
        undecided.delenv(kind.variable, raising=False)
    undecided.setenv(KINDS["redis"].variable, "redis://127.0.0.1")
    assert choose.engine() == "embedded"
    assert [kind for kind in KINDS if choose.is_external(kind)] == ["redis"]
    choose.forget()
    for kind in KINDS.values():
        undecided.setenv(kind.variable, "x")
    assert choose.engine() == "external"


def test_both_ends_of_the_socket_know_the_same_operations() -> None:
    assert set(OPERATIONS) == set(get_args(Operation))


@pytest.mark.parametrize("module", ["helpers.lab", "helpers.supervisor.__main__"])
def test_what_starts_first_loads_no_client_library(module: str) -> None:
    """They take longer to load than a server takes to start."""
    code = f"import sys, {module}; print(*sorted(sys.modules))"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    heavy = {"psycopg", "redis", "pymongo", "docker", "asyncio", "sqlalchemy", "IPython", "pandas"}
    assert heavy.isdisjoint(loaded)
