"""Answers that are kept between kernels: one small JSON file for each exercise and learner.

The files are in the state directory, under answers/<LAB_NAMESPACE or default>. Every exercise has
a file of its own, so two kernels never rewrite each other's answers. A file is replaced in one
step (written beside, then renamed), and only its owner can read it.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from helpers.base import paths


@dataclass(frozen=True)
class Answer:
    """The outcome of a check, "correct" or "incorrect", and the cell that was checked."""

    outcome: str
    source: str


def path(lesson: str, number: int) -> Path:
    """Return the file that keeps the answer to an exercise; it need not exist."""
    learner = paths.namespace() or "default"
    return paths.state_dir() / "answers" / learner / f"lesson_{lesson}_ex{number}.json"


def read(lesson: str, number: int) -> Answer | None:
    """Return the kept answer, or None. A damaged file is renamed, never deleted, with one line."""
    try:
        return _read(path(lesson, number))
    except OSError as error:
        print(f"The kept answer to exercise {number} cannot be read: {error}")
        return None


def keep(lesson: str, number: int, answer: Answer) -> None:
    """Keep an answer; an incorrect one never takes the place of a correct one."""
    file = path(lesson, number)
    try:
        for folder in (file.parent.parent, file.parent):  # `parents=True` would ignore the mode
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        before = _read(file)
        if answer.outcome == "correct" or before is None or before.outcome != "correct":
            _write(file, answer)
    except OSError as error:
        print(f"The result stands, but your answer to exercise {number} is not kept: {error}")


def _read(file: Path) -> Answer | None:
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
        answer = Answer(outcome=fields["outcome"], source=fields["source"])
        if answer.outcome in ("correct", "incorrect") and isinstance(answer.source, str):
            return answer
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        pass  # not JSON, or JSON that `keep` did not write
    aside = _free_name(file)
    with contextlib.suppress(FileNotFoundError):  # another kernel has just done it
        file.rename(aside)
        print(f"A kept answer is damaged. Its file is now {aside}")
    return None


def _write(file: Path, answer: Answer) -> None:
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=file.name, suffix=".tmp")
    beside = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(asdict(answer), stream)
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)  # still there only when something failed


def _free_name(file: Path) -> Path:
    count = 1
    while (aside := file.with_name(f"{file.name}.damaged-{count}")).exists():
        count += 1
    return aside
