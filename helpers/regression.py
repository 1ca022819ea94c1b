"""The regression run: a pytest plugin, and the verbs that store outputs and repeat the run.

pytest loads this as a plugin (pyproject.toml). The whole run, workers and kernels included, uses
a state folder of its own, so it never meets a learner's lab.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from helpers.base.paths import NOTEBOOKS, ROOT
from helpers.kinds import KINDS

BUDGET_SECONDS, LIMIT_SECONDS = 60, 120  # a whole notebook
CELL_SECONDS, CELL_LIMIT_SECONDS = 5, 10  # a cell of the core
CROWD = 2  # processes for each core: above this, a time says more of the others than of a cell
IGNORED = "nbval-ignore-output"
REAL_MONGODB = "real-mongodb"
OWN_SERVER = "own-server"


@contextmanager
def own_lab() -> Iterator[Path]:
    """Run the block with servers and a state folder of its own; remove both at the end."""
    from helpers.engines import choose, link, start

    before = {name: os.environ.get(name) for name in ("LAB_STATE", "LAB_NAMESPACE")}
    state = Path(tempfile.mkdtemp(prefix="course-test-"))
    os.environ["LAB_STATE"] = str(state)
    # On servers that others use too, the run keeps to names that nobody else has.
    choose.forget()
    external = choose.engine() == "external"
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
        shutil.rmtree(state, ignore_errors=True)
        signal.signal(signal.SIGTERM, ended)


def remove_places() -> None:
    """Remove everything that begins with this run's namespace from the servers, for good."""
    from helpers.engines import start
    from helpers.kinds.place import of_namespace

    for kind in KINDS.values():
        server = start.server(kind.key)
        for name in of_namespace(kind.place.names(server)):
            kind.place.called(name, server).release()


def left_out(cells: Sequence[Any]) -> list[Any]:
    """Return the notebook cells that this run's servers cannot show.

    Those tagged `real-mongodb`, where the server is not MongoDB, and those tagged `own-server`,
    where servers are external: nobody may restart or configure them.
    """
    from helpers.engines import choose, start
    from helpers.kinds.mongodb import is_mongodb

    tagged = {
        name: [cell for cell in cells if name in cell.metadata.get("tags", [])]
        for name in (REAL_MONGODB, OWN_SERVER)
    }
    if len(choose.own_kinds()) == len(KINDS):
        tagged[OWN_SERVER] = []
    if tagged[REAL_MONGODB] and is_mongodb(start.server("mongodb").url()):
        tagged[REAL_MONGODB] = []
    return tagged[REAL_MONGODB] + tagged[OWN_SERVER]


