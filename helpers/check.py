"""Exercises in a notebook: check an answer, ask for a hint, see a solution, keep answers.

    ex1, ex2, ex3 = check.exercises("01", pg)

`ex1.check()` ends the exercise's cell. It looks at the learner's values and at the database and
prints "Correct", "Not yet" with the reason, or "Not attempted". When something else is broken, a
server for example, it prints "Could not check", and the answer counts as neither.

The last answer that was checked is kept for each learner; an incorrect one never takes the place
of a correct one. After a kernel restart `ex1.restore()` brings it back. The exercises lie beside
their notebooks; the docstring of helpers/exercises says how to write one.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from IPython.core.getipython import get_ipython

from helpers import outline
from helpers.base.errors import LabError
from helpers.exercises import CouldNotCheck, Exercise, Incorrect, NotAttempted, Place, answers
from helpers.exercises.running import guarded, trouble
from helpers.kinds import KINDS

LABELS = {
    "correct": "Correct.",
    "incorrect": "Not yet:",
    "not attempted": "Not attempted:",
    "not checked": "Could not check:",
}
NEXT_STEP = "Run all cells above, then this cell. `python -m helpers doctor` says what is wrong."
# JupyterLab breaks long lines of output inside words, so they are broken here.
_fill = partial(textwrap.fill, width=76, break_long_words=False, break_on_hyphens=False)


class CurrentCell:
    """The notebook cell that is running now."""

    def __init__(self) -> None:
        """Begin without one: outside of a notebook, no answer is kept."""
        self.source = ""

    def note(self, info: Any) -> None:
        """Note a cell's source before it runs (IPython's event pre_run_cell)."""
        self.source = info.raw_cell


_current = CurrentCell()


@dataclass(frozen=True)
class Result:
    """What a check found: correct, incorrect, not attempted or not checked, and the words."""

    outcome: str
    text: str


def exercises(number: str, *servers: Place) -> tuple[Task, ...]:
    """Return a notebook's exercises, and say in one line which of their answers are kept.

    Args:
        number: the notebook's, with which its file's name begins: "01", "01b".
        servers: what `lab.postgres`, `lab.redis` and `lab.mongodb` returned.

    Raises:
        ValueError: no notebook has this number, or it has no exercises.
    """
    notebook = outline.find(number)
    known = [outline.load(file).EXERCISE for file in notebook.exercises]
    if not known:
        raise ValueError(f"The notebook {notebook.path.name} has no exercises.")
    if shell := get_ipython():
        shell.events.register("pre_run_cell", _current.note)
    tasks = tuple(Task(number, n, one, servers) for n, one in enumerate(known, start=1))
    kept = {task: answer for task in tasks if (answer := answers.read(task.id))}
    if kept:
        words = [f"exercise {t.place} ({LABELS[a.outcome][:-1].lower()})" for t, a in kept.items()]
        first = next(iter(kept)).place
        print(_fill(f"Kept answers: {', '.join(words)}. ex{first}.restore() runs yours again."))
    return tasks


class Task:
    """One exercise in a notebook; `exercises` makes them."""

    def __init__(
        self, number: str, place: int, exercise: Exercise, servers: Sequence[Place] = ()
    ) -> None:
        """Make a task.

        Args:
            number: the notebook's number.
            place: the exercise's place in it, from 1.
            exercise: what it consists of.
            servers: those that its check looks at.
        """
        self.id, self.place, self.exercise = f"{number}-{place}", place, exercise
        self.servers = {KINDS[server.kind].short: server for server in servers}
        self.result: Result | None = None
        self._hints = 0

    def __repr__(self) -> str:
        """Return the same words in every run, without an address."""
        exercise = self.exercise
        return _fill(f"Exercise {self.place}, {exercise.title}: {exercise.prompt}")

    def start(self) -> None:
        """Bring back the state of the database that the exercise starts from.

        Raises:
            LabError: it cannot, because a server is down or a table is locked.
        """
        if (prepare := self.exercise.prepare) is None:
            return
        try:
            prepare(**{name: self.servers[name] for name in inspect.signature(prepare).parameters})
        except Exception as error:
            problem = trouble(self.servers.values(), error) or error
            raise LabError(f"The exercise cannot start. {problem} {NEXT_STEP}") from None

    def check(self, namespace: Mapping[str, Any] | None = None) -> Any:
        """Check the answer, print the outcome, keep the answer.

        Args:
            namespace: where the answer's names are; without it the notebook's.

        Returns:
            None, or for an exercise with asyncio something to await.
        """
        if namespace is None:
            namespace = vars(sys.modules["__main__"])
        if inspect.iscoroutinefunction(self.exercise.check):
            return self._check_async(namespace)
        with self._judged():
            self.exercise.check(**self._arguments(namespace))

    async def _check_async(self, namespace: Mapping[str, Any]) -> None:
        with self._judged():
            await self.exercise.check(**self._arguments(namespace))

    def hint(self) -> None:
        """Print the next hint; after the last one, the last one again."""
        hints = self.exercise.hints
        self._hints = min(self._hints + 1, len(hints))
        print(_fill(f"Hint {self._hints} of {len(hints)}: {hints[self._hints - 1]}"))

    def solution(self) -> None:
        """Print a cell that solves the exercise."""
        print(self.exercise.solution.strip("\n"))

    def restore(self) -> None:
        """Put the kept answer into a new cell below, and run it here."""
        shell: Any = get_ipython()
        if not (answer := answers.read(self.id)):
            return print("No answer to this exercise is kept.")
        shell.set_next_input(answer.source)
        python = shell.transform_cell(answer.source)
        if shell.should_run_async(answer.source, transformed_cell=python):  # it cannot run in here
            return print("Your answer is in the new cell below. Run that cell.")
        print("Your answer is in the new cell below. Its result:")
        shell.run_cell(answer.source)

    def _arguments(self, namespace: Mapping[str, Any]) -> dict[str, Any]:
        """Look up what the check's parameters name: servers, and the learner's values."""
        found: dict[str, Any] = {}
        for name in inspect.signature(self.exercise.check).parameters:
            if name not in self.servers and name not in namespace:
                raise NotAttempted(f"Nothing is called `{name}`; the check looks for this name.")
            value = self.servers[name] if name in self.servers else namespace[name]
            if value is ...:
                raise NotAttempted(f"Write your answer in place of the `...` of `{name}`.")
            found[name] = guarded(name, value) if inspect.isfunction(value) else value
        return found

    @contextmanager
    def _judged(self) -> Iterator[None]:
        """Turn what the check raises into a result; print it and keep the answer."""
        outcome, words = "correct", self.exercise.praise
        try:
            yield
        except NotAttempted as reason:
            outcome, words = "not attempted", f"{reason} ex{self.place}.hint() gives a hint."
        except Incorrect as reason:
            outcome, words = "incorrect", f"{reason} ex{self.place}.hint() gives a hint."
            # The learner's code may have raised only because a server is or was down.
            if reason.__cause__ and (problem := trouble(self.servers.values(), reason)):
                outcome, words = "not checked", f"{problem} {NEXT_STEP}"
        except CouldNotCheck as reason:
            outcome, words = "not checked", str(reason)
        except Exception as error:
            outcome = "not checked"
            words = f"{trouble(self.servers.values(), error)} {NEXT_STEP}"
        self.result = Result(outcome, f"{LABELS[outcome]} {words}".strip())
        print(_fill(self.result.text))
        if outcome in ("correct", "incorrect") and _current.source:
            answers.keep(self.id, outcome, _current.source)
