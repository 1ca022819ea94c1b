"""Answers that are kept between kernels: one small JSON file for each exercise and learner.

The files are in the state directory, under answers/<LAB_NAMESPACE or default>. Every exercise has
a file of its own, `05b-1.json`, so two kernels never rewrite each other's answers. A file is
replaced in one step (written beside, then renamed), and only its owner can read it.
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from helpers.base import paths
from helpers.base.files import write_private


@dataclass(frozen=True)
class Answer:
    """An answer that was checked.

    `outcome` is "correct" or "incorrect", `source` the cell, `tries` how often any answer to this
    exercise was checked, `at` when this one was kept (UTC, ISO 8601).
    """

    outcome: str
    source: str
    tries: int = 1
    at: str = ""


def path(exercise: str) -> Path:
    """Return the file that keeps the answer to an exercise, such as `05b-1`; it need not exist."""
    learner = paths.namespace() or "default"
    return paths.state_dir() / "answers" / learner / f"{exercise}.json"


def read(exercise: str) -> Answer | None:
    """Return the kept answer, or None. A damaged file is renamed, never deleted, with one line."""
    try:
        _carry_over(exercise)
        return _read(path(exercise))
    except OSError as error:
        print(f"The kept answer to exercise {exercise} cannot be read: {error}")
        return None


def keep(exercise: str, outcome: str, source: str) -> None:
    """Keep an answer; an incorrect one never takes the place of a correct one."""
    file = path(exercise)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        for folder in (file.parent.parent, file.parent):  # `parents=True` would ignore the mode
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        before = _read(file)
        tries = before.tries + 1 if before else 1
        if before and before.outcome == "correct" and outcome != "correct":
            write_private(file, json.dumps(asdict(replace(before, tries=tries))))
        else:
            write_private(file, json.dumps(asdict(Answer(outcome, source, tries, now))))
    except OSError as error:
        print(f"The result stands, but your answer to exercise {exercise} is not kept: {error}")


def _carry_over(exercise: str) -> None:
    """Take over an answer that was kept when a lesson's exercises were numbered through.

    Numbers 1 to 3 were the core's, 4 was section a's, 5 section b's, and so on.
    """
    number, _, place = exercise.rpartition("-")
    count = int(place) if len(number) == 2 else ord(number[2]) - ord("a") + 4
    old = path(exercise).with_name(f"lesson_{number[:2]}_ex{count}.json")
    if not old.exists() or path(exercise).exists():
        return
    answer = _read(old)
    if answer is not None:
        source = re.sub(rf"\bex{count}(?=\b|_)", f"ex{place}", answer.source)
        write_private(path(exercise), json.dumps(asdict(replace(answer, source=source))))
    old.unlink(missing_ok=True)


def _read(file: Path) -> Answer | None:
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
        tries, at = int(fields.get("tries", 1)), str(fields.get("at", ""))
        answer = Answer(fields["outcome"], fields["source"], tries, at)
        if answer.outcome in ("correct", "incorrect") and isinstance(answer.source, str):
            return answer
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        pass  # not JSON, or JSON that `keep` did not write
    aside = _free_name(file)
    with contextlib.suppress(FileNotFoundError):  # another kernel has just done it
        file.rename(aside)
        print(f"A kept answer is damaged. Its file is now {aside}")
    return None


def _free_name(file: Path) -> Path:
    count = 1
    while (aside := file.with_name(f"{file.name}.damaged-{count}")).exists():
        count += 1
    return aside
