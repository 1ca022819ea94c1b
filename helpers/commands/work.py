"""The learner's own copies of the lessons, in work/. A copy is never overwritten."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from helpers.base.errors import LabError
from helpers.base.paths import NOTEBOOKS, WORK

RECORD = ".given.json"  # for each lesson, the digest of what the learner was given last


def fill(source: Path = NOTEBOOKS, target: Path = WORK) -> list[str]:
    """Copy what is missing from `source` to `target`; return a line for each new file.

    Copies come without the stored outputs: the predictions are the learner's. A lesson that
    changed since it was copied is placed beside the copy as NAME.new.ipynb.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
        given = read_record(target / RECORD)
        lines = []
        for path in sorted(source.glob("[0-9]*.ipynb")):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            copy = target / path.name
            if not copy.exists():
                write(copy, without_outputs(path))
                lines.append(f"New in {target.name}/: {path.name}")
            elif given.get(path.name) not in (None, digest):
                newer = free_name(copy)
                write(newer, without_outputs(path))
                lines.append(
                    f"{path.name} has changed. Your copy was left as it is; "
                    f"the new lesson is beside it: {target.name}/{newer.name}"
                )
            given[path.name] = digest
        for folder in sorted(path for path in source.glob("[0-9]*") if path.is_dir()):
            files = (path for path in folder.rglob("*") if path.is_file())
            for path in sorted(path for path in files if "__pycache__" not in path.parts):
                copy = target / path.relative_to(source)
                if not copy.exists():
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    write(copy, path.read_bytes())
        write(target / RECORD, json.dumps(given, indent=1).encode())
        return lines
    except OSError as problem:
        raise LabError(
            f"Your copies of the lessons cannot be written to {target}: {problem.strerror}. "
            "Make the folder writable, or copy the course to another place."
        ) from None


def read_record(path: Path) -> dict[str, str]:
    """Return the digest of each lesson that the learner was given. Raises LabError."""
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise LabError(f"{path} cannot be read. Delete it, then try again.") from None


def without_outputs(path: Path) -> bytes:
    """Return a notebook as it is before its code cells have run."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    return (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode()


def free_name(copy: Path) -> Path:
    """Return NAME.new.ipynb, or NAME.new2.ipynb if the learner has kept that one, and so on."""
    newer, number = copy.with_suffix(".new.ipynb"), 1
    while newer.exists():
        number += 1
        newer = copy.with_suffix(f".new{number}.ipynb")
    return newer


def write(path: Path, content: bytes) -> None:
    """Write a file completely or not at all: half a copy would never be written again."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
