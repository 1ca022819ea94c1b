"""Every exercise of every lesson, in a real IPython shell, against real servers.

For each exercise: the untouched starter says not attempted, every typical wrong answer is
incorrect with its own reason, the solution is correct, also the second time, and after all that
the starter says not attempted again. The cells run one after another in one namespace, as a
learner's do.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from helpers import check
from helpers.exercises import Exercise, Incorrect, NotAttempted
from helpers.kinds.place import Place

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Case:
    """One cell to run for an exercise, and what must come of it."""

    name: str
    source: str
    outcome: str
    words: str = ""
    words_of_others: tuple[str, ...] = ()


def cases_of(exercise: Exercise) -> list[Case]:
    """All cells of an exercise, in the order that would show a start that does not start over."""
    words = [reason for _, reason in exercise.wrong]
    wrong = [
        Case(f"wrong{n}", source, "incorrect", reason, tuple(words[: n - 1] + words[n:]))
        for n, (source, reason) in enumerate(exercise.wrong, start=1)
    ]
    return [
        Case("starter", exercise.starter, "not attempted"),
        *wrong,
        Case("solution", exercise.solution, "correct"),
        Case("solution-again", exercise.solution, "correct"),
        Case("starter-again", exercise.starter, "not attempted"),
    ]


class Notebook:
    """A shell with the names that a notebook's cells before the exercises define."""

    def __init__(self) -> None:
        """Start the shell, without a history file."""
        self.shell = InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
        self.setup: object = None

    def complaints(self, lesson: str, exercise: Exercise, case: Case) -> list[str]:
        """Run the case's cell; say in words what did not come out as it must."""
        if self.setup is not exercise.setup:
            self.shell.reset(new_session=False)
            self.shell.push(exercise.setup())
            self.setup = exercise.setup
        names = self.shell.user_ns
        servers = [value for value in names.values() if isinstance(value, Place)]
        task = names[f"ex{exercise.number}"] = check.Task(lesson, exercise, servers)
        ran = self.shell.run_cell(case.source)
        if ran.error_before_exec or ran.error_in_exec:
            return [f"the cell raised {ran.error_before_exec or ran.error_in_exec!r}"]
        if task.result is None:
            return [f"the cell did not call ex{exercise.number}.check()"]
        first = task.result
        found = []
        if first.outcome != case.outcome:
            found.append(f"the outcome is {first.outcome!r}, not {case.outcome!r}: {first.text}")
        elif case.words not in first.text:
            found.append(f"{case.words!r} is not in the reason: {first.text}")
        shared = [words for words in case.words_of_others if words in first.text]
        if shared:
            found.append(f"the reason also has the words of another wrong answer: {shared}")
        if " at 0x" in first.text:
            found.append(f"the text has an address, which differs in every run: {first.text}")
        if case.name == "solution":
            again = f"ex{exercise.number}.check()"
            self.shell.run_cell(f"await {again}" if f"await {again}" in case.source else again)
            if task.result != first:
                found.append(f"a second check says something else: {task.result.text}")
        return found


def mistakes_in(exercise: Exercise) -> list[str]:
    """Say what is wrong with an exercise as far as it shows without running it."""
    call, begin = f"ex{exercise.number}.check()", f"ex{exercise.number}.start()"
    cells = [exercise.starter, exercise.solution, *(source for source, _ in exercise.wrong)]
    found = []
    if not exercise.hints:
        found.append("it has no hint")
    if not exercise.wrong:
        found.append("it has no typical wrong answer")
    if not all(words.strip() for _, words in exercise.wrong):
        found.append("a wrong answer has no words that its reason must contain")
    if len(set(cells)) != len(cells):
        found.append("two of starter, solution and wrong answers are the same cell")
    if not all(call in cell for cell in cells):
        found.append(f"a cell does not call {call}")
    if any((begin in cell) != bool(exercise.prepare) for cell in cells):
        found.append(f"prepare and {begin} belong together, in every cell")
    return found


