"""The regression run: a pytest plugin.

pytest loads this as a plugin (pyproject.toml). The whole run, workers and kernels included, uses
a state folder of its own, so it never meets a learner's lab.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest

from helpers.base.paths import NOTEBOOKS, ROOT
from helpers.commands.own_lab import left_out, own_lab
from helpers.engines import choose

BUDGET_SECONDS, LIMIT_SECONDS = 60, 120  # a whole notebook
CELL_SECONDS, CELL_LIMIT_SECONDS = 5, 10  # a cell of the core
CROWD = 2  # processes for each core: above this, a time says more of the others than of a cell

_lab = None
_seconds: dict[str, dict[int, float]] = defaultdict(dict)
_crowd: dict[str, float] = defaultdict(float)  # the most that each notebook ran among


def pytest_configure(config: pytest.Config) -> None:
    """Start the run's own servers, once, in the process that hands out the tests."""
    global _lab
    if not hasattr(config, "workerinput") and not config.option.collectonly:
        _lab = own_lab()
        _lab.__enter__()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop them, when every test and every kernel is done."""
    global _lab
    if _lab is not None:
        _lab.__exit__(None, None, None)
        _lab = None


def turn(item: Any) -> int:
    """Return when a test begins: notebooks first, whose times count, then the long tests."""
    if hasattr(item, "cell"):
        return 0
    return 1 if isinstance(item, pytest.Item) and item.get_closest_marker("long") else 2


def pytest_collection_modifyitems(config: pytest.Config, items: list[Any]) -> None:
    """Put the tests in order; leave out the cells that need another server, and say how many."""
    items.sort(key=turn)
    if config.option.collectonly:
        return
    cells = [item.cell for item in items if hasattr(item, "cell")]
    unshown = [id(cell) for cell in left_out(cells)]
    gone = [item for item in items if id(getattr(item, "cell", None)) in unshown]
    if gone:
        items[:] = [item for item in items if item not in gone]
        config.hook.pytest_deselected(items=gone)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers() -> int:
    """Take one worker more than there are cores: the tests wait for a third of their time."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out tests by file, and the exercises' cases, which take longest, by notebook."""
    from xdist.scheduler import LoadScopeScheduling

    class ByNotebook(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
        def _split_scope(self, nodeid: str) -> str:
            exercise = re.match(r"(.*::test_outcome\[\d\d[a-z]?)-", nodeid)
            return exercise[1] if exercise else super()._split_scope(nodeid)

    return ByNotebook(config, log)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note how long each notebook cell took."""
    path, _, cell = report.nodeid.partition("::Cell ")
    if cell.isdigit():
        path = os.path.relpath(ROOT / path, NOTEBOOKS)
        cells = _seconds[path]
        cells[int(cell)] = cells.get(int(cell), 0) + report.duration
        now = psutil.getloadavg()[0] / (os.cpu_count() or 1)
        _crowd[path] = max(_crowd[path], now)


def code_cells(path: Path) -> int:
    """Return how many code cells a notebook has."""
    cells = nbformat.read(path, as_version=4).cells
    return sum(cell.cell_type == "code" for cell in cells)


def slow_parts() -> Iterator[tuple[str, bool]]:
    """Yield a line for each notebook and slow core cell, and whether it is beyond the limit."""
    for name, cells in sorted(_seconds.items()):
        total = sum(cells.values())
        over = " (over its 60 s)" if total > BUDGET_SECONDS else ""
        if _crowd[name] > CROWD:
            over += f" (beside others: {_crowd[name]:.1f} processes for each core)"
        # The budget is the default engine's: a container's network is slower, and varies more.
        counts = choose.engine() == "embedded" and _crowd[name] <= CROWD
        late = counts and total > LIMIT_SECONDS
        yield f"{name}: {total:.0f} s for {len(cells)} cells{over}", late
        core = code_cells(NOTEBOOKS / name) if os.sep not in name else 0
        for cell, seconds in cells.items():
            # The first cell's time includes the start of the kernel.
            if 0 < cell < core and seconds > CELL_SECONDS:
                yield (
                    f"    core cell {cell}: {seconds:.1f} s",
                    counts and seconds > CELL_LIMIT_SECONDS,
                )


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail the run when a notebook or a core cell took more than twice its time."""
    if exitstatus == 0 and any(beyond for _, beyond in slow_parts()):
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Report each notebook's time."""
    if lines := list(slow_parts()):
        terminalreporter.section("time of each notebook")
        for line, beyond in lines:
            terminalreporter.write_line(line + ("  TOO SLOW: the run fails" if beyond else ""))