# The pytest plugin.

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
    return 0 if hasattr(item, "cell") else 1 if item.get_closest_marker("long") else 2


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
    """Hand out tests by file, and the exercises' cases, which take longest, by lesson."""
    from xdist.scheduler import LoadScopeScheduling

    class ByLesson(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
        def _split_scope(self, nodeid: str) -> str:
            exercise = re.match(r"(.*::test_outcome\[\d\d)-", nodeid)
            return exercise[1] if exercise else super()._split_scope(nodeid)

    return ByLesson(config, log)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note how long each notebook cell took."""
    path, _, cell = report.nodeid.partition("::Cell ")
    if cell.isdigit():
        cells = _seconds[Path(path).name]
        cells[int(cell)] = cells.get(int(cell), 0) + report.duration
        now = psutil.getloadavg()[0] / (os.cpu_count() or 1)
        _crowd[Path(path).name] = max(_crowd[Path(path).name], now)


def core_cells(notebook: Any) -> int:
    """Return how many code cells come before the heading "Going deeper"."""
    count = 0
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and "# Going deeper" in cell.source:
            break
        count += cell.cell_type == "code"
    return count


def slow_parts() -> Iterator[tuple[str, bool]]:
    """Yield a line for each notebook and slow core cell, and whether it is beyond the limit."""
    import nbformat

    from helpers.engines import choose

    for name, cells in sorted(_seconds.items()):
        total = sum(cells.values())
        over = " (over its 60 s)" if total > BUDGET_SECONDS else ""
        if _crowd[name] > CROWD:
            over += f" (beside others: {_crowd[name]:.1f} processes for each core)"
        # The budget is the default engine's: a container's network is slower, and varies more.
        counts = choose.engine() == "embedded" and _crowd[name] <= CROWD
        late = counts and total > LIMIT_SECONDS
        yield f"{name}: {total:.0f} s for {len(cells)} cells{over}", late
        core = core_cells(nbformat.read(NOTEBOOKS / name, as_version=4))
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


# The verbs.


def compared(notebook: Any) -> list[Any]:
    """Return what a regression run compares: code, and outputs that must not vary."""
    cells = []
    for cell in notebook.cells:
        entry: dict[str, Any] = {"id": cell.id, "source": cell.source, "tags": cell.metadata}
        if cell.cell_type == "code" and IGNORED not in cell.metadata.get("tags", []):
            entry["outputs"] = [
                {**output, "data": {k: v for k, v in output.data.items() if k != "image/png"}}
                if "data" in output
                else {k: v for k, v in output.items() if k != "traceback"}
                for output in cell.outputs
            ]
        cells.append(entry)
    return cells


def execute(path: Path) -> Any:
    """Run a notebook from top to bottom and return it with its outputs, cleaned.

    Cells that this run's servers cannot show are not run; what is stored of them stays.

    Raises nbclient.exceptions.CellExecutionError for an error in a cell that is not tagged
    `raises-exception`.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        resources=where,
        record_timing=False,
        coalesce_streams=True,  # a kernel splits what is printed at places that vary
        extra_arguments=["--log-level=ERROR"],
    )
    unshown = left_out(notebook.cells)
    for cell in unshown:
        cell.metadata.tags.append("skip-execution")  # nbclient's tag
    client.execute()
    for cell in unshown:
        cell.metadata.tags.remove("skip-execution")
    ran = [cell for cell in notebook.cells if cell.get("execution_count")]
    for number, cell in enumerate(ran, start=1):
        cell.execution_count = number
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, path.name)
        nbformat.write(notebook, copy)
        keep = ["--keep-output", "--keep-count", "--keep-id"]
        extra = ["--extra-keys", "metadata.language_info.version"]
        subprocess.run([sys.executable, "-m", "nbstripout", *keep, *extra, copy], check=True)
        return nbformat.read(copy, as_version=4)


def outputs(names: list[str]) -> int:
    """Run notebooks again; store those whose code or compared outputs changed.

    `names` are parts of file names; none means every notebook. `--all` stores them in any case.
    """
    import nbformat

    rewrite = "--all" in names
    names = [name for name in names if name != "--all"]
    with own_lab():
        for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb")):
            if names and not any(name in path.name for name in names):
                continue
            started = time.monotonic()
            old = nbformat.read(path, as_version=4)
            new = execute(path)
            changed = rewrite or compared(old) != compared(new)
            if changed:
                nbformat.write(new, path)
            word = "stored" if changed else "unchanged"
            print(f"{path.name}: {word}, {time.monotonic() - started:.0f} s")
    quiet = [sys.executable, "-m", "ruff", "format", "--quiet", str(NOTEBOOKS)]
    return subprocess.run(quiet, cwd=ROOT, check=False).returncode


def soak(times: int) -> int:
    """Run the notebooks `times` times in a row; print and return the number of failed runs."""
    failed = 0
    for number in range(1, times + 1):
        started = time.monotonic()
        command = [sys.executable, "-m", "pytest", "-q", "--no-header", "notebooks"]
        pipe = subprocess.PIPE
        run = subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)
        try:
            said, _ = run.communicate()
        except KeyboardInterrupt:  # Ctrl-C reached the run too, and it tidies up
            run.communicate()
            raise
        failed += run.returncode != 0
        word = "passed" if run.returncode == 0 else "FAILED"
        print(f"run {number} of {times}: {word}, {time.monotonic() - started:.0f} s", flush=True)
        if run.returncode:
            print(said)
    print(f"{failed} of {times} runs failed.")
    return failed
