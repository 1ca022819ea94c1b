"""The learner's own copies of the lessons, in work/: a mirror of notebooks/.

Notebooks come without their stored outputs, because the predictions are the learner's. The checks
of exercises and the instructor's page are not copied. What the learner has changed is never
overwritten; what is untouched is renewed when the course changes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from helpers.base.errors import LabError
from helpers.base.files import write_whole
from helpers.base.paths import NOTEBOOKS, WORK

RECORD = ".given.json"  # for each file, the digest of what the learner was given last
NOT_COPIED = ("__pycache__", ".ipynb_checkpoints", "teaching.md")


def fill(source: Path = NOTEBOOKS, target: Path = WORK) -> list[str]:
    """Bring the copies in `target` up to date; return a line for each thing that happened.

    A file that is missing is copied. One that the learner has not touched since is renewed. One
    that is changed on both sides stays, and the new one is placed beside it: NAME.new.ipynb, or
    NAME.new for other files.

    Raises:
        LabError: the copies cannot be written, or the record of them is damaged.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
        given = read_record(target / RECORD)
        copies = Copies(target, given)
        for path in files_of(source):
            copies.bring(path.relative_to(source), content_of(path))
        write_whole(target / RECORD, json.dumps(given, indent=1).encode())
        return copies.lines()
    except OSError as problem:
        raise LabError(
            f"Your copies of the lessons cannot be written to {target}: {problem.strerror}. "
            "Make the folder writable, or copy the course to another place."
        ) from None


class Copies:
    """The copies while they are brought up to date, and what is to be said of it."""

    def __init__(self, target: Path, given: dict[str, str]) -> None:
        """Take the folder of the copies and the record, which is changed."""
        self.target, self.given = target, given
        self.new: list[Path] = []
        self.renewed: list[Path] = []
        self.offered: list[tuple[Path, Path]] = []

    def bring(self, name: Path, content: bytes) -> None:
        """Bring one file up to date."""
        copy = self.target / name
        before, now = self.given.get(name.as_posix()), digest(content)
        self.given[name.as_posix()] = now
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            write_whole(copy, content)
            self.new.append(name)
        elif (mine := digest(copy.read_bytes())) == now or before == now:
            return
        elif mine == before:
            write_whole(copy, content)
            self.renewed.append(name)
        else:
            beside = free_name(copy)
            write_whole(beside, content)
            self.offered.append((name, beside.relative_to(self.target)))

    def lines(self) -> list[str]:
        """Say what happened: a line for each lesson that is new or renewed, and each offer."""
        where = self.target.name
        said = []
        for name, others in by_lesson(self.new):
            said.append(f"New in {where}/: {name.as_posix()}{and_more(others)}")
        for name, others in by_lesson(self.renewed):
            more = and_more(others)
            said.append(f"Renewed in {where}/, you had not changed it: {name.as_posix()}{more}")
        for name, beside in self.offered:
            said.append(
                f"{name.as_posix()} has changed. Your copy was left as it is; "
                f"the new one is beside it: {where}/{beside.as_posix()}"
            )
        return said


def by_lesson(names: list[Path]) -> list[tuple[Path, int]]:
    """Return the first file of each lesson, and how many more of that lesson there are."""
    lessons: dict[str, list[Path]] = {}
    for name in names:
        lessons.setdefault(name.parts[0][:2], []).append(name)
    return [(min(found, key=reading_order), len(found) - 1) for found in lessons.values()]


def reading_order(name: Path) -> tuple[int, bool, Path]:
    """Order a lesson's files: the core first, then other notebooks, then the rest."""
    return (len(name.parts), name.suffix != ".ipynb", name)


def and_more(count: int) -> str:
    """Return " and 3 more files", or "" for none."""
    return f" and {count} more file{'s' if count > 1 else ''}" if count else ""


def files_of(source: Path) -> Iterator[Path]:
    """Yield the files that a learner gets: notebooks, and what lies in lessons' folders."""
    for path in sorted(source.glob("[0-9]*")):
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            parts = file.relative_to(source).parts
            hidden = any(part in NOT_COPIED or part.startswith("exercises_") for part in parts)
            if file.is_file() and not hidden:
                yield file


def content_of(path: Path) -> bytes:
    """Return what a learner gets of a file."""
    return without_outputs(path) if path.suffix == ".ipynb" else path.read_bytes()


def digest(content: bytes) -> str:
    """Return what a file's content is compared by."""
    return hashlib.sha256(content).hexdigest()


def read_record(path: Path) -> dict[str, str]:
    """Return the digest of each file that the learner was given. Raises LabError."""
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
    """Return a name beside a copy that nothing has: NAME.new.ipynb, NAME.new2.ipynb, and so on.

    For other files NAME.new: no tool that looks for Python or SQL files takes it for one.
    """
    is_notebook = copy.suffix == ".ipynb"
    number = 1
    while True:
        word = f".new{number}" if number > 1 else ".new"
        name = copy.stem + word + copy.suffix if is_notebook else copy.name + word
        if not (newer := copy.with_name(name)).exists():
            return newer
        number += 1
