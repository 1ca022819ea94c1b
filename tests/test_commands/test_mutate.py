"""Answers by machine: the tool sees the holes that it is there for, and nothing leaks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import outline
from helpers.base.errors import LabError
from helpers.commands import mutate, trial, verbs
from helpers.commands.answering import HANGS, Answers
from helpers.commands.mutate import Examination, Report
from helpers.outline import Notebook

CELLS = ["from helpers import check\nseen = []", "[ex1] = check.exercises('98')", "ex1.check()"]
EXERCISE = """
from helpers.exercises import Exercise, Incorrect

STARTER = "def double(number):\\n    return ...\\n\\n\\nex1.check()\\n"
SOLUTION = STARTER.replace("...", "2 * number if number else 0")

def check(double):
    for number in {numbers}:
        if double(number) != 2 * number:
            raise Incorrect("double({{}}) is wrong".format(number))

EXERCISE = Exercise(
    title="Double", minutes=4, prompt="Double it.", hints=["Twice."], starter=STARTER,
    solution=SOLUTION, wrong=[("", "is")], check=check, equal={equal!r},
)
"""


@pytest.fixture
def course(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Path]:
    """A course with one notebook, whose check looks at the numbers that the test gives."""
    numbers, equal = getattr(request, "param", ([0, 1, -3], {}))
    folder = tmp_path / "98_double" / "exercises_98"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    text = EXERCISE.format(numbers=numbers, equal=equal)
    (folder / "core1_double.py").write_text(text, encoding="utf-8")
    first = "from helpers import outline\nfrom pathlib import Path\n"
    first += f"outline.NOTEBOOKS = Path({str(tmp_path)!r})"
    cells = [
        {"cell_type": "code", "id": f"cell-{n}", "metadata": {}, "source": source}
        for n, source in enumerate([first, *CELLS])
    ]
    (tmp_path / "98_double.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8")
    monkeypatch.setattr(outline, "NOTEBOOKS", tmp_path)
    yield tmp_path


def attacked(course: Path) -> Report:
    notebook = Notebook("98", course / "98_double.ipynb")
    with Answers(notebook) as answers:
        exercise = trial.Trial(notebook).exercises[0]
        return Examination(answers, 1, exercise).run()


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Forget the module of the notebook's exercise, which the next test makes anew."""
    import sys

    yield
    for name in [name for name in sys.modules if name.startswith("exercises_98")]:
        del sys.modules[name]


def test_a_check_that_looks_closely_refuses_every_mutant(course: Path) -> None:
    report = attacked(course)
    assert report.made > 5
    equal = {mutant.after for mutant, _ in report.survivors}
    assert equal <= {"2 * number"}  # without `if number else 0` it is the same function
    assert report.refused_variants == [] and report.unchecked == []


@pytest.mark.parametrize("course", [([1], {})], indirect=True)
def test_a_hole_is_found(course: Path) -> None:
    """A check with one number accepts a function that is wrong for all others."""
    report = attacked(course)
    assert len(report.survivors) >= 2
    assert report.bad and report.score < 100


@pytest.mark.parametrize("course", [([0, 1, -3], {"00000000": "no such mutant"})], indirect=True)
def test_an_entry_that_is_not_true_any_more_is_found(course: Path) -> None:
    report = attacked(course)
    assert report.stale == ["00000000 is no mutant"]
    assert report.bad


def test_an_answer_that_never_ends(course: Path) -> None:
    """It is interrupted; one that does not let itself be interrupted is killed."""
    with Answers(Notebook("98", course / "98_double.ipynb")) as answers:
        call = "ex1.check()"
        patient = "while True:\n    pass\n" + call
        assert answers.answer(1, patient, 1).outcome == HANGS
        first = answers.process
        deaf = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        stubborn = deaf + patient
        assert answers.answer(1, stubborn, 1).outcome == HANGS
        right = "def double(number):\n    return 2 * number\n" + call
        assert answers.answer(1, right, 20).outcome == "correct"
        assert answers.process is not first
        assert answers.answer(1, "import os; os._exit(3)", 20).outcome == "raised"
        assert answers.answer(1, right, 20).outcome == "correct"


def test_nothing_of_an_answer_is_there_for_the_next(course: Path) -> None:
    with Answers(Notebook("98", course / "98_double.ipynb")) as answers:
        right = "def double(number):\n    return 2 * number\nex1.check()"
        assert answers.answer(1, right, 20).outcome == "correct"
        assert answers.answer(1, "ex1.check()", 20).outcome == "not attempted"


def test_exercises_are_named_by_lesson_notebook_or_id() -> None:
    assert set(mutate.chosen(["05b-1"])) == {"05b"}
    assert set(mutate.chosen(["06", "00-1"])) >= {"00", "06", "06a", "06h"}
    with pytest.raises(LabError, match="There is no exercise 05z"):
        mutate.chosen(["05b", "05z"])


def test_notebooks_are_named_by_their_numbers() -> None:
    named = verbs.paths_of(["05b", "tests/test_rules.py", "00"])
    assert [Path(path).name for path in named] == [
        "05b_weekly_cohorts.ipynb",
        "test_rules.py",
        "00_start_here.ipynb",
    ]
    assert len(verbs.paths_of(["05"])) == 1 + len(outline.sections("05"))
    with pytest.raises(LabError, match="No notebook has the number 99"):
        verbs.paths_of(["99"])


def test_try_says_what_a_learner_would_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The outcome and the words, also as data; a wrong id or file is one message."""
    exercise = outline.load(outline.find("00").exercises[0]).EXERCISE
    file = tmp_path / "answer.py"
    file.write_text(exercise.solution, encoding="utf-8")
    assert trial.try_(["00-1", str(file)]) == 0
    assert capsys.readouterr().out.startswith("correct\nCorrect.")
    file.write_text(exercise.wrong[0][0], encoding="utf-8")
    assert trial.try_(["00-1", str(file), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["outcome"] == "incorrect" and exercise.wrong[0][1] in said["text"]
    with pytest.raises(LabError, match="There is no exercise '00-2'"):
        trial.try_(["00-2", str(file)])
    with pytest.raises(LabError, match="cannot be read"):
        trial.try_(["00-1", str(tmp_path / "no.py")])
