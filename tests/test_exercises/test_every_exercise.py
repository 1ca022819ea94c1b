"""Every exercise of every notebook, in a real IPython shell, against real servers.

The notebook's own cells above the exercise run first. Then the untouched starter says not
attempted, every typical wrong answer is incorrect with its own reason, the solution is correct,
also the second time, each other right answer is correct, a few cells made by machine are refused
or accepted as they must be, and after all that the starter says not attempted again. The cells run
one after another in one namespace, as a learner's do.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from helpers import check, outline
from helpers.commands.mutants import mutants
from helpers.commands.mutants.variants import variants
from helpers.commands.trial import Trial
from helpers.exercises import Exercise, Incorrect, NotAttempted
from helpers.outline import Notebook

REFUSED = "refused"  # in whatever way, but not accepted


@dataclass(frozen=True)
class Case:
    """One cell to run for an exercise, and what must come of it."""

    name: str
    source: str
    outcome: str
    words: str = ""
    words_of_others: tuple[str, ...] = ()


def cases_of(exercise: Exercise, by_machine: bool = False) -> list[Case]:
    """All cells of an exercise, in the order that would show a start that does not start over."""
    words = [reason for _, reason in exercise.wrong]
    wrong = [
        Case(f"wrong{n}", source, "incorrect", reason, tuple(words[: n - 1] + words[n:]))
        for n, (source, reason) in enumerate(exercise.wrong, start=1)
    ]
    right = [Case(f"right{n}", cell, "correct") for n, cell in enumerate(exercise.right, start=1)]
    made = sample(exercise) if by_machine else []
    return [
        Case("starter", exercise.starter, "not attempted"),
        *wrong,
        Case("solution", exercise.solution, "correct"),
        Case("solution-again", exercise.solution, "correct"),
        *right,
        *made,
        Case("starter-again", exercise.starter, "not attempted"),
    ]


def sample(exercise: Exercise) -> list[Case]:
    """A few cells made by machine; `make mutants` runs them all."""
    found = mutants(exercise.solution, exercise.starter)
    chosen = sorted((one for one in found if one.id not in exercise.equal), key=lambda one: one.id)
    keep = set(inspect.signature(exercise.check).parameters)
    right = variants(exercise.solution, exercise.starter, keep)[-1:]
    return [
        *(Case(f"mutant-{one.id}", one.source, REFUSED) for one in chosen[:2]),
        *(Case("variant", one.source, "correct") for one in right),
    ]


def complaints(trial: Trial, place: int, case: Case) -> list[str]:
    """Run the case's cell; say in words what did not come out as it must."""
    if case.name.startswith(("mutant", "variant")):
        trial.forget(place)  # a name that it does not define must not be there
    first = trial.answer(place, case.source)
    found = []
    if case.outcome == REFUSED:
        if first.outcome in ("correct", "not checked"):
            found.append(f"the outcome is {first.outcome!r}: {first.text}")
    elif first.outcome != case.outcome:
        found.append(f"the outcome is {first.outcome!r}, not {case.outcome!r}: {first.text}")
    elif case.words not in first.text:
        found.append(f"{case.words!r} is not in the reason: {first.text}")
    shared = [words for words in case.words_of_others if words in first.text]
    if shared:
        found.append(f"the reason also has the words of another wrong answer: {shared}")
    if " at 0x" in first.text:
        found.append(f"the text has an address, which differs in every run: {first.text}")
    if case.name == "solution" and first.outcome == "correct":
        again = trial.again(place)
        if again != first:
            found.append(f"a second check says something else: {again.text}")
    return found


def mistakes_in(exercise: Exercise, place: int = 1) -> list[str]:
    """Say what is wrong with an exercise as far as it shows without running it."""
    call, begin = f"ex{place}.check()", f"ex{place}.start()"
    wrong = [source for source, _ in exercise.wrong]
    cells = [exercise.starter, exercise.solution, *wrong, *exercise.right]
    found = []
    if not exercise.hints:
        found.append("it has no hint")
    if not 4 <= exercise.minutes <= 20:
        found.append(f"it says {exercise.minutes} minutes, not 4 to 20")
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


def notebook_mistakes(exercise: Exercise, cells: list[str], place: int = 1) -> list[str]:
    """Compare the starter with the notebook's exercise cell."""
    here = [cell for cell in cells if f"ex{place}.check()" in cell]
    if len(here) != 1:
        return [f"{len(here)} cells of the notebook call ex{place}.check(), not one"]
    starter = exercise.starter.strip("\n")
    return [] if here[0] == starter else [f"the cell is\n{here[0]}\nbut the starter\n{starter}"]


NOTEBOOKS = [notebook for notebook in outline.notebooks() if notebook.exercises]
EXERCISES = [
    (notebook, place, outline.load(file).EXERCISE)
    for notebook in NOTEBOOKS
    for place, file in enumerate(notebook.exercises, start=1)
]
IDS = [notebook.exercise_id(place) for notebook, place, _ in EXERCISES]
CASES = [
    pytest.param(notebook, place, case, id=f"{notebook.exercise_id(place)}-{case.name}")
    for notebook, place, exercise in EXERCISES
    for case in cases_of(exercise, by_machine=True)
]
each_exercise = pytest.mark.parametrize(("notebook", "place", "exercise"), EXERCISES, ids=IDS)


