"""What the course consists of: its notebooks, their numbers, titles, minutes and exercises.

The only place that looks for notebooks. A notebook's number is its file's: `05` is the core of
lesson 05, `05b` a section of it, in the lesson's folder. The files of a core's exercises begin
with `core1_`, `core2_` ..., those of section b with `b1_`, `b2_` ... (`exercises_05/b1_loyal.py`).
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from helpers.base.paths import NOTEBOOKS

PATTERN = "[0-9][0-9]_*"  # of a core, and of a lesson's folder
START_MINUTES = 1
WORDS_A_MINUTE, LINES_A_MINUTE = 200, 12
PREDICTION_SECONDS, OUTPUT_SECONDS, PICTURE_SECONDS = 45, 10, 30
SHORT_TABLE = 5  # rows; a longer one is read like a picture


@dataclass(frozen=True)
class Notebook:
    """A notebook of the course."""

    number: str
    path: Path

    @property
    def lesson(self) -> str:
        """The number of the lesson that it belongs to."""
        return self.number[:2]

    @property
    def is_core(self) -> bool:
        """Whether it is the lesson's core and not one of its sections."""
        return self.number == self.lesson

    @property
    def folder(self) -> Path:
        """The lesson's folder, which need not exist."""
        return self.path.with_suffix("") if self.is_core else self.path.parent

    @property
    def exercises(self) -> tuple[Path, ...]:
        """The files of its exercises, in their order."""
        part = "core" if self.is_core else self.number[2:]
        files = (self.folder / f"exercises_{self.lesson}").glob(f"{part}[0-9]*_*.py")
        return tuple(sorted(files, key=lambda file: int(re.findall(r"\d+", file.stem)[0])))

    def exercise_id(self, place: int) -> str:
        """Return an exercise's id, such as `05b-1`; the first place is 1."""
        return f"{self.number}-{place}"

    def cells(self) -> list[dict[str, Any]]:
        """Return its cells as JSON has them; `source` is one text."""
        cells: list[dict[str, Any]] = json.loads(self.path.read_text(encoding="utf-8"))["cells"]
        return [{**cell, "source": "".join(cell["source"])} for cell in cells]

    def _said(self, pattern: str) -> str:
        """Return what a pattern finds in the title cell. Raises ValueError without it."""
        found = re.search(pattern, self.cells()[0]["source"])
        if not found:
            raise ValueError(f"{self.path.name}: the first cell has nothing like {pattern!r}")
        return found[1]

    @property
    def title(self) -> str:
        """The title in its first cell, without the number."""
        return self._said(rf"^# {self.number} · (.+)")

    @property
    def promise(self) -> str:
        """What one can do afterwards: the rest of "After this lesson you can ..."."""
        return self._said(r"\*\*After this (?:lesson|section) you can (.+?)\.\*\*")

    @property
    def minutes(self) -> int:
        """The minutes that its first cell says."""
        return int(self._said(r"about (\d+) minutes"))


def cores(where: Path | None = None) -> list[Notebook]:
    """Return the lessons' cores in their order."""
    return [
        Notebook(path.name[:2], path)
        for path in sorted((where or NOTEBOOKS).glob(f"{PATTERN}.ipynb"))
    ]


def sections(lesson: str, where: Path | None = None) -> list[Notebook]:
    """Return the sections of a lesson in their order; none is an empty list."""
    found = sorted((where or NOTEBOOKS).glob(f"{lesson}_*/{lesson}[a-z]_*.ipynb"))
    return [Notebook(path.name[:3], path) for path in found]


def notebooks(where: Path | None = None) -> list[Notebook]:
    """Return every notebook of the course: each core, and its sections behind it.

    Raises:
        ValueError: two notebooks have one number.
    """
    found = [
        notebook for core in cores(where) for notebook in (core, *sections(core.lesson, where))
    ]
    numbers = [notebook.number for notebook in found]
    if double := {number for number in numbers if numbers.count(number) > 1}:
        raise ValueError(f"Two notebooks have the number {', '.join(sorted(double))}.")
    return found


def find(number: str, where: Path | None = None) -> Notebook:
    """Return the notebook with a number, such as "05" or "05b".

    Raises:
        ValueError: there is none.
    """
    for notebook in notebooks(where):
        if notebook.number == number:
            return notebook
    raise ValueError(f"No notebook has the number {number!r}.")


def load(file: Path) -> ModuleType:
    """Import an exercise's module by its path.

    Its folder, such as `exercises_05`, becomes a package of that name; nothing is put on the
    search path for modules.
    """
    package = file.parent.name
    if package not in sys.modules:
        begin = file.parent / "__init__.py"
        spec = importlib.util.spec_from_file_location(
            package, begin, submodule_search_locations=[str(file.parent)]
        )
        assert spec and spec.loader, begin
        sys.modules[package] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return importlib.import_module(f"{package}.{file.stem}")


def link(notebook: Notebook, start: Path) -> str:
    """Return a link to a notebook for a text that lies in the folder `start`."""
    path = notebook.path
    where = path.relative_to(start) if path.is_relative_to(start) else Path("..", path.name)
    return f"[{notebook.number} {notebook.title}]({where.as_posix()})"


def list_of_sections(core: Notebook) -> str:
    """Return the table of a lesson's sections, as the core ends with it."""
    rows = [
        f"| {link(section, core.path.parent)} | {section.minutes} | {section.promise} |"
        for section in sections(core.lesson, core.path.parent)
    ]
    return "\n".join(["| Section | Minutes | Afterwards you can |", "| --- | --- | --- |", *rows])


def list_of_lessons() -> str:
    """Return the table of all lessons, as the README has it."""
    head = ["| Notebook | You will be able to | Core | Going deeper |", "| --- | --- | --- | --- |"]
    rows = []
    for core in cores():
        where = core.path.relative_to(NOTEBOOKS.parent).as_posix()
        deeper = [section.minutes for section in sections(core.lesson)]
        more = f"{len(deeper)} sections of {min(deeper)} to {max(deeper)} min" if deeper else ""
        title = f"[{core.number} {core.title}]({where})"
        rows.append(f"| {title} | {core.promise} | {core.minutes} min | {more} |")
    return "\n".join(head + rows)


def reckoned_minutes(notebook: Notebook, exercises: Sequence[int] = ()) -> int:
    """Reckon how long a notebook takes: reading, predicting, looking at outputs, exercises.

    Args:
        exercises: the minutes that each of its exercises says.
    """
    seconds = START_MINUTES * 60.0 + 60 * sum(exercises)
    for cell in notebook.cells():
        if cell["cell_type"] == "markdown":
            seconds += 60 * len(cell["source"].split()) / WORDS_A_MINUTE
            seconds += PREDICTION_SECONDS * len(re.findall(r"\*\*Predict\b", cell["source"]))
        elif ".check()" not in cell["source"]:
            lines = [line for line in cell["source"].splitlines() if line.strip()]
            seconds += 60 * len(lines) / LINES_A_MINUTE
            seconds += sum(_seconds_of(output) for output in cell.get("outputs", []))
    return math.ceil(seconds / 60)


def _seconds_of(output: dict[str, Any]) -> int:
    """Return how long one looks at an output."""
    data = output.get("data", {})
    rows = len(re.findall(r"<tr", "".join(data.get("text/html", ""))))
    is_large = "image/png" in data or rows > SHORT_TABLE + 1
    return PICTURE_SECONDS if is_large else OUTPUT_SECONDS
