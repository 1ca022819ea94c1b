"""Exercises in a notebook: check an answer, ask for a hint, see a solution, keep answers.

    ex1, ex2, ex3 = check.exercises("01", pg)

`ex1.check()` ends the exercise's cell. It looks at the learner's values and at the database and
prints "Correct", "Not yet" with the reason, or "Not attempted". When something else is broken, a
server for example, it prints "Could not check", and the answer counts as neither.

The last answer that was checked is kept for each learner; an incorrect one never takes the place
of a correct one. After a kernel restart `ex1.restore()` brings it back. The exercises are defined
in helpers/exercises, whose docstring says how to write one.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from IPython.core.getipython import get_ipython

from helpers.base.errors import LabError
from helpers.exercises import Database, Exercise, Incorrect, NotAttempted, answers, guarded, trouble

SERVER_NAMES = {"postgresql": "pg", "redis": "rd", "mongodb": "mg"}
LABELS = {
    "correct": "Correct.",
    "incorrect": "Not yet:",
    "not attempted": "Not attempted:",
    "not checked": "Could not check:",
}
NEXT_STEP = "Run all cells above, then this cell. `python -m helpers doctor` says what is wrong."
# JupyterLab breaks long lines of output inside words, so they are broken here.
_fill = partial(textwrap.fill, width=76, break_long_words=False, break_on_hyphens=False)
_running = {"cell": ""}  # the source of the notebook cell that is running now


@dataclass(frozen=True)
class Result:
    """What a check found: correct, incorrect, not attempted or not checked, and the words."""

    outcome: str
    text: str


def exercises(
    lesson: str, *servers: Database, numbers: Sequence[int] | None = None
) -> tuple[Task, ...]:
    """Return exercises of a lesson, and say in one line which of their answers are kept.

    Args:
        lesson: the number that the notebook's name begins with, two digits: "01".
        servers: what `lab.postgres`, `lab.redis` and `lab.mongodb` returned.
        numbers: which exercises; without it the first three, which are the core's.

    Raises:
        ValueError: the lesson does not have these exercises.
    """
    name = f"helpers.exercises.lesson_{lesson}"
    try:
        known = {exercise.number: exercise for exercise in importlib.import_module(name).EXERCISES}
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ValueError(
            f"Lesson {lesson!r} has no exercises. Give the number that the notebook's name begins "
            'with, for example check.exercises("01", pg).'
        ) from None
    numbers = list(known)[:3] if numbers is None else numbers
    if unknown := [number for number in numbers if number not in known]:
        raise ValueError(f"Lesson {lesson} has exercises {list(known)}, but not {unknown}.")
    if shell := get_ipython():
        shell.events.register("pre_run_cell", _remember_cell)
    kept = {n: answer for n in numbers if (answer := answers.read(lesson, n))}
    if kept:
        words = [f"exercise {n} ({LABELS[a.outcome][:-1].lower()})" for n, a in kept.items()]
        first = next(iter(kept))
        print(_fill(f"Kept answers: {', '.join(words)}. ex{first}.restore() runs yours again."))
    return tuple(Task(lesson, known[number], servers) for number in numbers)


class Task:
    """One exercise in a notebook; `exercises` makes them."""

    def __init__(self, lesson: str, exercise: Exercise, servers: Sequence[Database] = ()) -> None:
        """Args: the lesson's number, the exercise, and the servers that its check looks at."""
        self.lesson, self.exercise = lesson, exercise
        self.servers = {SERVER_NAMES[server.kind]: server for server in servers}
        self.result: Result | None = None
        self._hints = 0

    def __repr__(self) -> str:
        """Return the same words in every run, without an address."""
        exercise = self.exercise
        return _fill(f"Exercise {exercise.number}, {exercise.title}: {exercise.prompt}")

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
        if not (answer := answers.read(self.lesson, self.exercise.number)):
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
        number, outcome, words = self.exercise.number, "correct", self.exercise.praise
        try:
            yield
        except NotAttempted as reason:
            outcome, words = "not attempted", f"{reason} ex{number}.hint() gives a hint."
        except Incorrect as reason:
            outcome, words = "incorrect", f"{reason} ex{number}.hint() gives a hint."
            # The learner's code may have raised only because a server is or was down.
            if reason.__cause__ and (problem := trouble(self.servers.values(), reason)):
                outcome, words = "not checked", f"{problem} {NEXT_STEP}"
        except Exception as error:
            outcome = "not checked"
            words = f"{trouble(self.servers.values(), error)} {NEXT_STEP}"
        self.result = Result(outcome, f"{LABELS[outcome]} {words}".strip())
        print(_fill(self.result.text))
        if outcome in ("correct", "incorrect") and _running["cell"]:
            answers.keep(self.lesson, number, answers.Answer(outcome, _running["cell"]))


def _remember_cell(info: Any) -> None:
    """Note a cell's source before it runs (IPython's event pre_run_cell)."""
    _running["cell"] = info.raw_cell