def code_of(notebook: Notebook) -> list[str]:
    """Return the sources of a notebook's code cells."""
    return [cell["source"] for cell in notebook.cells() if cell["cell_type"] == "code"]


class Shells:
    """The trial of the notebook whose turn it is; the one before has ended."""

    def __init__(self) -> None:
        """Begin without one."""
        self.trial: Trial | None = None

    def of(self, notebook: Notebook) -> Trial:
        """Return the notebook's trial, started when it is not running."""
        if self.trial is None or self.trial.notebook != notebook:
            self.close()
            self.trial = Trial(notebook)
            self.trial.__enter__()
        return self.trial

    def close(self) -> None:
        """End the trial that is running."""
        if self.trial is not None:
            self.trial.__exit__(None, None, None)
            self.trial = None


@pytest.fixture(scope="module")
def shells(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shells]:
    """Shells for the exercises, in a namespace that no notebook uses."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        shells = Shells()
        yield shells
        shells.close()


@pytest.mark.parametrize(("notebook", "place", "case"), CASES)
def test_outcome(shells: Shells, notebook: Notebook, place: int, case: Case) -> None:
    """The cell comes out as it must, with its own reason."""
    assert complaints(shells.of(notebook), place, case) == []


@each_exercise
def test_is_complete(notebook: Notebook, place: int, exercise: Exercise) -> None:
    """Each exercise has hints, wrong answers and whole cells."""
    assert mistakes_in(exercise, place) == []


@each_exercise
def test_what_is_listed_as_equal_can_be_made(
    notebook: Notebook, place: int, exercise: Exercise
) -> None:
    """Each entry is a mutant of the solution as it is now, and has a reason."""
    made = {one.id for one in mutants(exercise.solution, exercise.starter)}
    assert set(exercise.equal) <= made
    assert all(reason.strip() for reason in exercise.equal.values())


@each_exercise
def test_starter_is_the_notebooks_cell(notebook: Notebook, place: int, exercise: Exercise) -> None:
    """The notebook has the starter, character by character."""
    assert notebook_mistakes(exercise, code_of(notebook), place) == []


@each_exercise
def test_set_up_cells_exist(notebook: Notebook, place: int, exercise: Exercise) -> None:
    """An exercise that needs only a few cells names cells that are there."""
    assert set(exercise.cells) <= {cell["id"] for cell in notebook.cells()}


@pytest.mark.parametrize("notebook", outline.notebooks(), ids=lambda notebook: notebook.number)
def test_numbers(notebook: Notebook) -> None:
    """Exercises are numbered from 1, and the notebook checks no other."""
    places = [int(re.findall(r"\d+", file.stem)[0]) for file in notebook.exercises]
    assert places == list(range(1, len(places) + 1))
    called = re.findall(r"\bex(\d+)\.check\(\)", "\n".join(code_of(notebook)))
    assert sorted(map(int, called)) == places


def test_every_exercise_belongs_to_a_notebook() -> None:
    """No file of an exercise lies where no notebook takes it."""
    taken = {file for notebook in NOTEBOOKS for file in notebook.exercises}
    files = outline.NOTEBOOKS.glob("*/exercises_*/*.py")
    assert {file for file in files if file.stem not in ("__init__", "common")} == taken


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
    title="Basket",
    minutes=4,
    prompt="Put two eggs into the basket.",
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


@pytest.fixture
def basket(tmp_path: Path) -> Iterator[Trial]:
    """A notebook with one cell and without a server, whose exercise a test puts in."""
    cells = [{"cell_type": "code", "id": "set-up", "metadata": {}, "source": "basket.clear()"}]
    file = tmp_path / "98_basket.ipynb"
    file.write_text(json.dumps({"cells": cells}))
    with Trial(Notebook("98", file)) as trial:
        trial.shell.push({"basket": BASKET})
        yield trial


def _cases_with_complaints(trial: Trial, exercise: Exercise) -> set[str]:
    """Run all cells of an exercise in an emptied basket; return the names of the bad ones."""
    BASKET.clear()
    trial.exercises = [exercise]
    trial.shell.push({"ex1": check.Task("98", 1, exercise)})
    return {case.name for case in cases_of(exercise) if complaints(trial, 1, case)}


def test_collector_accepts_a_good_exercise(basket: Trial) -> None:
    """A good exercise gets no complaints."""
    assert _cases_with_complaints(basket, GOOD) == set()
    assert mistakes_in(GOOD) == []


@pytest.mark.parametrize(("change", "expected"), BAD.values(), ids=BAD)
def test_collector_finds(basket: Trial, change: dict[str, Any], expected: set[str]) -> None:
    """A bad check, start or solution is found, in exactly the cells where it shows."""
    assert _cases_with_complaints(basket, dataclasses.replace(GOOD, **change)) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"hints": []},
        {"wrong": []},
        {"minutes": 40},
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
