"""Run a cell as the answer to an exercise, as a learner would, and return what came of it.

    with Trial(outline.find("05b")) as trial:
        trial.answer(1, "loyal = []\\n\\nex1.check()").outcome

The notebook's own cells above the exercise run first, in a real IPython shell, against the lab's
servers. Tests, the mutation tool and `python -m helpers try` use this.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from helpers import outline
from helpers.base.errors import LabError
from helpers.check import Result, Task
from helpers.commands.own_lab import remove_places
from helpers.exercises import Exercise
from helpers.outline import Notebook

RAISES = "raises-exception"


class Silent(DisplayPublisher):
    """Shows nothing: pictures and tables of the cells above are not wanted here."""

    def publish(self, *_: Any, **__: Any) -> None:
        """Drop what a cell displays."""


class SilentHook(DisplayHook):
    """Shows nothing of a cell's last value."""

    def __call__(self, result: Any = None) -> None:
        """Drop the value."""


class Shell(InteractiveShell):
    """IPython as a kernel has it, without a history file and without a screen."""

    display_pub_class = Silent
    displayhook_class = SilentHook


class CellFailed(Exception):
    """A cell of the notebook raised where it should not; the text says which, and what."""


@dataclass(frozen=True)
class Outcome:
    """What came of an answer.

    `outcome` is that of the check, or "raised" when the cell raised before or instead of it, or
    "unchecked" when it called no check. `text` is what the learner is told.
    """

    outcome: str
    text: str


class Trial:
    """A notebook in a shell of its own: its cells, and answers to its exercises."""

    def __init__(self, notebook: Notebook) -> None:
        """Read the notebook; `with` starts the shell."""
        self.notebook = notebook
        self.exercises: list[Exercise] = [
            outline.load(file).EXERCISE for file in notebook.exercises
        ]
        self.cells = [cell for cell in notebook.cells() if cell["cell_type"] == "code"]
        self.ran: set[str] = set()
        self.names: dict[int, dict[str, Any]] = {}  # for each exercise, those of the cells above
        self.before = Path.cwd()
        self.path = list(sys.path)

    def __enter__(self) -> Trial:
        """Start the shell in the notebook's folder."""
        os.chdir(self.notebook.path.parent)
        sys.path.insert(0, str(self.notebook.path.parent))  # as a kernel has it
        self.modules = set(sys.modules)
        Shell.clear_instance()
        settings = Config(HistoryManager={"enabled": False})
        self.shell: InteractiveShell = Shell.instance(config=settings, colors="nocolor")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the shell; forget the lesson's modules, which another notebook may name alike."""
        self.shell.reset(new_session=False)
        self.shell.restore_sys_module_state()
        Shell.clear_instance()
        os.chdir(self.before)
        sys.path[:] = self.path
        folder = str(self.notebook.folder)
        for name in set(sys.modules) - self.modules:
            file = getattr(sys.modules[name], "__file__", None) or ""
            if file.startswith(folder) and "exercises_" not in name:
                del sys.modules[name]

    def run(self, source: str) -> tuple[BaseException | None, str]:
        """Run a cell; return what it raised, and what it printed."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            ran = self.shell.run_cell(source, store_history=False)
        return ran.error_before_exec or ran.error_in_exec, printed.getvalue()

    def set_up(self, place: int) -> None:
        """Run the cells above an exercise that have not run yet.

        Raises:
            CellFailed: one of them raised, and is not there to raise.
        """
        wanted = self.exercises[place - 1].cells
        for cell in self.cells:
            if f"ex{place}.check()" in cell["source"]:
                break
            if cell["id"] in self.ran or (wanted and cell["id"] not in wanted):
                continue
            self.ran.add(cell["id"])
            error, printed = self.run(cell["source"])
            if error and RAISES not in cell["metadata"].get("tags", []):
                raise CellFailed(
                    f"{self.notebook.path.name}, cell {cell['id']}: {error!r}\n{printed[-2000:]}"
                )
        self.names.setdefault(place, dict(self.shell.user_ns))

    def forget(self, place: int) -> None:
        """Bring back the names that the cells above an exercise have left, and no others."""
        self.set_up(place)
        self.shell.user_ns.clear()
        self.shell.user_ns.update(self.names[place])

    def task(self, place: int) -> Task:
        """Return the exercise's task, as the notebook's set-up cell has made it."""
        task = self.shell.user_ns[f"ex{place}"]
        assert isinstance(task, Task)
        return task

    def answer(self, place: int, source: str) -> Outcome:
        """Run a cell as the answer to an exercise; its notebook's cells run before, once.

        Raises:
            CellFailed: the notebook's own cells do not run.
        """
        self.set_up(place)
        task = self.task(place)
        task.result = None
        error, _ = self.run(source)
        self.ran |= {cell["id"] for cell in self.cells if f"ex{place}.check()" in cell["source"]}
        if error:
            return Outcome("raised", f"{type(error).__name__}: {error}")
        return self.result(place)

    def result(self, place: int) -> Outcome:
        """Return what the exercise's last check found."""
        found: Result | None = self.task(place).result
        if found is None:
            return Outcome("unchecked", f"The cell did not call ex{place}.check().")
        return Outcome(found.outcome, found.text)

    def again(self, place: int) -> Outcome:
        """Check once more, without running the answer again."""
        call = f"ex{place}.check()"
        starter = self.exercises[place - 1].starter
        self.run(f"await {call}" if f"await {call}" in starter else call)
        return self.result(place)


@contextlib.contextmanager
def own_places(name: str) -> Iterator[None]:
    """Run the block with databases that nobody else has, and remove them at the end."""
    before = os.environ.get("LAB_NAMESPACE")
    os.environ["LAB_NAMESPACE"] = f"{name}_{os.getpid()}_{secrets.token_hex(2)}"
    try:
        yield
    finally:
        remove_places()
        os.environ.pop("LAB_NAMESPACE")
        if before is not None:
            os.environ["LAB_NAMESPACE"] = before


def split_id(exercise: str) -> tuple[Notebook, int]:
    """Return the notebook and the place that an exercise's id names.

    Raises:
        LabError: there is no such exercise.
    """
    number, _, place = exercise.rpartition("-")
    with contextlib.suppress(ValueError):
        notebook = outline.find(number)
        if 1 <= int(place) <= len(notebook.exercises):
            return notebook, int(place)
    raise LabError(
        f"There is no exercise {exercise!r}. An id is a notebook's number and a place in it, "
        "such as 05b-1."
    )


def try_(arguments: Sequence[str]) -> int:
    """Run a file's content as the answer to an exercise; print the outcome and the words.

    `--json` prints both as data. The exit code is 0 when the answer is correct.
    """
    words = [word for word in arguments if word != "--json"]
    if len(words) != 2:
        raise LabError("Which exercise, and which file? For example: try 05b-1 answer.py")
    notebook, place = split_id(words[0])
    try:
        source = Path(words[1]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise LabError(f"The answer {words[1]} cannot be read: {problem}") from None
    with own_places("try"), Trial(notebook) as trial:
        found = trial.answer(place, source)
    if "--json" in arguments:
        print(json.dumps({"outcome": found.outcome, "text": found.text}))
    else:
        print(f"{found.outcome}\n{found.text}")
    return 0 if found.outcome == "correct" else 1
