"""The learner's own copies of the lessons, in work/. A copy is never overwritten."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import nbformat

from helpers.errors import LabError
from helpers.paths import NOTEBOOKS, WORK

RECORD = ".given.json"  # for each lesson, the digest of what the learner was given last


def fill(source: Path = NOTEBOOKS, target: Path = WORK) -> list[str]:
    """Copy what is missing from `source` to `target`; return a line for each new file.

    Copies come without the stored outputs: the predictions are the learner's. A lesson that
    changed since it was copied is placed beside the copy as NAME.new.ipynb.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
        record = target / RECORD
        given = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
        lines = []
        for path in sorted(source.glob("[0-9]*.ipynb")):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            copy = target / path.name
            if not copy.exists():
                copy_without_outputs(path, copy)
                lines.append(f"New in {target.name}/: {path.name}")
            elif given.get(path.name) not in (None, digest):
                newer = copy.with_suffix(".new.ipynb")
                copy_without_outputs(path, newer)
                lines.append(
                    f"{path.name} has changed. Your copy was left as it is; "
                    f"the new lesson is beside it: {target.name}/{newer.name}"
                )
            given[path.name] = digest
        for folder in sorted(path for path in source.glob("[0-9]*") if path.is_dir()):
            copy_missing(folder, target / folder.name)
        record.write_text(json.dumps(given, indent=1), encoding="utf-8")
        return lines
    except OSError as problem:
        raise LabError(
            f"Your copies of the lessons cannot be written to {target}: {problem.strerror}. "
            "Make the folder writable, or copy the course to another place."
        ) from None
    except ValueError:
        raise LabError(f"{target / RECORD} cannot be read. Delete it, then try again.") from None


def copy_without_outputs(path: Path, copy: Path) -> None:
    """Write a copy of a notebook whose code cells have not run."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, copy)


def copy_missing(folder: Path, target: Path) -> None:
    """Copy the files of a lesson's folder that are not in the target yet."""
    for path in sorted(folder.rglob("*")):
        copy = target / path.relative_to(folder)
        if path.is_file() and not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