def notebook_mistakes(exercise: Exercise, cells: list[str]) -> list[str]:
    """Compare the starter with the notebook's exercise cell."""
    here = [cell for cell in cells if f"ex{exercise.number}.check()" in cell]
    if len(here) != 1:
        return [f"{len(here)} cells of the notebook call ex{exercise.number}.check(), not one"]
    starter = exercise.starter.strip("\n")
    return [] if here[0] == starter else [f"the cell is\n{here[0]}\nbut the starter\n{starter}"]


def lessons() -> dict[str, Any]:
    """Every lesson's module, by the lesson's number."""
    files = sorted((ROOT / "helpers" / "exercises").glob("lesson_[0-9][0-9].py"))
    numbers = [file.stem.removeprefix("lesson_") for file in files]
    return {n: importlib.import_module(f"helpers.exercises.lesson_{n}") for n in numbers}


@functools.cache
def notebook_cells(lesson: str) -> list[str]:
    """Return the sources of the code cells of the lesson's notebook."""
    files = list((ROOT / "notebooks").glob(f"{lesson}_*.ipynb"))
    assert len(files) == 1, f"lesson {lesson} has exercises, but {len(files)} notebooks"
    notebook = nbformat.read(files[0], as_version=4)
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


LESSONS = lessons()
EXERCISES = [
    pytest.param(lesson, exercise, id=f"{lesson}-ex{exercise.number}")
    for lesson, module in LESSONS.items()
    for exercise in module.EXERCISES
]
CASES = [
    pytest.param(lesson, exercise, case, id=f"{lesson}-ex{exercise.number}-{case.name}")
    for lesson, module in LESSONS.items()
    for exercise in module.EXERCISES
    for case in cases_of(exercise)
]


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """One shell for all exercises, in a namespace that no notebook uses."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        environment.chdir(ROOT / "notebooks")  # where a notebook's cells run
        notebook = Notebook()
        yield notebook
        notebook.shell.restore_sys_module_state()
        InteractiveShell.clear_instance()


@pytest.mark.parametrize(("lesson", "exercise", "case"), CASES)
def test_outcome(notebook: Notebook, lesson: str, exercise: Exercise, case: Case) -> None:
    """The cell comes out as it must, with its own reason."""
    assert notebook.complaints(lesson, exercise, case) == []


@pytest.mark.parametrize(("lesson", "exercise"), EXERCISES)
def test_is_complete(lesson: str, exercise: Exercise) -> None:
    """Each exercise has hints, wrong answers and whole cells."""
    assert mistakes_in(exercise) == []


@pytest.mark.parametrize(("lesson", "exercise"), EXERCISES)
def test_starter_is_the_notebooks_cell(lesson: str, exercise: Exercise) -> None:
    """The notebook has the starter, character by character."""
    assert notebook_mistakes(exercise, notebook_cells(lesson)) == []


@pytest.mark.parametrize("lesson", LESSONS)
def test_numbers(lesson: str) -> None:
    """Exercises are numbered from 1, and the notebook checks no other."""
    numbers = [exercise.number for exercise in LESSONS[lesson].EXERCISES]
    assert numbers == list(range(1, len(numbers) + 1))
    called = re.findall(r"\bex(\d+)\.check\(\)", "\n".join(notebook_cells(lesson)))
    assert sorted(map(int, called)) == numbers


def test_there_are_lessons() -> None:
    """The collector found exercises at all."""
    assert CASES


# The collector itself: one good exercise, and what it must find in bad ones.

STARTER = """
ex1.start()  # empties the basket
# put exactly two eggs into the basket: basket.append("egg")
ex1.check()
"""
BASKET: list[str] = []


def _eggs(count: int) -> str:
    """Return a cell that puts so many eggs into the basket."""
    return STARTER.replace("# put", f"basket.extend(['egg'] * {count})\n# put")


def _check_basket(basket: list[str]) -> None:
    if not basket:
        raise NotAttempted("The basket is empty.")
    if len(basket) > 2:
        raise Incorrect("These are too many.")
    if len(basket) < 2:
        raise Incorrect("These are too few.")


GOOD = Exercise(
    number=1,
    title="Basket",
    prompt="Put two eggs into the basket.",
    setup=lambda: {"basket": BASKET},
    starter=STARTER,
    solution=_eggs(2),
    hints=["A list has an append."],
    wrong=[(_eggs(1), "too few"), (_eggs(3), "too many")],
    check=_check_basket,
    prepare=BASKET.clear,
)


def _check_nothing(basket: list[str]) -> None:
    """Accept every answer."""


def _check_refusing(basket: list[str]) -> None:
    raise Incorrect("These are too few.")


def _check_without_not_attempted(basket: list[str]) -> None:
    if len(basket) != 2:
        raise Incorrect("These are too few." if len(basket) < 2 else "These are too many.")


def _check_with_one_reason(basket: list[str]) -> None:
    if basket and len(basket) != 2:
        raise Incorrect("These are too few or too many.")
    _check_basket(basket)


def _check_that_eats(basket: list[str]) -> None:
    _check_basket(basket)
    basket.pop()


def _check_with_address(basket: list[str]) -> None:
    if basket and len(basket) != 2:
        raise Incorrect(f"{object()} is too few." if len(basket) < 2 else "These are too many.")
    _check_basket(basket)


BAD = {
    "accepts-everything": (
        {"check": _check_nothing},
        {"starter", "wrong1", "wrong2", "starter-again"},
    ),
    "refuses-everything": (
        {"check": _check_refusing},
        {"starter", "wrong2", "solution", "solution-again", "starter-again"},
    ),
    "never-not-attempted": (
        {"check": _check_without_not_attempted},
        {"starter", "starter-again"},
    ),
    "one-reason-for-two": ({"check": _check_with_one_reason}, {"wrong1", "wrong2"}),
    "address-in-text": ({"check": _check_with_address}, {"wrong1"}),
    "check-changes-state": ({"check": _check_that_eats}, {"solution"}),
    "start-does-not-start-over": (
        {"prepare": lambda: None},
        {"solution", "solution-again", "starter-again"},
    ),
    "solution-raises": ({"solution": STARTER + "1 / 0"}, {"solution", "solution-again"}),
    "check-has-a-bug": (
        {"check": lambda basket: basket["egg"]},
        {"starter", "wrong1", "wrong2", "solution", "solution-again", "starter-again"},
    ),
}


def _cases_with_complaints(notebook: Notebook, exercise: Exercise) -> set[str]:
    """Run all cells of an exercise in an emptied basket; return the names of the bad ones."""
    BASKET.clear()
    return {case.name for case in cases_of(exercise) if notebook.complaints("99", exercise, case)}


def test_collector_accepts_a_good_exercise(notebook: Notebook) -> None:
    """A good exercise gets no complaints."""
    assert _cases_with_complaints(notebook, GOOD) == set()
    assert mistakes_in(GOOD) == []


@pytest.mark.parametrize(("change", "expected"), BAD.values(), ids=BAD)
def test_collector_finds(notebook: Notebook, change: dict[str, Any], expected: set[str]) -> None:
    """A bad check, start or solution is found, in exactly the cells where it shows."""
    assert _cases_with_complaints(notebook, dataclasses.replace(GOOD, **change)) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"hints": []},
        {"wrong": []},
        {"wrong": [(_eggs(1), " ")]},
        {"wrong": [(STARTER, "too few")]},
        {"solution": "basket.extend(['egg', 'egg'])"},
        {"prepare": None},
        {"solution": _eggs(2).replace("ex1.start()", "")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_collector_reads(change: dict[str, Any]) -> None:
    """What is missing from an exercise is found without running it."""
    assert mistakes_in(dataclasses.replace(GOOD, **change))


def test_collector_compares_with_the_notebook() -> None:
    """One character, no cell or two cells in the notebook are found."""
    cell = STARTER.strip("\n")
    assert notebook_mistakes(GOOD, ["x = 1", cell]) == []
    assert notebook_mistakes(GOOD, ["x = 1", cell + " "])
    assert notebook_mistakes(GOOD, ["x = 1"])
    assert notebook_mistakes(GOOD, [cell, cell])
