"""Running notebooks outside of a test: to store their outputs, and again and again."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat

from helpers import outline
from helpers.base.paths import NOTEBOOKS, ROOT
from helpers.commands.own_lab import left_out, own_lab

IGNORED = "nbval-ignore-output"


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
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = number
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, path.name)
        nbformat.write(notebook, copy)
        keep = ["--keep-output", "--keep-count", "--keep-id"]
        extra = ["--extra-keys", "metadata.language_info.version"]
        subprocess.run([sys.executable, "-m", "nbstripout", *keep, *extra, copy], check=True)
        return nbformat.read(copy, as_version=4)


def outputs(names: list[str]) -> int:
    """Run notebooks again; store those whose code or compared outputs changed.

    `names` are numbers, such as 05 or 05b, or parts of file names; none means every notebook, and
    05 its sections too. `--all` stores them in any case.
    """
    rewrite = "--all" in names
    names = [name for name in names if name != "--all"]
    with own_lab():
        for path in (notebook.path for notebook in outline.notebooks()):
            if names and not any(name in path.name for name in names):
                continue
            started = time.monotonic()
            old = nbformat.read(path, as_version=4)
            new = execute(path)
            changed = rewrite or compared(old) != compared(new)
            if changed:
                nbformat.write(new, path)
            word = "stored" if changed else "unchanged"
            print(f"{path.relative_to(NOTEBOOKS)}: {word}, {time.monotonic() - started:.0f} s")
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
