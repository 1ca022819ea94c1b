"""Fixtures for every test: a lab of the test's own, and names of the module's own."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest
from labs import Lab, new_folder

_number = itertools.count(1)


@pytest.fixture(scope="module", autouse=True)
def namespace() -> Iterator[str]:
    """Give each test module a LAB_NAMESPACE of its own: no two meet in a database.

    It begins with the run's own namespace, so that the run's end removes what modules have made.
    """
    run, worker = os.environ.get("LAB_NAMESPACE"), os.environ.get("PYTEST_XDIST_WORKER", "main")
    name = "_".join(filter(None, (run, worker, str(next(_number)))))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LAB_NAMESPACE", name)
        yield name


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A lab of the test's own. Its servers stop 1 s after the last user, unless set otherwise."""
    lab = Lab(new_folder())
    try:
        yield lab
    finally:
        lab.close()
